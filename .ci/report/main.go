// Command report reads the output of go test -json and prints a line a package,
// every failure with its output, and what was skipped. It exits with 1 if a test
// failed, did not end, or was skipped without saying why.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
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
	file, err := os.Open(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
	defer file.Close()
	tests := map[string]*result{}
	count := map[string]int{}
	bad := 0
	lines := bufio.NewScanner(file)
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
			bad += report(e, r, count)
			if e.Action == "pass" {
				r.output = nil
			}
		}
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", count["pass"], count["fail"], count["skip"])
	if bad > 0 || count["pass"] == 0 {
		os.Exit(1)
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
