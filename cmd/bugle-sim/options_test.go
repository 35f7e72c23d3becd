package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWrongCalls(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"", "no site"},
		{"--site a:1 --console https://b --token-file c", "--ca-file is missing"},
		{"--data d --agents 0", "--agents: 0"},
		{"--data d --agents 100001", "--agents: 100001"},
		{"--data d --pushes 0", "--pushes"},
		{"--data d --join-rate 0", "--join-rate"},
		{"--data d --join-burst 0", "--join-burst"},
		{"--data d --connect-rate 0", "--connect-rate"},
		{"--data d --work 0", "--work"},
		{"--data d --gather -1s", "--gather"},
		{"--data d --poll 1us", "--poll"},
		{"--data d --timeout 0", "--timeout"},
		{"--data d --kind=", "--kind"},
		{"--data d --phases storm", `"storm" is none of connect, push, results`},
		{"--data d --param x", `"x" is not NAME=VALUE`},
		{"--data d --param =x", `"=x" is not NAME=VALUE`},
		{"--data d --agents many", "many"},
		{"--nothing", "nothing"},
		{"--data d more", `"more" is one argument too many`},
	} {
		_, log := sim(t, 2, strings.Fields(c.args)...)
		if !strings.Contains(log, c.says) || !strings.Contains(log, "--help") {
			t.Errorf("%q: it says %q, want %q and where help is", c.args, log, c.says)
		}
	}
}

func TestPhasesAreInOrderAndConnectIsAlwaysFirst(t *testing.T) {
	for given, want := range map[string]string{
		"push": "connect,push", "results,push": "connect,push,results", "connect": "connect", "": "connect",
		"results,results": "connect,results",
	} {
		o := defaults()
		o.data = "d"
		o.phases = strings.FieldsFunc(given, func(r rune) bool { return r == ',' })
		if err := o.check(); err != nil {
			t.Errorf("phases %q: %v", given, err)
		}
		if got := strings.Join(o.phases, ","); got != want {
			t.Errorf("phases %q become %q, want %q", given, got, want)
		}
	}
}

func TestParams(t *testing.T) {
	got, err := parseParams([]string{"n=1", "s=some text", "b=true", "l=a", `l="b"`, "e=", `o={"x":[2]}`, "eq=a=b"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"n": 1.0, "s": "some text", "b": true, "l": []any{"a", "b"}, "e": "",
		"o": map[string]any{"x": []any{2.0}}, "eq": "a=b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"--help"}, &out, &errs); code != 0 {
		t.Fatalf("code %d: %s", code, errs.String())
	}
	for _, flag := range []string{"--site", "--data", "--console", "--token-file", "--ca-file", "--agents", "--dir", "--phases", "--pushes",
		"--kind", "--param", "--join-rate", "--connect-rate", "--noop-actions", "--gather"} {
		if !strings.Contains(out.String(), flag) {
			t.Errorf("help does not name %s", flag)
		}
	}
}

func TestASiteThatIsNotThere(t *testing.T) {
	data := t.TempDir()
	_, log := sim(t, 1, "--data", data)
	if !strings.Contains(log, "none runs with this folder") {
		t.Errorf("it says %s", log)
	}
	for name, content := range map[string]string{"run/addresses.json": `{"http":"127.0.0.1:1","console":"127.0.0.1:1"}`,
		"keys/admin.token": "x", "keys/ca.crt": "not PEM"} {
		path := filepath.Join(data, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, log = sim(t, 1, "--data", data); !strings.Contains(log, "holds no certificate in PEM") {
		t.Errorf("it says %s", log)
	}
}
