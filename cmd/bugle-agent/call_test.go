package main

import (
	"bytes"
	"context"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// call calls this command in the environment of a script.
func call(ts *testscript.TestScript, args []string) (out, errOut, code string) {
	for i, a := range args {
		if strings.HasPrefix(a, "file:") {
			args[i] = ts.MkAbs(strings.TrimPrefix(a, "file:"))
		}
	}
	var stdout, stderr bytes.Buffer
	p := program{ctx: context.Background(), stdin: strings.NewReader(ts.Getenv("STDIN")),
		stdout: &stdout, stderr: &stderr, env: ts.Getenv}
	n := p.main(args)
	return stdout.String(), stderr.String(), strconv.Itoa(n)
}
