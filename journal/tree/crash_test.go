package tree

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// provesAll checks that every event is proved, or that the file is said to be
// damaged: never a proof that does not hold.
func provesAll(t *testing.T, tr *Tree, may ...error) {
	t.Helper()
	_, c := tr.Checkpoint()
	for number := uint64(1); number <= c.Events; number++ {
		proof, err := tr.Prove(t.Context(), number)
		if err != nil {
			if len(may) == 0 || !errors.Is(err, may[0]) {
				t.Fatal(err)
			}
			continue
		}
		if e, _, err := Check(proof, public(key(1)), origin); err != nil || e.Number != number {
			t.Fatal(err)
		}
	}
}

// The file hashes is cut at every length, as by a crash: it is made anew.
func TestTornCache(t *testing.T) {
	dir, h, c := built(t, 6)
	name := filepath.Join(dir, cacheFile)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if want := offset(6); int64(len(whole)) != want {
		t.Fatalf("%d bytes, want %d", len(whole), want)
	}
	for n := range whole {
		if n > 24 && n%9 != 0 && n < len(whole)-16 {
			continue
		}
		if err := os.WriteFile(name, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		tr := open(t, dir, options(h))
		if _, err := tr.Prove(t.Context(), 1); !errors.Is(err, ErrNotCovered) {
			t.Fatalf("cut at %d: %v", n, err)
		}
		catchUp(t, tr)
		provesAll(t, tr)
		if _, now := tr.Checkpoint(); now != c {
			t.Fatalf("cut at %d: %+v", n, now)
		}
		if b, err := os.ReadFile(name); err != nil || string(b) != string(whole) {
			t.Fatalf("cut at %d: the file was not made as it was: %v", n, err)
		}
		tr.Close()
	}
}

// What is behind the last checkpoint was never promised: zeros, rubbish, rows of
// pages that were not signed.
func TestTailOfCacheIsDropped(t *testing.T) {
	dir, h, _ := built(t, 6)
	name := filepath.Join(dir, cacheFile)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	checkpoint, err := os.ReadFile(filepath.Join(dir, checkpointFile))
	if err != nil {
		t.Fatal(err)
	}
	h.add(drafts(9)[6:]...)
	for _, tail := range []string{"x", string(make([]byte, 4096)), string(whole)} {
		if err := os.WriteFile(name, append(whole[:len(whole):len(whole)], tail...), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, checkpointFile), checkpoint, 0o600); err != nil {
			t.Fatal(err)
		}
		tr := open(t, dir, options(h))
		provesAll(t, tr)
		catchUp(t, tr)
		provesAll(t, tr)
		if _, c := tr.Checkpoint(); c.Root != expectedRoot(h) {
			t.Fatalf("%+v", c)
		}
		tr.Close()
	}
}

// Every byte of the file hashes is flipped.
func TestDamagedCache(t *testing.T) {
	dir, h, c := built(t, 4)
	name := filepath.Join(dir, cacheFile)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		bad := append([]byte(nil), whole...)
		bad[n] ^= 0x10
		if err := os.WriteFile(name, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		tr := open(t, dir, options(h))
		if tr.ready {
			provesAll(t, tr, ErrCache)
			for pages := uint64(1); pages <= c.Pages; pages++ {
				older := Checkpoint{Origin: origin, Pages: pages, Events: pages, Root: expectedRoot(&history{pages: h.pages[:pages]})}
				if pages == c.Pages {
					older = c
				}
				if _, _, err := tr.ConsistencyProof(t.Context(), older); err != nil && !errors.Is(err, ErrCache) {
					t.Fatalf("byte %d: %v", n, err)
				}
			}
		}
		tr.Close()
	}
}

// A crash leaves the checkpoint of before, and perhaps a new one under its
// temporary name.
func TestCrashBeforeRename(t *testing.T) {
	dir, h, old := built(t, 4)
	if err := os.WriteFile(filepath.Join(dir, checkpointFile+".tmp"), []byte("half a check"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.add(drafts(7)[4:]...)
	tr := open(t, dir, options(h))
	if _, c := tr.Checkpoint(); c != old {
		t.Fatalf("%+v", c)
	}
	catchUp(t, tr)
	provesAll(t, tr)
}

// Hashes without a checkpoint: a crash before the first one was written, or
// somebody removed it. The tree is made anew.
func TestCheckpointIsGone(t *testing.T) {
	dir, h, c := built(t, 4)
	if err := os.Remove(filepath.Join(dir, checkpointFile)); err != nil {
		t.Fatal(err)
	}
	tr := open(t, dir, options(h))
	if text, _ := tr.Checkpoint(); text != nil {
		t.Fatal(string(text))
	}
	catchUp(t, tr)
	if _, now := tr.Checkpoint(); now != c {
		t.Errorf("%+v, was %+v", now, c)
	}
}

func TestCacheThatEndsIsDamaged(t *testing.T) {
	dir, h, _ := built(t, 8)
	tr := open(t, dir, options(h))
	if err := os.Truncate(filepath.Join(dir, cacheFile), 20); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Prove(t.Context(), 20); !errors.Is(err, ErrCache) {
		t.Error(err)
	}
	_, c := tr.Checkpoint()
	if _, _, err := tr.ConsistencyProof(t.Context(), c); !errors.Is(err, ErrCache) {
		t.Error(err)
	}
}
