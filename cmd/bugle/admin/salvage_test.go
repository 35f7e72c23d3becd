package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/jetstream"
	"github.com/bugle-fleet/bugle/journal/offlinetest"
)

// A damaged journal becomes one that the real thing opens, in which every event
// that was not touched is as it was.
func TestSalvage(t *testing.T) {
	data, f := storedSite(t)
	name := filepath.Join(generation.LiveFolder(f.Dir, 2), "1.blk")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[100] ^= 1 // in page 13
	put(t, name, b)
	before := contents(t, data)
	to := filepath.Join(t.TempDir(), "new")
	r := run{}.bugle("--data", data, "journal", "salvage", "--to", to, "-o", "json")
	var got salvaged
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.code != 0 {
		t.Fatalf("code %d, %v, %s%s", r.code, r.err, r.stdout, r.stderr)
	}
	from, last := f.Heads[12].Event+1, f.Heads[13].Event
	if len(got.Ranges) != 1 || got.Ranges[0].From != from || got.Ranges[0].To != last || got.Ranges[0].File != name || got.Lost != last-from+1 || got.Last != f.Heads[30].Event || got.Events != got.Last-got.Lost || len(got.Damages) != 1 {
		t.Errorf("%+v, want events %d to %d lost", got, from, last)
	}
	if after := contents(t, data); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("the damaged journal was changed")
	}
	j, err := jetstream.Open(context.Background(), to, jetstream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if head := j.Head().Event; head != got.Last+1 || fmt.Sprintf("%x", j.History()) != got.New {
		t.Errorf("journal %x of %d events, want %s of %d", j.History(), head, got.New, got.Last+1)
	}
	rd, err := j.Read(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	for n := uint64(1); n <= got.Last; {
		p, err := rd.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.Records {
			lost := n >= from && n <= last
			if k := p.Records[i].Kind(); (k == event.KindEventLost) != lost {
				t.Errorf("event %d is %s", n, k)
			}
			if !lost && string(p.Records[i].Body) != string(offlinetest.Body(t, n, 0)) {
				t.Errorf("event %d is another", n)
			}
			n++
		}
	}
}

// contents is all files of a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSalvageSays(t *testing.T) {
	data, f := storedSite(t)
	if err := os.Remove(filepath.Join(generation.LiveFolder(f.Dir, 2), "1.blk")); err != nil {
		t.Fatal(err)
	}
	// Its own checkpoint is damaged as well: one that was kept elsewhere does.
	text, err := os.ReadFile(filepath.Join(f.Dir, "tree", "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	kept := put(t, filepath.Join(t.TempDir(), "kept.txt"), text)
	text[len(text)-20] ^= 1
	put(t, filepath.Join(f.Dir, "tree", "checkpoint"), text)
	to := filepath.Join(t.TempDir(), "new")
	r := run{}.bugle("--data", data, "journal", "salvage", "--to", to, "--from", kept)
	for _, want := range []string{
		"Missing: ", fmt.Sprintf("events %d to %d: ", f.Heads[12].Event+1, f.Heads[22].Event), "mv " + f.Dir + " " + f.Dir + ".damaged", "mv " + to + " " + f.Dir,
	} {
		if r.code != 0 || !strings.Contains(r.stdout, want) {
			t.Errorf("code %d, %v: %q is not in\n%s", r.code, r.err, want, r.stdout)
		}
	}
	if !strings.Contains(r.stderr, "own checkpoint vouches for nothing") {
		t.Error(r.stderr)
	}
}

func TestSalvageRefuses(t *testing.T) {
	data, _ := storedSite(t)
	full := t.TempDir()
	put(t, filepath.Join(full, "x"), nil)
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no folder":         {[]string{"--data", data, "journal", "salvage"}, 2, "--to"},
		"a full folder":     {[]string{"--data", data, "journal", "salvage", "--to", full}, 1, "not empty"},
		"the journal":       {[]string{"--data", data, "journal", "salvage", "--to", filepath.Join(data, "journal", "new")}, 2, "lies in the journal"},
		"no journal":        {[]string{"--data", full, "journal", "salvage", "--to", full + ".new"}, 1, "no journal is there"},
		"a site elsewhere":  {[]string{"--url", "https://x", "journal", "salvage", "--to", full + ".new"}, 2, "own machine"},
		"one more argument": {[]string{"--data", data, "journal", "salvage", "x"}, 2, "too many"},
	} {
		if r := (run{}).bugle(c.args...); r.err == nil || r.code != c.code || !strings.Contains(r.err.Error(), c.says) {
			t.Errorf("%s: code %d, %v", name, r.code, r.err)
		}
	}
	for _, name := range []string{full + ".new", filepath.Join(data, "journal", "new")} {
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("%s was left behind", name)
		}
	}
}
