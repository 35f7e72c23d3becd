package task_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

var update = flag.Bool("update", false, "write golden files that are not there yet; those that are never change")

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

var noon = time.Unix(1_700_000_000, 5).UTC()

func sample() task.Task {
	return task.Task{
		Site: "P01", Operation: task.ID{1, 2, 3}, Kind: "scan.quick", Params: []byte(`{"folders":["/srv"]}`), Root: [32]byte{9}, Leaves: 3,
		NotBefore: noon, DeliverBy: noon.Add(time.Hour), RunTimeout: 10 * time.Minute, Requested: noon.Add(-time.Second),
	}
}

func signed(t testing.TB, tk task.Task, k ed25519.PrivateKey) task.Signed {
	t.Helper()
	s, err := tk.Sign(k)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// golden compares b with a file; Ed25519 is deterministic, so signed bytes are
// the same for ever.
func golden(t *testing.T, name string, b []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	want, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) && *update {
		err = os.WriteFile(file, []byte(hex.EncodeToString(b)+"\n"), 0o644)
		want = []byte(hex.EncodeToString(b) + "\n")
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(b); got != strings.TrimSpace(string(want)) {
		t.Errorf("%s: the bytes have changed\ngot  %s\nwant %s", name, got, want)
	}
}

func TestSignAndVerify(t *testing.T) {
	tk := sample()
	s := signed(t, tk, key(1))
	golden(t, "task.v1.hex", s)
	got, err := s.Verify("P01", public(key(2)), public(key(1)))
	if err != nil {
		t.Fatal(err)
	}
	tk.Key = task.KeyIDOf(public(key(1)))
	if diff := cmp.Diff(tk, got); diff != "" {
		t.Errorf("task came back changed:\n%s", diff)
	}
	unverified, err := s.Task()
	if err != nil || !reflect.DeepEqual(unverified, got) {
		t.Errorf("read without keys: %+v, %v", unverified, err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	s := signed(t, sample(), key(1))
	for name, verify := range map[string]func() error{
		"another site": func() error { _, err := s.Verify("P02", public(key(1))); return err },
		"another key":  func() error { _, err := s.Verify("P01", public(key(2))); return err },
		"no key":       func() error { _, err := s.Verify("P01"); return err },
		"half a key":   func() error { _, err := s.Verify("P01", public(key(1))[:16]); return err },
		"another's signature": func() error {
			forged := append(append(task.Signed(nil), s[:len(s)-ed25519.SignatureSize]...), ed25519.Sign(key(2), s[:len(s)-ed25519.SignatureSize])...)
			_, err := forged.Verify("P01", public(key(1)), public(key(2)))
			return err
		},
	} {
		if err := verify(); !errors.Is(err, task.ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", name, err)
		}
	}
	beacon := task.Beacon{Site: "P01", Time: noon}
	if _, err := task.Signed(beacon.Sign(key(1))).Verify("P01", public(key(1))); err == nil {
		t.Error("a beacon passes as a task")
	}
}

// Whatever is changed, cut off or added, the task is not taken.
func TestAnyChangeIsRefused(t *testing.T) {
	s := signed(t, sample(), key(1))
	for i := range s {
		changed := append(task.Signed(nil), s...)
		changed[i] ^= 1 << (i % 8)
		if _, err := changed.Verify("P01", public(key(1))); err == nil {
			t.Fatalf("bit %d of byte %d of %d may be changed", i%8, i, len(s))
		}
		if _, err := s[:i].Verify("P01", public(key(1))); err == nil {
			t.Fatalf("the first %d bytes of %d are taken", i, len(s))
		}
	}
	for _, more := range [][]byte{{0}, make([]byte, 64), make([]byte, 20<<10)} {
		if _, err := append(append(task.Signed(nil), s...), more...).Verify("P01", public(key(1))); err == nil {
			t.Errorf("%d more bytes are taken", len(more))
		}
	}
}

func TestSignRefuses(t *testing.T) {
	for name, change := range map[string]func(*task.Task){
		"no site":              func(t *task.Task) { t.Site = "" },
		"a long site":          func(t *task.Task) { t.Site = strings.Repeat("P", task.MaxSite+1) },
		"no kind":              func(t *task.Task) { t.Kind = "" },
		"a long kind":          func(t *task.Task) { t.Kind = strings.Repeat("k", task.MaxKind+1) },
		"long parameters":      func(t *task.Task) { t.Params = make([]byte, task.MaxParams+1) },
		"no operation":         func(t *task.Task) { t.Operation = task.ID{} },
		"no targets":           func(t *task.Task) { t.Leaves = 0 },
		"no time to deliver":   func(t *task.Task) { t.DeliverBy = t.NotBefore },
		"a timeout below zero": func(t *task.Task) { t.RunTimeout = -1 },
	} {
		tk := sample()
		change(&tk)
		if s, err := tk.Sign(key(1)); err == nil || s != nil {
			t.Errorf("%s: signed, %v", name, err)
		}
	}
	tk := sample()
	tk.Params = make([]byte, task.MaxParams)
	if _, err := signed(t, tk, key(1)).Verify("P01", public(key(1))); err != nil {
		t.Errorf("the largest task: %v", err)
	}
}

func TestTaskRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		notBefore := rapid.Int64Range(0, 1<<62).Draw(rt, "not before")
		want := task.Task{
			Site: rapid.StringMatching(`[A-Z0-9]{1,16}`).Draw(rt, "site"), Kind: rapid.StringMatching(`[a-z.]{1,64}`).Draw(rt, "kind"),
			Params: rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(rt, "params"), Leaves: rapid.Uint32Min(1).Draw(rt, "leaves"),
			NotBefore:  time.Unix(0, notBefore).UTC(),
			DeliverBy:  time.Unix(0, rapid.Int64Range(notBefore+1, 1<<62+1).Draw(rt, "deliver by")).UTC(),
			RunTimeout: time.Duration(rapid.Int64Min(0).Draw(rt, "timeout")), Requested: time.Unix(0, rapid.Int64().Draw(rt, "requested")).UTC(),
		}
		copy(want.Root[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(rt, "root"))
		copy(want.Operation[:], rapid.SliceOfN(rapid.ByteMin(1), 16, 16).Draw(rt, "operation"))
		s, err := want.Sign(key(1))
		if err != nil {
			rt.Fatal(err)
		}
		got, err := s.Verify(want.Site, public(key(1)))
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("task came back changed:\n%s", diff)
		}
	})
}

func FuzzTask(f *testing.F) {
	genuine := signed(f, sample(), key(1))
	f.Add([]byte(genuine))
	f.Add([]byte(genuine[:40]))
	f.Add([]byte("bugle task 1\n\xff\xff\xff\xff"))
	beacon := task.Beacon{Site: "P01", Time: noon}
	f.Add(beacon.Sign(key(1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		tk, err := task.Signed(b).Task()
		if err != nil {
			return
		}
		// The bytes are canonical: the fields lead back to them.
		again, err := tk.Sign(key(1))
		if err != nil {
			t.Fatalf("a task that was read cannot be signed: %v", err)
		}
		if len(again) != len(b) {
			t.Errorf("%d bytes became %d", len(b), len(again))
		}
		if _, err := task.Signed(b).Verify("P01", public(key(1))); err == nil && !bytes.Equal(b, genuine) {
			// Nobody but the holder of the key makes bytes that verify; a fuzzer
			// that does has found a hole.
			t.Errorf("forged: %x", b)
		}
	})
}
