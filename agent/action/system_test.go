package action

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A fakeSystem is a machine of which tests say what it has. Nothing is started on this
// one.
type fakeSystem struct {
	system

	mu      sync.Mutex
	started []command
	answers []answer
}

// An answer is what a program of a fake machine says: the first one whose words are
// all in the command line.
type answer struct {
	words  string
	ending ending
	err    error
}

// newFake returns a machine of this operating system that has some programs, by the
// names by which they are looked for. Its files are in a folder of its own.
func newFake(t testing.TB, goos string, programs ...string) *fakeSystem {
	f := new(fakeSystem)
	f.goos, f.root = goos, t.TempDir()
	f.look = func(name string) (string, error) {
		if !slices.Contains(programs, name) {
			return "", errors.New("not found")
		}
		if strings.ContainsAny(name, `/\`) {
			return name, nil
		}
		return "/usr/bin/" + name, nil
	}
	f.run = f.start
	return f
}

// says lets programs answer.
func (f *fakeSystem) says(words string, e ending) *fakeSystem {
	f.answers = append(f.answers, answer{words, e, nil})
	return f
}

func (f *fakeSystem) start(ctx context.Context, c command) (ending, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return ending{}, err
	}
	f.started = append(f.started, c)
	line := c.path + " " + strings.Join(c.args, " ")
	for _, a := range f.answers {
		if strings.Contains(line, a.words) {
			return a.ending, a.err
		}
	}
	return ending{}, nil
}

// lines are the command lines that were started.
func (f *fakeSystem) lines() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for _, c := range f.started {
		lines = append(lines, c.path+" "+strings.Join(c.args, " "))
	}
	return lines
}

// table returns the machine's kinds; unless the configuration says otherwise, it has
// no scanner but the built-in one.
func (f *fakeSystem) table(t testing.TB, cfg Config) map[string]Description {
	t.Helper()
	if cfg.Scanner == "" {
		cfg.Scanner = "builtin"
	}
	if cfg.State == "" {
		cfg.State = filepath.Join(f.root, "state")
	}
	table, err := tableOf(cfg, f.system)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// jsonText is a text as JSON has it.
func jsonText(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
