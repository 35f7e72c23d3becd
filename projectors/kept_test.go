package projectors

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var updateKept = flag.Bool("update-kept", false, "write the golden file of a kept state")

// small is a state of three rows.
func small() (keptState, *Snapshot) {
	m := newMemory()
	m.set([]byte("a"), []byte{}, 0)
	m.set([]byte("b\x00"), []byte("two"), 0)
	m.set([]byte("c"), bytes.Repeat([]byte("x"), 300), 0)
	m.freeze()
	head := keptState{view: "words", schema: 3, history: [16]byte{1, 2}, event: 7, accepted: 1_767_323_045_000_000_000}
	return head, &Snapshot{view: "words", rows: m, position: 7}
}

func TestKeptGolden(t *testing.T) {
	const golden = "testdata/kept-1.snap"
	head, s := small()
	if *updateKept {
		must(t, writeKept(golden, head, s))
	}
	got, rows, err := readKept(golden)
	if err != nil || got != head {
		t.Fatalf("read %+v, want %+v: %v", got, head, err)
	}
	rows.freeze()
	want, err := s.Digest()
	must(t, err)
	if d, err := (&Snapshot{rows: rows}).Digest(); err != nil || d != want {
		t.Errorf("other rows came back, %v", err)
	}
}

func FuzzKept(f *testing.F) {
	golden, err := os.ReadFile("testdata/kept-1.snap")
	must(f, err)
	f.Add(golden)
	f.Add(golden[:40])
	for _, at := range []int{5, 9, 60, len(golden) - 40, len(golden) - 1} {
		flipped := bytes.Clone(golden)
		flipped[at] ^= 1
		f.Add(flipped)
	}
	head, _ := small()
	f.Fuzz(func(t *testing.T, b []byte) {
		got, rows, err := takeKept(bytes.NewReader(b), int64(len(b)))
		if err == nil && (got != head || len(rows.values) != 3) {
			t.Errorf("%x was taken as %+v with %d rows", b, got, len(rows.values))
		}
	})
}

func testKept(t *testing.T, dir string, policy Keep) *kept {
	head, _ := small()
	k, err := openKept(dir, head, policy, slog.New(slog.DiscardHandler))
	must(t, err)
	return k
}

func TestKeptIsThinned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	policy := Keep{Every: 24 * time.Hour, Events: 1000, Last: 3}
	k := testKept(t, dir, policy)
	_, s := small()
	day := int64(24 * time.Hour)
	var at []uint64
	for n := range uint64(60) { // half a day each
		s.position = 500 + n
		if accepted := int64(n+1) * day / 2; k.due(s.position, accepted) {
			must(t, k.keep(s, accepted))
			at = append(at, s.position)
		}
	}
	if len(at) > 0 {
		t.Errorf("kept at %v, before there is much to fold", at)
	}
	for n := range uint64(60) {
		s.position = 1000 + n
		if accepted := int64(n+1) * day / 2; k.due(s.position, accepted) {
			must(t, k.keep(s, accepted))
			at = append(at, s.position)
		}
	}
	if len(at) != 30 {
		t.Errorf("of thirty days %d states were kept", len(at))
	}
	want := []uint64{1058, 1056, 1054, 1042, 1028, 1014, 1000} // the last three, and one a week
	if got := k.before(1 << 60); !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
	if got := k.before(1041); !slices.Equal(got, want[4:]) {
		t.Errorf("up to event 1041 there are %v", got)
	}
	again := testKept(t, dir, policy)
	if got := again.before(1 << 60); !slices.Equal(got, want) {
		t.Errorf("opened anew, there are %v, want %v", got, want)
	}
	if !again.due(3000, 31*day) || again.due(1058, 40*day) {
		t.Error("opened anew, another state is due than before")
	}
	again.clear()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("after all is cleared there are %v, %v", left, err)
	}
}

func TestKeptOfOthersIsRemoved(t *testing.T) {
	head, s := small()
	for name, change := range map[string]func(*keptState){
		"view":    func(k *keptState) { k.view = "other" },
		"schema":  func(k *keptState) { k.schema++ },
		"history": func(k *keptState) { k.history[0]++ },
		"event":   func(k *keptState) { k.event++ },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			k := testKept(t, dir, Keep{})
			of := head
			change(&of)
			must(t, writeKept(k.name(7), of, s))
			must(t, os.WriteFile(filepath.Join(dir, "note"), nil, 0o600))
			k = testKept(t, dir, Keep{})
			if got := k.before(100); len(got) != 0 {
				t.Errorf("there are %v", got)
			}
			if _, err := os.Stat(k.name(7)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file is still there: %v", err)
			}
			if _, err := os.Stat(filepath.Join(dir, "note")); err != nil {
				t.Errorf("a file that is none of ours is gone: %v", err)
			}
		})
	}
}
