package console

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

var (
	_ journal.SavingFold = (*Policies)(nil)
	_ journal.SavingFold = (*Writes)(nil)
)

func savedBy(t interface{ Fatal(...any) }, f journal.SavingFold) []byte {
	b, err := f.Save()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// saveAnywhere checks that a fold that was saved behind some events, restored
// into a new one and told the rest knows what one does that was told all, to the
// byte.
func saveAnywhere(t *rapid.T, fold func() journal.SavingFold, events []*event.Event) (restored, all journal.SavingFold) {
	cut := rapid.IntRange(0, len(events)).Draw(t, "cut")
	all, restored = fold(), fold()
	prefix := fold()
	for i, e := range events {
		all.Apply(e)
		if i < cut {
			prefix.Apply(e)
		}
		if i%3 == 0 {
			restored.Apply(e) // what it knew before does not matter
		}
	}
	b := savedBy(t, prefix)
	if err := restored.Restore(b); err != nil {
		t.Fatal(err)
	}
	if again := savedBy(t, restored); !bytes.Equal(again, b) {
		t.Fatalf("saved\n%x\nrestored\n%x", b, again)
	}
	for _, e := range events[cut:] {
		restored.Apply(e)
	}
	if got, want := savedBy(t, restored), savedBy(t, all); !bytes.Equal(got, want) {
		t.Fatalf("restored and told the rest:\n%x\ntold all:\n%x", got, want)
	}
	return restored, all
}

func TestSaveWritesAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var events []*event.Event
		for i := range rapid.IntRange(0, 40).Draw(t, "events") {
			key := rapid.SampledFrom([]string{"", "#", "no hash", "admin/a#1", "admin/a#2", "admin/b#1", "x/b#1", "a#b#c"}).Draw(t, "key")
			events = append(events, &event.Event{Number: uint64(i + 1), Key: key, Payload: &event.OperationCancelled{}})
		}
		restored, all := saveAnywhere(t, func() journal.SavingFold { return NewWrites() }, events)
		for _, key := range []string{"", "admin/a", "admin/b", "x/b", "a#b", "none"} {
			got, gotThere := restored.(*Writes).find(key)
			want, wantThere := all.(*Writes).find(key)
			if got != want || gotThere != wantThere {
				t.Fatalf("key %q: %+v, want %+v", key, got, want)
			}
		}
	})
}

// A full ring that has turned forgets the same keys as before.
func TestSaveFullWrites(t *testing.T) {
	tell := func(w *Writes, from, to int) {
		for i := from; i < to; i++ {
			w.Apply(&event.Event{Number: uint64(i), Key: fmt.Sprintf("admin/%d#aa", i), Payload: &event.OperationCancelled{}})
		}
	}
	all, restored := NewWrites(), NewWrites()
	tell(all, 0, MaxWrites+100)
	if err := restored.Restore(savedBy(t, all)); err != nil {
		t.Fatal(err)
	}
	tell(all, MaxWrites+100, MaxWrites+300)
	tell(restored, MaxWrites+100, MaxWrites+300)
	if !bytes.Equal(savedBy(t, all), savedBy(t, restored)) {
		t.Error("the restored fold has forgotten something else")
	}
	if _, ok := restored.find("admin/299"); ok || len(restored.known) != MaxWrites {
		t.Errorf("%d keys, the oldest still there: %v", len(restored.known), ok)
	}
}

func TestSavePoliciesAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var events []*event.Event
		for i := range rapid.IntRange(0, 8).Draw(t, "events") {
			body := rapid.SampledFrom([]string{`{"version":1}`, DefaultPolicy, `{"version":1,"keepAliveSeconds":60}`, "no policy", ""}).Draw(t, "body")
			user := rapid.SampledFrom([]string{"", "", Everybody, "ann", "bob"}).Draw(t, "user")
			events = append(events, &event.Event{Number: uint64(i + 1), Payload: &event.PolicyChanged{Body: []byte(body), User: user}})
		}
		restored, all := saveAnywhere(t, func() journal.SavingFold { return NewPolicies(nil) }, events)
		gotBody, _, gotEvent := restored.(*Policies).current()
		wantBody, _, wantEvent := all.(*Policies).current()
		if string(gotBody) != string(wantBody) || gotEvent != wantEvent || restored.(*Policies).KeepAlive(1) != all.(*Policies).KeepAlive(1) {
			t.Fatalf("event %d: %s, want event %d: %s", gotEvent, gotBody, wantEvent, wantBody)
		}
		for _, user := range []string{"", Everybody, "ann", "bob", "nobody"} {
			if got, want := restored.(*Policies).line(user), all.(*Policies).line(user); !reflect.DeepEqual(got, want) {
				t.Fatalf("policy of %q is %+v, want %+v", user, got, want)
			}
		}
	})
}

// The built-in policy is that of the bugle that restores, not of the one that saved.
func TestRestoresItsOwnDefault(t *testing.T) {
	b, err := bounded.Encode(nil, func(w *bounded.Writer) {
		w.Array(4)
		w.Uint(1)
		w.Bytes([]byte(`{"version":1,"keepAliveSeconds":1}`), event.MaxPolicyBody)
		w.Uint(0)
		w.Array(0)
	})
	if err != nil {
		t.Fatal(err)
	}
	p := NewPolicies(nil)
	if err := p.Restore(b); err != nil {
		t.Fatal(err)
	}
	if body, _, _ := p.current(); string(body) != DefaultPolicy || p.KeepAlive(1) != NewPolicies(nil).KeepAlive(1) {
		t.Errorf("restored %s", body)
	}
}

// What is kept under the names writes/1 and policies/1 is spelled as it is in
// testdata, for ever: another spelling needs another version, or another name.
func TestSaveGolden(t *testing.T) {
	w, p := NewWrites(), NewPolicies(nil)
	for i, user := range []string{Everybody, "ann", "bob", "ann"} {
		p.Apply(&event.Event{Number: uint64(310 + i), Payload: &event.PolicyChanged{Body: fmt.Appendf(nil, `{"n":%d}`, i), User: user}})
	}
	p.Apply(&event.Event{Number: 320, Payload: &event.PolicyChanged{User: "bob"}})
	w.Apply(&event.Event{Number: 300, Key: "admin/b#1", Payload: &event.OperationCancelled{}})
	w.Apply(&event.Event{Number: 301, Key: "admin/a#2", Payload: &event.OperationCancelled{}})
	p.Apply(&event.Event{Number: 302, Payload: &event.PolicyChanged{Body: []byte(`{"version":1}`)}})
	for name, f := range map[string]journal.SavingFold{"writes.v1.hex": w, "policies.v2.hex": p} {
		want, err := os.ReadFile(filepath.Join("testdata", name))
		if got := hex.EncodeToString(savedBy(t, f)) + "\n"; err != nil || got != string(want) {
			t.Errorf("%s: saved\n%s, want\n%s, %v", name, got, want, err)
		}
	}
}

// What the first version saved is still read: the policy of the machines.
func TestSaveOfVersion1(t *testing.T) {
	kept, err := os.ReadFile(filepath.Join("testdata", "policies.v1.hex"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(kept)))
	if err != nil {
		t.Fatal(err)
	}
	p := NewPolicies(nil)
	if err := p.Restore(b); err != nil {
		t.Fatal(err)
	}
	if l := p.line(""); string(l.body) != `{"version":1}` || l.event != 302 || l.version != 1 || !slices.Equal(l.events, []uint64{302}) {
		t.Errorf("restored %+v", l)
	}
	told := NewPolicies(nil)
	told.Apply(&event.Event{Number: 302, Payload: &event.PolicyChanged{Body: []byte(`{"version":1}`)}})
	if !bytes.Equal(savedBy(t, p), savedBy(t, told)) {
		t.Error("who was told the same saves something else")
	}
}

// As many people as there can be: those whose policy was removed make room, the one
// that was removed first before the others; nobody else does.
func TestPoliciesOfManyPeople(t *testing.T) {
	p, n := NewPolicies(nil), uint64(0)
	set := func(user, body string) {
		n++
		p.Apply(&event.Event{Number: n, Payload: &event.PolicyChanged{User: user, Body: []byte(body)}})
	}
	for i := range MaxUserPolicies {
		set(fmt.Sprintf("user %04d", i), `{"a":1}`)
	}
	if set("late", `{}`); p.line("late").body != nil || !p.full("late") || p.full("user 0007") {
		t.Error("one too many was taken")
	}
	set("user 0009", "")
	set("user 0003", "")
	if set("late", `{}`); p.line("late").body == nil || p.line("user 0009").version != 0 || p.line("user 0003").version != 2 {
		t.Error("the one that was removed first is still there")
	}
	if err := NewPolicies(nil).Restore(savedBy(t, p)); err != nil || len(p.people()) != MaxUserPolicies-1 {
		t.Errorf("%d people, %v", len(p.people()), err)
	}
}

// hostileSaves are saved folds of either sort that cannot be.
func hostileSaves(t testing.TB) map[string][]byte {
	encode := func(write func(w *bounded.Writer)) []byte {
		b, err := bounded.Encode(nil, write)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return map[string][]byte{
		"nothing":         nil,
		"no array":        {0x01},
		"a later version": {0x92, 0x03, 0x90},
		"too little":      {0x91, 0x01},
		"no policy":       encode(func(w *bounded.Writer) { w.Array(3); w.Uint(1); w.Raw([]byte("{")); w.Uint(7) }),
		"people in disorder": encode(func(w *bounded.Writer) {
			w.Array(6)
			w.Uint(2)
			NewPolicies(nil).machine.save(w, event.MaxPolicyBody, MaxPolicies)
			w.Array(10)
			for range 2 {
				w.Exact("ann", 9)
				(&policyLine{[]byte("{}"), 3, 1, []uint64{3}}).save(w, MaxUserSettings, maxUserEvents)
			}
		}),
		"more behind":  append(encode(func(w *bounded.Writer) { w.Array(2); w.Uint(1); w.Array(0) }), 1),
		"half a write": encode(func(w *bounded.Writer) { w.Array(2); w.Uint(1); w.Array(2); w.Exact("a", 9); w.Exact("b", 9) }),
		"the same twice": encode(func(w *bounded.Writer) {
			w.Array(2)
			w.Uint(1)
			w.Array(6)
			for range 2 {
				w.Exact("a", 9)
				w.Exact("b", 9)
				w.Uint(7)
			}
		}),
		"a long key": encode(func(w *bounded.Writer) {
			w.Array(2)
			w.Uint(1)
			w.Array(3)
			w.Exact(string(bytes.Repeat([]byte("a"), event.MaxKey+1)), 999)
			w.Exact("b", 9)
			w.Uint(7)
		}),
	}
}

func TestRestoreRefuses(t *testing.T) {
	for name, b := range hostileSaves(t) {
		w, p := NewWrites(), NewPolicies(nil)
		w.Apply(&event.Event{Number: 1, Key: "admin/a#1", Payload: &event.OperationCancelled{}})
		p.Apply(&event.Event{Number: 1, Payload: &event.PolicyChanged{Body: []byte(`{"version":1}`)}})
		err := w.Restore(b)
		if name != "no policy" && !errors.Is(err, bounded.ErrMalformed) || err == nil {
			t.Errorf("writes, %s: %v", name, err)
		}
		if err := p.Restore(b); err == nil {
			t.Errorf("policies, %s: restored", name)
		}
		if !bytes.Equal(savedBy(t, w), savedBy(t, NewWrites())) || !bytes.Equal(savedBy(t, p), savedBy(t, NewPolicies(nil))) {
			t.Errorf("%s: not as new", name)
		}
	}
}

// fuzzRestore checks that what is restored is saved as the same knowledge, and
// that what is refused leaves a fold as new.
func fuzzRestore(t *testing.T, fold func() journal.SavingFold, b []byte) {
	f, other := fold(), fold()
	err := f.Restore(b)
	again := savedBy(t, f)
	if err != nil && !bytes.Equal(again, savedBy(t, other)) {
		t.Fatal("not as new after", err)
	}
	if err := other.Restore(again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(savedBy(t, other), again) {
		t.Error("saved again it is something else")
	}
}

func FuzzRestoreWrites(f *testing.F) {
	w := NewWrites()
	for i := range 5 {
		w.Apply(&event.Event{Number: uint64(i), Key: fmt.Sprintf("admin/%d#aa", i), Payload: &event.OperationCancelled{}})
	}
	f.Add(savedBy(f, w))
	for _, b := range hostileSaves(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzRestore(t, func() journal.SavingFold { return NewWrites() }, b)
	})
}

func FuzzRestorePolicies(f *testing.F) {
	f.Add(savedBy(f, NewPolicies(nil)))
	for _, b := range hostileSaves(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzRestore(t, func() journal.SavingFold { return NewPolicies(nil) }, b)
	})
}

// BenchmarkSaveWrites is as many keys as are kept.
func BenchmarkSaveWrites(b *testing.B) {
	w := NewWrites()
	for i := range MaxWrites {
		w.Apply(&event.Event{Number: uint64(i), Key: fmt.Sprintf("administrator/%036d#0123456789abcdef", i), Payload: &event.OperationCancelled{}})
	}
	kept := savedBy(b, w)
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			savedBy(b, w)
		}
		b.ReportMetric(float64(len(kept)), "bytes")
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			if err := NewWrites().Restore(kept); err != nil {
				b.Fatal(err)
			}
		}
	})
}
