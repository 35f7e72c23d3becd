package task_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func TestBeacon(t *testing.T) {
	b := task.Beacon{Site: "P01", Time: noon, Nonce: [16]byte{1, 2, 3}}
	s := b.Sign(key(1))
	golden(t, "beacon.v1.hex", s)
	got, err := task.VerifyBeacon(s, "P01", public(key(2)), public(key(1)))
	if err != nil || got != b {
		t.Fatalf("beacon came back as %+v, %v", got, err)
	}
	for i := range s {
		changed := append([]byte(nil), s...)
		changed[i] ^= 0x20
		if _, err := task.VerifyBeacon(changed, "P01", public(key(1))); err == nil {
			t.Fatalf("byte %d of %d may be changed", i, len(s))
		}
		if _, err := task.VerifyBeacon(s[:i], "P01", public(key(1))); err == nil {
			t.Fatalf("the first %d bytes of %d are taken", i, len(s))
		}
	}
	for _, verify := range []func() error{
		func() error { _, err := task.VerifyBeacon(s, "P02", public(key(1))); return err },
		func() error { _, err := task.VerifyBeacon(s, "P01", public(key(2))); return err },
	} {
		if err := verify(); !errors.Is(err, task.ErrRefused) {
			t.Errorf("another site or key: %v", err)
		}
	}
	if _, err := task.VerifyBeacon(signed(t, sample(), key(1)), "P01", public(key(1))); err == nil {
		t.Error("a task passes as a beacon")
	}
}

func TestPolicy(t *testing.T) {
	p := task.Policy{Site: "P01", Body: []byte(`{"keepAlive":"60s"}`)}
	s, err := p.Sign(key(1))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "policy.v1.hex", s)
	got, err := task.VerifyPolicy(s, "P01", public(key(1)))
	if err != nil || !bytes.Equal(got.Body, p.Body) || got.ETag() != p.ETag() || got.Key != task.KeyIDOf(public(key(1))) {
		t.Fatalf("policy came back as %+v, %v", got, err)
	}
	for i := range s {
		changed := append([]byte(nil), s...)
		changed[i] ^= 1
		if _, err := task.VerifyPolicy(changed, "P01", public(key(1))); err == nil {
			t.Fatalf("byte %d of %d may be changed", i, len(s))
		}
		if _, err := task.VerifyPolicy(s[:i], "P01", public(key(1))); err == nil {
			t.Fatalf("the first %d bytes of %d are taken", i, len(s))
		}
	}
	for _, verify := range []func() error{
		func() error { _, err := task.VerifyPolicy(s, "P02", public(key(1))); return err },
		func() error { _, err := task.VerifyPolicy(s, "P01", public(key(2))); return err },
	} {
		if err := verify(); !errors.Is(err, task.ErrRefused) {
			t.Errorf("another site or key: %v", err)
		}
	}
	largest := task.Policy{Site: strings.Repeat("P", task.MaxSite), Body: make([]byte, task.MaxPolicy)}
	s, err = largest.Sign(key(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := task.VerifyPolicy(s, largest.Site, public(key(1))); err != nil {
		t.Errorf("the largest policy: %v", err)
	}
	largest.Body = make([]byte, task.MaxPolicy+1)
	if _, err := largest.Sign(key(1)); err == nil {
		t.Error("a policy that is too long is signed")
	}
}

func result() task.Result {
	return task.Result{Operation: task.ID{1}, Device: 7, Attempt: 1, State: task.Failed, Code: -2, At: noon, Detail: "nothing to scan"}
}

func TestResultMAC(t *testing.T) {
	k := bytes.Repeat([]byte{5}, 32)
	r := result()
	mac := r.MAC(k)
	golden(t, "result-mac.v1.hex", mac[:])
	if !r.Genuine(k, mac) {
		t.Fatal("a result is not genuine under its own key")
	}
	if r.Genuine(bytes.Repeat([]byte{6}, 32), mac) {
		t.Error("a result is genuine under another key")
	}
	for name, change := range map[string]func(*task.Result){
		"operation": func(r *task.Result) { r.Operation[15] ^= 1 },
		"device":    func(r *task.Result) { r.Device++ },
		"attempt":   func(r *task.Result) { r.Attempt++ },
		"state":     func(r *task.Result) { r.State = task.Succeeded },
		"code":      func(r *task.Result) { r.Code = 0 },
		"time":      func(r *task.Result) { r.At = r.At.Add(1) },
		"detail":    func(r *task.Result) { r.Detail += "." },
		"no detail": func(r *task.Result) { r.Detail = "" },
	} {
		changed := result()
		change(&changed)
		if changed.Genuine(k, mac) {
			t.Errorf("with another %s the code still holds", name)
		}
	}
	for i := range mac {
		forged := mac
		forged[i] ^= 1
		if r.Genuine(k, forged) {
			t.Errorf("byte %d of the code does not count", i)
		}
	}
}

// Site and device derive the same key; nobody else does, and no other device or
// site.
func TestResultKey(t *testing.T) {
	pair := func() (*ecdh.PrivateKey, *ecdh.PublicKey) {
		k, err := ecdh.P256().GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k, k.PublicKey()
	}
	derive := func(k *ecdh.PrivateKey, p *ecdh.PublicKey, site string, id task.ID) string {
		key, err := task.ResultKey(k, p, site, id)
		if err != nil || len(key) != 32 {
			t.Fatalf("key of %d bytes, %v", len(key), err)
		}
		return string(key)
	}
	device, devicePublic := pair()
	site, sitePublic := pair()
	other, otherPublic := pair()
	id := task.ID{1}
	want := derive(device, sitePublic, "P01", id)
	if derive(site, devicePublic, "P01", id) != want {
		t.Error("site and device have different keys")
	}
	for name, got := range map[string]string{
		"another device's key": derive(other, sitePublic, "P01", id),
		"another site's key":   derive(device, otherPublic, "P01", id),
		"another site":         derive(device, sitePublic, "P02", id),
		"another device":       derive(device, sitePublic, "P01", task.ID{2}),
	} {
		if got == want {
			t.Errorf("%s gives the same result key", name)
		}
	}
	x, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := task.ResultKey(device, x.PublicKey(), "P01", id); err == nil {
		t.Error("keys of two curves give a result key")
	}
}

func TestStateNames(t *testing.T) {
	for _, s := range task.States {
		if got, ok := task.ParseState(s.String()); !ok || got != s || !s.Valid() {
			t.Errorf("%s reads back as %s", s, got)
		}
	}
	for _, name := range []string{"", "none", "unknown", "Failed"} {
		if s, ok := task.ParseState(name); ok {
			t.Errorf("%q is state %d", name, s)
		}
	}
	if task.NoState.Valid() || task.State(14).Valid() || task.State(14).String() != "unknown" {
		t.Error("numbers that are no state are")
	}
}

// A device moves forward, ends once, and only what the site said is corrected,
// whatever reports come, in whatever order, however often.
func TestStateFollows(t *testing.T) {
	all := rapid.SampledFrom(append(slices.Clone(task.States), task.NoState, 14, 255))
	rapid.Check(t, func(rt *rapid.T) {
		now, ended, corrected := task.Waiting, 0, 0
		for _, s := range rapid.SliceOf(all).Draw(rt, "reports") {
			if !s.Follows(now) {
				continue
			}
			switch {
			case !s.Valid() || s == task.Waiting || s == now:
				rt.Fatalf("%s follows %s", s, now)
			case now == task.Lost:
				if !s.FromAgent() || !s.Final() {
					rt.Fatalf("%s corrects lost", s)
				}
				corrected++
			case now == task.Expired || now == task.Cancelled:
				if !s.FromAgent() || !s.Final() || s == task.Refused {
					rt.Fatalf("%s corrects %s", s, now)
				}
				corrected++
			case now.Final():
				rt.Fatalf("%s follows %s, which is final", s, now)
			case s < now && !(now == task.Deferred && s == task.Running):
				rt.Fatalf("%s follows %s: it goes back", s, now)
			}
			if s.Final() {
				ended++
			}
			now = s
			if s.Follows(now) {
				rt.Fatalf("%s follows itself", s)
			}
		}
		if ended > 1+corrected || corrected > 1 {
			rt.Fatalf("ended %d times, corrected %d times", ended, corrected)
		}
	})
	for _, s := range task.States[1:] {
		if !s.Follows(task.Waiting) {
			t.Errorf("%s cannot follow waiting: a report may come first", s)
		}
	}
}

func TestStateClasses(t *testing.T) {
	agent := []task.State{task.Delivered, task.Running, task.Deferred, task.Succeeded, task.Failed, task.Refused, task.TimedOut, task.NotApplicable}
	final := []task.State{task.Succeeded, task.Failed, task.Refused, task.TimedOut, task.NotApplicable, task.Expired, task.Cancelled, task.Lost}
	for s := task.NoState; s < 20; s++ {
		if s.FromAgent() != slices.Contains(agent, s) || s.Final() != slices.Contains(final, s) {
			t.Errorf("state %d: from agent %t, final %t", s, s.FromAgent(), s.Final())
		}
	}
}

func TestID(t *testing.T) {
	a, b := task.NewID(noon), task.NewID(noon.Add(time.Millisecond))
	if a.String() >= b.String() || a.String()[14] != '7' || !strings.ContainsRune("89ab", rune(a.String()[19])) {
		t.Errorf("ids %s and %s are not of version 7, in order", a, b)
	}
	if r := task.NewRandomID(); r.String()[14] != '4' || r.IsZero() || r == task.NewRandomID() {
		t.Errorf("random id %s", r)
	}
	if !(task.ID{}).IsZero() || a.IsZero() {
		t.Error("which id is zero?")
	}
	rapid.Check(t, func(rt *rapid.T) {
		var id task.ID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "id"))
		if got, err := task.ParseID(id.String()); err != nil || got != id {
			rt.Fatalf("%s reads back as %s, %v", id, got, err)
		}
		text, err := json.Marshal(id)
		var got task.ID
		if err != nil || json.Unmarshal(text, &got) != nil || got != id {
			rt.Fatalf("%s reads back from JSON %s as %s", id, text, got)
		}
	})
	for _, s := range []string{"", a.String()[1:], a.String() + "0", strings.ReplaceAll(a.String(), "-", "_"), "zz" + a.String()[2:],
		"{" + a.String()[:35] + "}"} {
		if id, err := task.ParseID(s); !errors.Is(err, task.ErrNotID) {
			t.Errorf("%q is id %s", s, id)
		}
	}
}

func FuzzBeacon(f *testing.F) {
	b := task.Beacon{Site: "P01", Time: noon}
	genuine := b.Sign(key(1))
	f.Add(genuine)
	f.Add(genuine[:30])
	f.Fuzz(func(t *testing.T, s []byte) {
		if _, err := task.VerifyBeacon(s, "P01", public(key(1))); err == nil && !bytes.Equal(s, genuine) {
			t.Errorf("forged: %x", s)
		}
	})
}

func FuzzPolicy(f *testing.F) {
	p := task.Policy{Site: "P01", Body: []byte(`{}`)}
	genuine, err := p.Sign(key(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(genuine)
	f.Add(genuine[:30])
	f.Fuzz(func(t *testing.T, s []byte) {
		if _, err := task.VerifyPolicy(s, "P01", public(key(1))); err == nil && !bytes.Equal(s, genuine) {
			t.Errorf("forged: %x", s)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	s := signed(b, sample(), key(1))
	k := []ed25519.PublicKey{public(key(1))}
	for b.Loop() {
		if _, err := s.Verify("P01", k...); err != nil {
			b.Fatal(err)
		}
	}
}
