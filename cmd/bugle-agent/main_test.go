package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bugle-agent": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_CONFIG_HOME", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits runs bugle-agent and checks the code that it ends with.
//
//	exits CODE ARGUMENT…
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: exits CODE ARGUMENT…")
	}
	out, errOut, code := call(ts, args[1:])
	for name, content := range map[string]string{"out": out, "err": errOut} {
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(content), 0o600))
	}
	if code != args[0] {
		ts.Fatalf("bugle-agent %q ended with %s, want %s\n%s%s", args[1:], code, args[0], out, errOut)
	}
}
