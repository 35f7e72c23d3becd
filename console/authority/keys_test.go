package authority_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

var keyFiles = []string{"ca.key", "ca.crt", "task.key", "policy.key", "head.key", "result.key", "site.json"}

func TestKeysAreMadeOnceAndPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	first, err := authority.Open(dir, "P01")
	if err != nil {
		t.Fatal(err)
	}
	again, err := authority.Open(dir, "P01")
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case first.CAHash() != again.CAHash():
		t.Error("the CA changed")
	case !first.TaskPublicKeys()[0].Equal(again.TaskPublicKeys()[0]):
		t.Error("the task key changed")
	case !first.PolicyPublicKeys()[0].Equal(again.PolicyPublicKeys()[0]):
		t.Error("the policy key changed")
	case !first.HeadPublicKey().Equal(again.HeadPublicKey()):
		t.Error("the head key changed")
	}
	distinct := map[string]bool{}
	for _, k := range [][]byte{first.TaskPublicKeys()[0], first.PolicyPublicKeys()[0], first.HeadPublicKey()} {
		distinct[string(k)] = true
	}
	if len(distinct) != 3 {
		t.Error("two keys are the same")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(keyFiles) {
		t.Errorf("folder has %d files, want %d", len(entries), len(keyFiles))
	}
	for _, e := range entries {
		if info, _ := e.Info(); runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
}

func TestCA(t *testing.T) {
	now := newClock()
	a, err := authority.Open(t.TempDir()+"/keys", "P01", authority.WithClock(now.Now))
	if err != nil {
		t.Fatal(err)
	}
	ca := a.CACert()
	if !ca.IsCA || !ca.MaxPathLenZero || ca.CheckSignatureFrom(ca) != nil {
		t.Error("not a self-signed CA for leaves only")
	}
	if years := ca.NotAfter.Sub(now.Now()).Hours() / 24 / 365; years < 9.9 || years > 10.1 {
		t.Errorf("CA is good for %.1f years", years)
	}
}

func TestOpenFinishesWhatACrashLeft(t *testing.T) {
	dir := t.TempDir() + "/keys"
	whole, err := authority.Open(dir, "P01")
	if err != nil {
		t.Fatal(err)
	}
	// site.json is written last: without it any later file may be missing too.
	for _, name := range []string{"site.json", "result.key", "head.key"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	finished, err := authority.Open(dir, "P01")
	if err != nil {
		t.Fatal(err)
	}
	if whole.CAHash() != finished.CAHash() || !whole.TaskPublicKeys()[0].Equal(finished.TaskPublicKeys()[0]) {
		t.Error("keys that were there are not kept")
	}
	if whole.HeadPublicKey().Equal(finished.HeadPublicKey()) {
		t.Error("the key that was missing is not new")
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  string
	}{
		"a missing key": {func(t *testing.T, dir string) { remove(t, dir, "task.key") }, "backup"},
		"a missing CA":  {func(t *testing.T, dir string) { remove(t, dir, "ca.crt") }, "backup"},
		"a key others can read": {func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, "ca.key"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "chmod"},
		"a folder others can enter": {func(t *testing.T, dir string) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}, "chmod"},
		"a key cut short": {func(t *testing.T, dir string) {
			spoil(t, dir, "task.key", func(b []byte) []byte { return b[:len(b)/2] })
		}, "task.key"},
		"an empty key": {func(t *testing.T, dir string) { spoil(t, dir, "task.key", func([]byte) []byte { return nil }) }, "task.key"},
		"a flipped bit": {func(t *testing.T, dir string) {
			spoil(t, dir, "ca.crt", func(b []byte) []byte { b[200] ^= 1; return b })
		}, "ca.crt"},
		"a mixed-up key":   {func(t *testing.T, dir string) { replace(t, dir, "ca.key", "task.key") }, "another type"},
		"another CA's key": {func(t *testing.T, dir string) { replace(t, dir, "result.key", "ca.key") }, "ca.key"},
		"a spoilt mark":    {func(t *testing.T, dir string) { spoil(t, dir, "site.json", func([]byte) []byte { return []byte("{") }) }, "site.json"},
		"another site's": {func(t *testing.T, dir string) {
			spoil(t, dir, "site.json", func([]byte) []byte { return []byte(`{"site":"P02"}`) })
		}, "P02"},
		"bytes behind a key": {func(t *testing.T, dir string) {
			spoil(t, dir, "task.key", func(b []byte) []byte { return append(b, "more"...) })
		}, "task.key"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() + "/keys"
			if _, err := authority.Open(dir, "P01"); err != nil {
				t.Fatal(err)
			}
			test.spoil(t, dir)
			_, err := authority.Open(dir, "P01")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error that names %q", err, test.want)
			}
		})
	}
}

func TestOpenRefusesBadSettings(t *testing.T) {
	for _, code := range []string{"", "P1", "p01", "P 1", "P01P01P01P01P01P01"} {
		if _, err := authority.Open(t.TempDir()+"/keys", code); err == nil {
			t.Errorf("took the code %q", code)
		}
	}
	if _, err := authority.Open(t.TempDir()+"/keys", "P01", authority.WithValidity(-time.Hour)); err == nil {
		t.Error("took a validity below zero")
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func spoil(t *testing.T, dir, name string, change func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, dir, from, to string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, from))
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, dir, to, func([]byte) []byte { return b })
}

// Who is asked whether old keys are in use may ask the authority, and nobody else who
// does waits for that.
func TestRetireAsksUnlocked(t *testing.T) {
	s := newSite(t)
	s.rotate(t, authority.KeyTask)
	_, err := s.RetireKeys(t.Context(), admin, authority.KeyTask, "", false, func([]task.KeyID) error {
		changed := make(chan struct{})
		go func() {
			s.SetListeners("bugle.example:10123")
			close(changed)
		}()
		select {
		case <-changed:
			return nil
		case <-time.After(30 * time.Second):
			return errors.New("the authority waits for who is asked")
		}
	})
	if err != nil {
		t.Error(err)
	}
}
