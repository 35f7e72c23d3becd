// Command report reads the output of go test -json and prints a line a package,
// every failure with its output, and what was skipped and why. It exits with 1 if
// a test failed, did not end, or was skipped without saying why.
//
//	go test -json ./... | go run ./.ci/report        whatever was skipped, with its reason
//	go run ./.ci/report -require LIST FILE           and fail if one of the list was
//
// LIST is a file with lines PACKAGE TEST, the package by its path in the module;
// empty lines and those that begin with # do not count. A test of the list must
// have run and passed.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

type result struct {
	output  []string
	outcome string
}

func main() {
	list := flag.String("require", "", "file with the tests that must have passed")
	flag.Parse()
	in := os.Stdin
	if flag.NArg() > 0 {
		file, err := os.Open(flag.Arg(0))
		if err != nil {
			fail(err)
		}
		defer file.Close()
		in = file
	}
	tests, count, bad := read(in)
	missing, err := required(*list, tests)
	if err != nil {
		fail(err)
	}
	for _, name := range missing {
		fmt.Println("MISSING", name, "must run here and did not pass")
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", count["pass"], count["fail"], count["skip"])
	if bad+len(missing) > 0 || count["pass"] == 0 {
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "report:", err)
	os.Exit(1)
}

// required returns the tests of the list that did not pass.
func required(list string, tests map[string]*result) (missing []string, err error) {
	if list == "" {
		return nil, nil
	}
	b, err := os.ReadFile(list)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		if len(f) != 2 {
			return nil, fmt.Errorf("%s: %q is not PACKAGE TEST", list, strings.TrimSpace(line))
		}
		r := tests[module+"/"+f[0]+" "+f[1]]
		if r == nil || r.outcome != "pass" {
			missing = append(missing, f[0]+" "+f[1])
		}
	}
	return missing, nil
}

const module = "github.com/bugle-fleet/bugle"

// read reads all there is and prints what is worth a line.
func read(in io.Reader) (tests map[string]*result, count map[string]int, bad int) {
	tests, count = map[string]*result{}, map[string]int{}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text())
			continue
		}
		key := e.Package + " " + e.Test
		if tests[key] == nil {
			tests[key] = new(result)
		}
		r := tests[key]
		switch e.Action {
		case "output":
			r.output = append(r.output, e.Output)
		case "pass", "fail", "skip":
			r.outcome = e.Action
			if e.Test == "" && e.Action == "fail" {
				unfinished(e.Package, tests)
			}
			bad += report(e, r, count)
			if e.Action == "pass" {
				r.output = nil
			}
		}
	}
	if err := lines.Err(); err != nil {
		fail(err)
	}
	return tests, count, bad
}

// unfinished prints what tests said that were under way when their package died.
func unfinished(pkg string, tests map[string]*result) {
	for key, r := range tests {
		if name := strings.TrimPrefix(key, pkg+" "); name != key && name != "" && r.outcome == "" {
			fmt.Printf("DIED %s\n%s", key, strings.Join(r.output, ""))
		}
	}
}

// report prints what is worth a line and returns 1 if it is a failure.
func report(e event, r *result, count map[string]int) int {
	if e.Test == "" {
		if e.Action == "fail" {
			fmt.Printf("FAIL %s (%.1f s)\n%s", e.Package, e.Elapsed, strings.Join(r.output, ""))
			return 1
		}
		fmt.Printf("%-4s %s (%.1f s)\n", e.Action, e.Package, e.Elapsed)
		return 0
	}
	count[e.Action]++
	text := strings.Join(r.output, "")
	switch e.Action {
	case "fail":
		fmt.Printf("FAIL %s %s\n%s", e.Package, e.Test, text)
		return 1
	case "skip":
		fmt.Printf("SKIP %s %s\n%s", e.Package, e.Test, text)
		if !strings.Contains(text, ".go:") {
			fmt.Println("     skipped without a reason: that fails")
			return 1
		}
	}
	return 0
}
