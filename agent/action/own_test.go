package action

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const ownManifest = `{"version":1,"about":"greets","class":"intrusive","timeoutSeconds":60,"atLeastOnce":true,
"parameters":{"type":"object","required":["who"],"properties":{"who":{"type":"string","pattern":"[a-z ]+","maxLength":20},"times":{"type":"integer","minimum":1,"maximum":3}}}}`

// own puts a kind into a folder, as an administrator does.
func own(t testing.TB, dir, name, manifest, body string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there is no sh on Windows")
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, name+".json"), []byte(manifest), 0o644),
		os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body), 0o755)); err != nil {
		t.Fatal(err)
	}
}

func runOwn(t testing.TB, dir, kind, params string) Outcome {
	t.Helper()
	d, ok := Find(dir, kind)
	if !ok {
		t.Fatalf("there is no %s", kind)
	}
	req := (&fakeHost{}).request(params)
	req.Kind, req.Operation = kind, task.NewID(time.Now())
	return d.Action.Run(context.Background(), req)
}

func TestOwnKind(t *testing.T) {
	dir := realDir(t)
	t.Setenv("BUGLE_CANARY", "secret")
	own(t, dir, "greet", ownManifest, `cat; echo "$BUGLE_KIND $BUGLE_CANARY"; test -n "$BUGLE_OPERATION"`)
	d, ok := Find(dir, "command.greet")
	if !ok || d.Class != Intrusive || !d.AtLeastOnce || d.Timeout != time.Minute || d.Kind != "command.greet" {
		t.Fatalf("%+v", d)
	}
	o := runOwn(t, dir, "command.greet", ` {"times": 2, "who":"all of you", "who":"you" } `)
	if o != (Outcome{State: task.Succeeded, Detail: "{\"times\":2,\"who\":\"you\"}\ncommand.greet"}) {
		t.Errorf("%+v", o)
	}
	for _, bad := range []string{"", "{}", `{"who":"a;b"}`, `{"who":"a","x":1}`, `{"who":1}`, `[]`, `{"who":"a"} {}`, `{"who":"a","times":4}`, `{"who":"a`} {
		if o := runOwn(t, dir, "command.greet", bad); o.State != task.Refused || !strings.HasPrefix(o.Detail, "parameters: ") {
			t.Errorf("%s: %+v", bad, o)
		}
	}
	if o := runOwn(t, dir, "command.greet", `{"who":"a;b"}`); o.Detail != `parameters: who: "a;b" is not of the form [a-z ]+` {
		t.Errorf("%s", o.Detail)
	}
}

func TestHowOwnKindsEnd(t *testing.T) {
	dir := realDir(t)
	const plain = `{"version":1}`
	for name, c := range map[string]struct {
		body string
		want Outcome
	}{
		"fails":   {"echo no >&2; exit 4", Outcome{task.Failed, 4, "no"}},
		"not":     {"echo nothing here; exit 77", Outcome{task.NotApplicable, 77, "nothing here"}},
		"quiet":   {"exit 0", Outcome{task.Succeeded, 0, ""}},
		"killed":  {"kill -9 $$", Outcome{task.Failed, -1, ""}},
		"nothing": {"cat", Outcome{task.Succeeded, 0, "{}"}},
	} {
		own(t, dir, name, plain, c.body)
		if o := runOwn(t, dir, "command."+name, ""); o != c.want {
			t.Errorf("%s: %+v, want %+v", name, o, c.want)
		}
	}
	own(t, dir, "flood", plain, `yes "0123456789" | head -c 1000000; exit 0`)
	if o := runOwn(t, dir, "command.flood", ""); o.State != task.Succeeded || len(o.Detail) > task.MaxDetail || len(o.Detail) < 1000 {
		t.Errorf("%s, %d bytes", o.State, len(o.Detail))
	}
	own(t, dir, "slow", `{"version":1,"timeoutSeconds":1}`, `echo $$ > `+dir+`/pid; sleep 1000 & wait`)
	if o := runOwn(t, dir, "command.slow", ""); o.State != task.TimedOut || o.Detail != "did not end within 1s" {
		t.Errorf("%+v", o)
	}
	if group := numberIn(filepath.Join(dir, "pid")); group > 0 {
		eventually(t, "the end of its children", func() bool { return groupSize(t, group) == 0 })
	}
}

// Only root, or who runs the agent, may be the author of a kind.
func TestWhoMayWriteKinds(t *testing.T) {
	dir := realDir(t)
	fresh := func(name string) string {
		d := filepath.Join(dir, name)
		os.Mkdir(d, 0o755)
		own(t, d, "x", `{"version":1}`, "echo ran")
		return d
	}
	refusedWith := func(d, words string) {
		t.Helper()
		if o := runOwn(t, d, "command.x", ""); o.State != task.Failed || !strings.Contains(o.Detail, words) {
			t.Errorf("%s: %+v, want %q", d, o, words)
		}
	}
	if o := runOwn(t, fresh("good"), "command.x", ""); o.State != task.Succeeded || o.Detail != "ran" {
		t.Fatalf("%+v", o)
	}
	for name, change := range map[string]struct {
		do   func(d string) error
		says string
	}{
		"folder":     {func(d string) error { return os.Chmod(d, 0o777) }, "others may write it"},
		"group":      {func(d string) error { return os.Chmod(d, 0o775) }, "others may write it"},
		"executable": {func(d string) error { return os.Chmod(filepath.Join(d, "x"), 0o757) }, "others may write it"},
		"manifest":   {func(d string) error { return os.Chmod(filepath.Join(d, "x.json"), 0o666) }, "others may write it"},
		"no x":       {func(d string) error { return os.Chmod(filepath.Join(d, "x"), 0o644) }, "not executable"},
		"link": {func(d string) error {
			return errors.Join(os.Rename(filepath.Join(d, "x"), filepath.Join(d, "y")), os.Symlink("y", filepath.Join(d, "x")))
		}, "not a regular file"},
		"linked manifest": {func(d string) error {
			return errors.Join(os.Rename(filepath.Join(d, "x.json"), filepath.Join(d, "y")), os.Symlink("y", filepath.Join(d, "x.json")))
		}, "not a regular file"},
		"pipe": {func(d string) error { os.Remove(filepath.Join(d, "x")); return makePipe(filepath.Join(d, "x")) }, "not a regular file"},
	} {
		d := fresh(name)
		if err := change.do(d); err != nil {
			t.Fatal(err)
		}
		refusedWith(d, change.says)
	}
	os.Symlink(filepath.Join(dir, "good"), filepath.Join(dir, "linked"))
	refusedWith(filepath.Join(dir, "linked"), "is a link")
	if os.Geteuid() == 0 {
		d := fresh("owner")
		os.Chown(filepath.Join(d, "x"), 12345, 12345)
		refusedWith(d, "user 12345 owns it")
	}
}

// What is run is what was looked at, whatever has its name when it starts.
func TestReplacedBeforeItStarts(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems start programs by name")
	}
	dir := realDir(t)
	own(t, dir, "x", `{"version":1}`, "echo good")
	d, _ := find(dir, "command.x", func(ctx context.Context, c command) (ending, error) {
		os.Rename(filepath.Join(dir, "x"), filepath.Join(dir, "old"))
		os.WriteFile(filepath.Join(dir, "x"), []byte("#!/bin/sh\necho evil"), 0o755)
		return runCommand(ctx, c)
	})
	if o := d.Action.Run(context.Background(), (&fakeHost{}).request("")); o.Detail != "good" {
		t.Errorf("%+v", o)
	}
}

func TestNamesOfKinds(t *testing.T) {
	dir := realDir(t)
	os.WriteFile(filepath.Join(dir, "x.json"), []byte(`{"version":1}`), 0o644)
	for _, name := range []string{"", "command.", "command.y", "command.../x", "command./x", "command.X", "command.-x", "command.x.json", "x", "commandx", "command.x\x00", "command." + strings.Repeat("x", 41)} {
		if _, ok := Find(dir, name); ok {
			t.Errorf("%q is a kind", name)
		}
	}
	if _, ok := Find("", "command.x"); ok {
		t.Error("a kind without a folder")
	}
	if _, ok := Find(filepath.Join(dir, "none"), "command.x"); ok {
		t.Error("a kind in a folder that is not there")
	}
	for _, bad := range []string{"", "{", `{"version":2}`, `{"version":1,"x":1}`, `{"version":1,"class":"x"}`, `{"version":1,"timeoutSeconds":-1}`,
		`{"version":1,"timeoutSeconds":86401}`, `{"version":1,"parameters":{"type":"array"}}`, `{"version":1} {}`, `{"version":1,"parameters":{"type":"object","properties":{"a":{"type":"string","pattern":"("}}}}`} {
		os.WriteFile(filepath.Join(dir, "x.json"), []byte(bad), 0o644)
		if runtime.GOOS == "windows" {
			continue
		}
		if o := runOwn(t, dir, "command.x", ""); o.State != task.Failed || !strings.Contains(o.Detail, "manifest: ") {
			t.Errorf("%s: %+v", bad, o)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(ownManifest, `{"who":"you"}`)
	f.Add(`{"version":1}`, `{}`)
	f.Add(`{"version":1,"parameters":{"type":"object","properties":{"a":{"type":"array","items":{"type":"number"}}}}}`, `{"a":[1,2e300]}`)
	f.Fuzz(func(t *testing.T, manifest, params string) {
		m, err := parseManifest([]byte(manifest))
		if err != nil {
			return
		}
		if m.limit <= 0 || m.limit > maxOwnTime || m.schema == nil {
			t.Errorf("%+v", m)
		}
		clean, err := m.params([]byte(params))
		if err != nil {
			return
		}
		if again, err := m.params(clean); err != nil || string(again) != string(clean) {
			t.Errorf("%q becomes %q, then %q, %v", params, clean, again, err)
		}
	})
}

func FuzzRules(f *testing.F) {
	f.Add(`{"version":1,"excluded":["/a"],"allowed":["x"],"overrides":{"x":"remove"}}`, "/a/b")
	f.Fuzz(func(t *testing.T, text, path string) {
		r, err := parseRules([]byte(text))
		if err != nil {
			return
		}
		r.excludes(path)
		r.allows(path)
		if act := r.action(path); act != actReport && act != actQuarantine && act != actRemove {
			t.Errorf("%q is done", act)
		}
	})
}

func FuzzLists(f *testing.F) {
	for _, text := range []string{aptList, dnfList, zypperList, apkList, macList, winList, regList, "a: b FOUND\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range append(managers, windowsUpdates) {
			m.parse(0, text)
		}
		for _, all := range listers {
			for _, l := range all {
				l.parse(text)
			}
		}
		for _, found := range clamFindings(text) {
			if found.path == "" || strings.ContainsAny(found.path, "\n") {
				t.Errorf("found %q", found.path)
			}
		}
		windowsValues(text)
		colonValues(text)
		if compareVersions(text, text) != 0 {
			t.Errorf("%q differs from itself", text)
		}
	})
}

// An own kind that restarts the machine would do so after every boot.
func TestBarrierIsNotStartedAgain(t *testing.T) {
	if _, err := parseManifest([]byte(`{"version":1,"class":"barrier","atLeastOnce":true}`)); err == nil || !strings.Contains(err.Error(), "starts once") {
		t.Errorf("error %v", err)
	}
	if m, err := parseManifest([]byte(`{"version":1,"class":"barrier"}`)); err != nil || m.class != Barrier {
		t.Errorf("%+v %v", m, err)
	}
}

// A task that waited as one class does not run as another.
func TestClassThatChangesMeanwhile(t *testing.T) {
	dir := realDir(t)
	own(t, dir, "x", `{"version":1}`, "echo ran")
	d, _ := Find(dir, "command.x")
	own(t, dir, "x", `{"version":1,"class":"intrusive"}`, "echo ran")
	req := (&fakeHost{}).request("")
	req.Kind = d.Kind
	if o := d.Action.Run(context.Background(), req); o.State != task.Failed || !strings.Contains(o.Detail, "class was changed") {
		t.Errorf("%+v", o)
	}
}
