package logs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/cmd/bugle/logs"
)

func Example() {
	dir, err := os.MkdirTemp("", "logs")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	files, err := logs.Open(dir, "json", slog.LevelInfo, io.Discard)
	if err != nil {
		fmt.Println(err)
		return
	}
	files.Logger().With("component", "listener").Info("agent signed in", "device", 7)
	files.Close()
	b, err := os.ReadFile(filepath.Join(dir, "server.log"))
	fmt.Println(strings.Contains(string(b), `"msg":"agent signed in"`), err)
	// Output: true <nil>
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	var stderr bytes.Buffer
	files, err := logs.Open(dir, "text", slog.LevelInfo, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	log := files.Logger()
	log.Info("starts", "n", 0)
	log.With("site", "P01", "component", "inbox").Info("file taken", "n", 1)
	log.With("component", "inbox").With("listener", "SITE01").WithGroup("g").Info("in a group", "n", 2)
	log.With("component", "listener").Debug("too fine", "n", 3)
	log.With("component", "listener").Warn("slow agent", "n", 4)
	log.With("component", "console").Error("no answer", "n", 5)
	log.With("component", "comet").Info("unknown", "n", 6)
	before := stderr.Len()
	files.Quiet().Error("ended")
	if stderr.Len() != before {
		t.Errorf("what is quiet is on standard error: %s", stderr.String()[before:])
	}
	fmt.Fprintln(&stderr, "ended")
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"setup.log":   {"starts n=0", "unknown component=comet n=6", "ended"},
		"manager.log": {`"file taken" site=P01 component=inbox n=1`, "component=inbox listener=SITE01 g.n=2"},
		"server.log":  {`"slow agent" component=listener n=4`},
		"http.log":    {`"no answer" component=console n=5`},
	} {
		file := filepath.Join(dir, name)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(b), "\n"); n != len(want) {
			t.Errorf("%s has %d lines, want %d:\n%s", name, n, len(want), b)
		}
		for _, text := range want {
			if !strings.Contains(string(b), text) || !strings.Contains(stderr.String(), text) {
				t.Errorf("%q is not in %s and on standard error:\n%s", text, name, b)
			}
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if strings.Contains(stderr.String(), "too fine") {
		t.Error("debug is on standard error")
	}
}

// A file grows to its bound and no more, and old ones are removed.
func TestFilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	files, err := logs.Open(dir, "text", slog.LevelInfo, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	log, text := files.Logger(), strings.Repeat("x", 1<<20)
	for range 75 {
		log.Info(text)
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob(filepath.Join(dir, "setup*.log"))
	if err != nil || len(all) < 2 {
		t.Fatalf("%v, %v", all, err)
	}
	for _, name := range all {
		if info, err := os.Stat(name); err != nil || info.Size() > 10<<20 {
			t.Errorf("%s: %v, %v", name, info.Size(), err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := logs.Open(t.TempDir(), "xml", slog.LevelInfo, io.Discard); !errors.Is(err, logs.ErrFormat) {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := logs.Open(filepath.Join(file, "logs"), "text", slog.LevelInfo, io.Discard); err == nil {
		t.Error("a file is taken for a folder")
	}
}
