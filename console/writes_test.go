package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/bugle-fleet/bugle/journal/event"
)

func TestWritesKeepTheNewest(t *testing.T) {
	w := NewWrites()
	apply := func(number uint64, key string) {
		w.Apply(&event.Event{Number: number, Key: key, Payload: &event.OperationCancelled{}})
	}
	for i := range uint64(MaxWrites + 10) {
		apply(i+1, fmt.Sprintf("admin/k%d#aa", i+1))
	}
	if len(w.known) != MaxWrites || len(w.order) != MaxWrites {
		t.Fatalf("%d keys, %d in order", len(w.known), len(w.order))
	}
	for i, want := range map[int]bool{1: false, 10: false, 11: true, MaxWrites + 10: true} {
		if found, ok := w.find(fmt.Sprintf("admin/k%d", i)); ok != want || ok && found.event != uint64(i) {
			t.Errorf("key %d: %v, event %d", i, ok, found.event)
		}
	}
	// A key that is in use keeps its first event.
	apply(1<<40, "admin/k11#bb")
	if found, _ := w.find("admin/k11"); found.event != 11 || found.body != "aa" {
		t.Errorf("key is now %+v", found)
	}
}

func TestWritesIgnoreWhatIsNotTheirs(t *testing.T) {
	w := NewWrites()
	for _, e := range []*event.Event{
		{Number: 1, Payload: &event.OperationCancelled{}},
		{Number: 2, Key: "no hash", Payload: &event.OperationCancelled{}},
		{Number: 3, Key: "admin/k#aa", Payload: &event.DeviceBlocked{}},
		{Number: 4, Key: "admin/k#aa", Payload: &event.Unknown{Of: "x.y"}},
	} {
		w.Apply(e)
	}
	if len(w.known) != 0 {
		t.Errorf("knows %v", w.known)
	}
}

func TestOnceKey(t *testing.T) {
	actor := event.Actor{Subject: "admin"}
	make := func(call string, body any) onceKey {
		t.Helper()
		k, err := newOnceKey(actor, "k", call, body)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	w := NewWrites()
	one := make("push", PushRequest{Kind: "a"})
	w.Apply(&event.Event{Number: 7, Key: one.envelope(), Payload: &event.OperationCancelled{}})
	var done doneAlready
	if err := w.check(make("push", PushRequest{Kind: "a"})); !errors.As(err, &done) || done != 7 || done.Error() == "" {
		t.Errorf("the same again: %v", err)
	}
	for _, other := range []onceKey{make("push", PushRequest{Kind: "b"}), make("policy", PushRequest{Kind: "a"})} {
		var p *Problem
		if err := w.check(other); !errors.As(err, &p) || p.Status != 409 {
			t.Errorf("something else: %v", err)
		}
	}
	if err := w.check(onceKey{}); err != nil {
		t.Errorf("no key: %v", err)
	}
	longest, err := newOnceKey(event.Actor{Subject: "admin"}, string(make64('x')), "push", nil)
	if err != nil || len(longest.envelope()) > event.MaxKey {
		t.Errorf("envelope of %d bytes, %v", len(longest.envelope()), err)
	}
}

func make64(c byte) []byte {
	b := make([]byte, maxKey)
	for i := range b {
		b[i] = c
	}
	return b
}

// FuzzWrites: whatever keys the journal holds, the fold keeps what it can find
// again.
func FuzzWrites(f *testing.F) {
	f.Add("admin/k#aa")
	f.Add("#")
	f.Add("a#b#c")
	f.Add("")
	f.Fuzz(func(t *testing.T, key string) {
		w := NewWrites()
		w.Apply(&event.Event{Number: 1, Key: key, Payload: &event.OperationCancelled{}})
		for k, v := range w.known {
			if k+"#"+v.body != key || w.check(onceKey{k, v.body}) == nil && k != "" {
				t.Errorf("key %q became %q, %+v", key, k, v)
			}
		}
	})
}

// FuzzPolicy: a policy that is taken reads back as what it says.
func FuzzPolicy(f *testing.F) {
	f.Add([]byte(DefaultPolicy))
	f.Add([]byte(`{"indicators":["` + fmt.Sprintf("%064x", 1) + `"],"scanFolders":["/a"]}`))
	f.Add([]byte(`{"scanFolders":["\u0000"]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p PolicyBody
		if json.Unmarshal(raw, &p) != nil {
			return
		}
		body, err := encodePolicy(p)
		if err != nil {
			return
		}
		fold := NewPolicies(nil)
		fold.Apply(&event.Event{Number: 3, Payload: &event.PolicyChanged{Body: body}})
		got, parsed, number := fold.current()
		again, err := encodePolicy(parsed)
		if err != nil || number != 3 || string(got) != string(again) {
			t.Errorf("%s reads back as %s, %v", got, again, err)
		}
	})
}
