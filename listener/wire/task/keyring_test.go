package task_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func ring(number uint32) task.Keyring {
	return task.Keyring{Site: "P01", Number: number, At: noon, Task: []ed25519.PublicKey{public(key(2)), public(key(1))},
		Policy: []ed25519.PublicKey{public(key(3))}, CA: [][]byte{[]byte("a certificate"), []byte("the one before it")}}
}

func TestKeyring(t *testing.T) {
	r := ring(2)
	s, err := r.Sign(key(1))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "keyring.v1.hex", s)
	got, err := task.VerifyKeyring(s, "P01", 2, public(key(9)), public(key(1)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Fatalf("keyring came back changed:\n%s", diff)
	}
	for i := range s {
		changed := bytes.Clone(s)
		changed[i] ^= 4
		if _, err := task.VerifyKeyring(changed, "P01", 2, public(key(1))); err == nil {
			t.Fatalf("byte %d of %d may be changed", i, len(s))
		}
		if _, err := task.VerifyKeyring(s[:i], "P01", 2, public(key(1))); err == nil {
			t.Fatalf("the first %d bytes of %d are taken", i, len(s))
		}
	}
	for what, verify := range map[string]func() error{
		"another site": func() error { _, err := task.VerifyKeyring(s, "P02", 2, public(key(1))); return err },
		"another key":  func() error { _, err := task.VerifyKeyring(s, "P01", 2, public(key(2))); return err },
		"out of order": func() error { _, err := task.VerifyKeyring(s, "P01", 3, public(key(1))); return err },
	} {
		if err := verify(); !errors.Is(err, task.ErrRefused) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What no ring may be is neither signed nor read.
func TestKeyringBounds(t *testing.T) {
	for what, change := range map[string]func(*task.Keyring){
		"the first ring":    func(r *task.Keyring) { r.Number = 1 },
		"no site":           func(r *task.Keyring) { r.Site = "" },
		"no task key":       func(r *task.Keyring) { r.Task = nil },
		"no policy key":     func(r *task.Keyring) { r.Policy = nil },
		"no certificate":    func(r *task.Keyring) { r.CA = nil },
		"empty certificate": func(r *task.Keyring) { r.CA[0] = nil },
		"five keys":         func(r *task.Keyring) { r.Policy = make([]ed25519.PublicKey, task.MaxKeys+1) },
		"half a key":        func(r *task.Keyring) { r.Task[1] = r.Task[1][:16] },
	} {
		r := ring(2)
		change(&r)
		if _, err := r.Sign(key(1)); err == nil {
			t.Errorf("%s is signed", what)
		}
	}
}

func TestCancel(t *testing.T) {
	c := task.Cancel{Site: "P01", Operation: task.NewID(time.Unix(1_700_000_000, 0)), At: noon}
	c.Operation = task.ID{1, 2, 3}
	s := c.Sign(key(1))
	golden(t, "cancel.v1.hex", s)
	if len(s) > task.MaxCancel {
		t.Errorf("cancel of %d bytes", len(s))
	}
	got, err := task.VerifyCancel(s, "P01", public(key(2)), public(key(1)))
	if err != nil || got != c {
		t.Fatalf("cancel came back as %+v, %v", got, err)
	}
	for i := range s {
		changed := bytes.Clone(s)
		changed[i] ^= 4
		if _, err := task.VerifyCancel(changed, "P01", public(key(1))); err == nil {
			t.Fatalf("byte %d of %d may be changed", i, len(s))
		}
	}
	for _, verify := range []func() error{
		func() error { _, err := task.VerifyCancel(s, "P02", public(key(1))); return err },
		func() error { _, err := task.VerifyCancel(s, "P01", public(key(2))); return err },
	} {
		if err := verify(); !errors.Is(err, task.ErrRefused) {
			t.Errorf("another site or key: %v", err)
		}
	}
}

func FuzzKeyring(f *testing.F) {
	r := ring(2)
	genuine, err := r.Sign(key(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(genuine)
	f.Add(genuine[:60])
	f.Fuzz(func(t *testing.T, s []byte) {
		if _, err := task.VerifyKeyring(s, "P01", 2, public(key(1))); err == nil && !bytes.Equal(s, genuine) {
			t.Errorf("forged: %x", s)
		}
	})
}
