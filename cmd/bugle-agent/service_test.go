package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write golden files anew")

// What each platform is told, to the byte: two of the three are not run here.
func TestServiceOf(t *testing.T) {
	for goos, paths := range map[string][2]string{
		"linux":   {"/usr/bin/bugle-agent", "/var/lib/bugle agent"},
		"darwin":  {"/usr/local/bin/bugle-agent", "/Library/Application Support/bugle & co"},
		"windows": {`C:\Program Files\bugle\bugle-agent.exe`, `C:\ProgramData\bugle-agent`},
	} {
		s, err := serviceOf(goos, paths[0], paths[1])
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		b.WriteString("file " + s.file + "\n" + s.text)
		for title, commands := range map[string][][]string{"install": s.install} {
			for _, c := range commands {
				b.WriteString(title + " " + strings.Join(c, "|") + "\n")
			}
		}
		for _, c := range append(s.uninstall, append(s.removed, s.status)...) {
			b.WriteString("and " + strings.Join(c, "|") + "\n")
		}
		file := filepath.Join("testdata", "service."+goos)
		if *update {
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || b.String() != string(want) {
			t.Errorf("%s is told\n%s\nwant (%v)\n%s", goos, b.String(), err, want)
		}
	}
	for _, bad := range [][3]string{{"linux", "/a\nExecStartPre=/b", "/d"}, {"linux", "/a", "/d/%n"}, {"windows", `C:\a"b`, `C:\d`}, {"plan9", "/a", "/d"}} {
		if s, err := serviceOf(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%v gives %+v", bad, s)
		}
	}
}

func TestServiceIsInstalledAndTakenAway(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	s, err := serviceOf("linux", "/usr/bin/bugle-agent", dir)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, s.file)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	var ran []string
	m := machine{ctx: t.Context(), root: root, run: func(_ context.Context, argv []string) error {
		ran = append(ran, strings.Join(argv, " "))
		return nil
	}}
	if err := m.install(&s, dir); err == nil || len(ran) > 0 {
		t.Fatalf("installed an agent that has not joined: %v", ran)
	}
	if err := os.WriteFile(filepath.Join(dir, "identity.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := m.install(&s, dir); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != s.text {
		t.Errorf("%s, %v", b, err)
	}
	if err := m.uninstall(&s); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "identity.json")); err != nil {
		t.Error("the agent's folder is gone")
	}
	want := []string{"systemctl daemon-reload", "systemctl enable --now bugle-agent"}
	want = append(append(want, want...), "systemctl disable --now bugle-agent", "systemctl daemon-reload")
	if !slices.Equal(ran, want) {
		t.Errorf("ran %q", ran)
	}
	m.run = func(context.Context, []string) error { return errors.New("no systemd here") }
	if err := m.install(&s, dir); err == nil {
		t.Error("a command that failed is no error")
	}
}
