package jetstream

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/commit"
)

func sampleState() *state {
	head := journal.Head{Event: 300, Pages: 3, Hash: [32]byte{0xaa, 31: 0xbb}}
	sealed := journal.Head{Event: 44, Pages: 1, Hash: [32]byte{0xcc}}
	return &state{
		history: [16]byte{1, 2, 3, 15: 16},
		clean:   true,
		saved: commit.Saved{Head: head, Accepted: 1_700_000_000_000_000_000, Index: []byte{44, 128, 1, 128, 1},
			Folds: map[string][]byte{"ledger/1": []byte("ledger"), "authority/2": nil}},
		kept: []keptGeneration{
			{end: sealed, digest: [32]byte{0xdd}, removed: true},
			{before: 1_600_000_000_000_000_000, index: [32]byte{0xee}, files: []keptFile{
				{number: 1, size: 8 << 20, modTime: 1_650_000_000_000_000_000, inode: 12345, wrote: 1_650_000_000_000_000_001,
					after: block.Position{Head: journal.Head{Event: 172, Pages: 2, Hash: [32]byte{0xff}}, Accepted: 1_650_000_000_000_000_000}},
				{number: 2, after: block.Position{Head: head, Accepted: 1_700_000_000_000_000_000}},
			}},
		},
	}
}

func TestStateGolden(t *testing.T) {
	for name, key := range map[string]ed25519.PrivateKey{"state.v1.hex": nil, "state.signed.v1.hex": testKey} {
		b, err := sampleState().seal(key)
		if err != nil {
			t.Fatal(err)
		}
		got, file := hex.EncodeToString(b)+"\n", filepath.Join("testdata", name)
		want, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) && *update {
			err, want = os.WriteFile(file, []byte(got), 0o644), []byte(got)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("the bytes of the file state have changed\ngot  %swant %s", got, want)
		}
		if b, err = hex.DecodeString(strings.TrimSpace(string(want))); err != nil {
			t.Fatal(err)
		}
		s, err := openState(b, key)
		if err != nil || fmt.Sprintf("%+v", s) != fmt.Sprintf("%+v", sampleState()) {
			t.Errorf("read %+v, %v", s, err)
		}
	}
}

// No byte of a state can change, and no other key can have signed it.
func TestStateAltered(t *testing.T) {
	for _, key := range []ed25519.PrivateKey{nil, testKey} {
		b, err := sampleState().seal(key)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i] ^= 4
			if _, err := openState(b, key); !errors.Is(err, errState) {
				t.Errorf("byte %d of %d: %v", i, len(b), err)
			}
			b[i] ^= 4
			if _, err := openState(b[:i], key); !errors.Is(err, errState) {
				t.Errorf("cut at byte %d of %d: %v", i, len(b), err)
			}
		}
		if _, err := openState(append(slices.Clone(b), 0), key); !errors.Is(err, errState) {
			t.Errorf("with a byte more: %v", err)
		}
	}
	signed, _ := sampleState().seal(testKey)
	summed, _ := sampleState().seal(nil)
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))
	for name, open := range map[string]func() (*state, error){
		"another key":               func() (*state, error) { return openState(signed, other) },
		"no key for a signature":    func() (*state, error) { return openState(signed, nil) },
		"a checksum for a key":      func() (*state, error) { return openState(summed, testKey) },
		"a later version":           func() (*state, error) { return openState(append([]byte("BGS2"), summed[4:]...), nil) },
		"an empty file":             func() (*state, error) { return openState(nil, testKey) },
		"bytes that are left over":  func() (*state, error) { return decodeState(append(sampleState().encode(), 1)) },
		"a number longer than need": func() (*state, error) { return decodeState(append([]byte(stateMagic), make([]byte, 16)...)) },
	} {
		if s, err := open(); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func FuzzState(f *testing.F) {
	f.Add(sampleState().encode())
	f.Add(sampleState().encode()[:100])
	f.Add([]byte(stateMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < len(stateMagic) || string(b[:len(stateMagic)]) != stateMagic {
			return // openState has seen to it
		}
		s, err := decodeState(b)
		if err == nil && !bytes.Equal(s.encode(), b) {
			t.Errorf("%x became %x", b, s.encode())
		}
	})
}

// A keeping is a fold that is saved.
type keeping struct {
	folded
	name string
	fail error // of Restore
}

func (k *keeping) Saves() string { return k.name }

func (k *keeping) Save() ([]byte, error) { return json.Marshal(k.names) }

func (k *keeping) Restore(saved []byte) error {
	if k.fail != nil {
		return k.fail
	}
	return json.Unmarshal(saved, &k.names)
}

func withFolds(key ed25519.PrivateKey, folds ...journal.Fold) Options {
	opts := Options{Key: key}
	opts.Folds = folds
	return opts
}

// After a clean stop nothing is told that was kept, and everything is known all
// the same.
func TestStateRestores(t *testing.T) {
	a := &keeping{name: "a/1"}
	j := mustOpen(t, t.TempDir(), withFolds(testKey, a))
	mustAppend(t, j, "a", 20)
	want := slices.Clone(a.names)
	for name, c := range map[string]struct {
		folds []*keeping
		told  []int
		key   ed25519.PrivateKey
	}{
		"the same fold":      {[]*keeping{{name: "a/1"}}, []int{0}, testKey},
		"another version":    {[]*keeping{{name: "a/2"}}, []int{60}, testKey},
		"one more":           {[]*keeping{{name: "a/1"}, {name: "b/1"}}, []int{0, 60}, testKey},
		"one does not":       {[]*keeping{{name: "a/1", fail: errors.New("no")}}, []int{60}, testKey},
		"another key":        {[]*keeping{{name: "a/1"}}, []int{60}, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))},
		"no key":             {[]*keeping{{name: "a/1"}}, []int{60}, nil},
		"two of the same":    {[]*keeping{{name: "a/1"}, {name: "a/1"}}, []int{0, 60}, testKey},
		"none (but a state)": {nil, nil, testKey},
	} {
		t.Run(name, func(t *testing.T) {
			j = reopen(t, j, withFolds(testKey, &keeping{name: "a/1"})) // what a fold knew is kept again
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			var folds []journal.Fold
			for _, f := range c.folds {
				folds = append(folds, f)
			}
			k := mustOpen(t, j.store.dir, withFolds(c.key, folds...))
			for i, f := range c.folds {
				if f.told != c.told[i] || !slices.Equal(f.names, want) {
					t.Errorf("fold %d was told %d events, want %d, and knows %d of %d", i, f.told, c.told[i], len(f.names), len(want))
				}
			}
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Behind a crash only what came after the state is told.
func TestStateBehindCrash(t *testing.T) {
	a := &keeping{name: "a/1"}
	from := mustOpen(t, t.TempDir(), withFolds(testKey, a))
	mustAppend(t, from, "a", 20)
	if err := from.keeper.saveNow(context.Background()); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, from, "b", 3)
	mustSeal(t, from)
	mustAppend(t, from, "c", 4)
	dir := filepath.Join(t.TempDir(), "killed")
	copyFolder(t, from.store.dir, dir)
	b := &keeping{name: "a/1"}
	j := mustOpen(t, dir, withFolds(testKey, b))
	if b.told != 21 || !slices.Equal(b.names, a.names) || j.Head() != from.Head() {
		t.Errorf("told %d events, knows %d of %d", b.told, len(b.names), len(a.names))
	}
	same(t, j, everything(t, from))
}

// A state of another future of the same journal is thrown away.
func TestStateOfAnotherFuture(t *testing.T) {
	a := &keeping{name: "a/1"}
	one := mustOpen(t, t.TempDir(), withFolds(testKey, a))
	mustAppend(t, one, "a", 5)
	dir := filepath.Join(t.TempDir(), "other")
	copyFolder(t, one.store.dir, dir)
	mustAppend(t, one, "b", 5)
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	other := mustOpen(t, dir, withFolds(testKey, &keeping{name: "a/1"}))
	mustAppend(t, other, "c", 5)
	want := everything(t, other)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(one.store.dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	change(t, filepath.Join(dir, stateFile), func([]byte) []byte { return b })
	c := &keeping{name: "a/1"}
	j := mustOpen(t, dir, withFolds(testKey, c))
	if c.told != 30 || len(c.names) != 30 || !strings.Contains(c.names[29], "c4.c") {
		t.Errorf("told %d events, knows %q", c.told, c.names)
	}
	same(t, j, want)
}
