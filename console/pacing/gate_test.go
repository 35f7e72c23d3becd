package pacing_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/console/pacing"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// save is what a gate knows, which must survive being saved.
func save(t fatal, g *pacing.Gate) []byte {
	t.Helper()
	b, err := g.Save()
	if err != nil {
		t.Fatal(err)
	}
	other := pacing.NewGate()
	if err := other.Restore(b); err != nil {
		t.Fatal(err)
	}
	again, err := other.Save()
	if err != nil || !bytes.Equal(again, b) {
		t.Fatalf("restored, %x became %x, %v", b, again, err)
	}
	return b
}

// TestGateForgets is that only what is open stays.
func TestGateForgets(t *testing.T) {
	empty := save(t, pacing.NewGate())
	for name, end := range map[string]event.Payload{
		"cancelled": &event.OperationCancelled{Operation: task.ID{15: 1}}, "stopped": &event.OperationStopped{Operation: task.ID{15: 1}},
		"expired": &event.OperationExpired{Operation: task.ID{15: 1}}, "closed": &event.OperationClosed{Operation: task.ID{15: 1}},
	} {
		s := newSite(t)
		s.push(1, 3, event.Pacing{Waves: []uint32{1}})
		before := save(t, s.gate)
		if bytes.Equal(before, empty) {
			t.Errorf("%s: the operation is not known", name)
		}
		s.push(2, 3, event.Pacing{}) // it is not paced
		if !bytes.Equal(save(t, s.gate), before) {
			t.Errorf("%s: an operation for all at once is remembered", name)
		}
		s.after(time.Minute)
		if bytes.Equal(save(t, s.gate), before) {
			t.Errorf("%s: the wave is not known", name)
		}
		if err := s.journal.Append(context.Background(), &event.Event{Payload: end}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(save(t, s.gate), empty) {
			t.Errorf("%s: the operation is still known", name)
		}
	}
	s := newSite(t)
	s.push(1, 3, event.Pacing{Waves: []uint32{1}})
	s.clock = s.clock.Add(25 * time.Hour)
	s.push(2, 3, event.Pacing{Waves: []uint32{1}})
	only := newSite(t)
	only.clock = s.clock
	only.push(2, 3, event.Pacing{Waves: []uint32{1}})
	if !bytes.Equal(save(t, s.gate), save(t, only.gate)) {
		t.Error("an operation whose deliver-by is over is still known")
	}
}

func TestGateRefusesWhatItDidNotSave(t *testing.T) {
	encode := func(f func(w *bounded.Writer)) []byte {
		b, err := bounded.Encode(nil, f)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "garbage": {0xc1}, "later": encode(func(w *bounded.Writer) { w.Array(1); w.Uint(2) }),
		"half an entry": encode(func(w *bounded.Writer) { w.Array(2); w.Uint(1); w.Array(1); w.Raw(make([]byte, 16)) }),
	} {
		g := pacing.NewGate()
		if err := g.Restore(b); err == nil {
			t.Errorf("%s was taken", name)
		}
		save(t, g)
	}
}

func FuzzGate(f *testing.F) {
	g := pacing.NewGate()
	b, err := g.Save()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	s := newSite(f)
	s.push(1, 3, event.Pacing{Waves: []uint32{1}})
	s.after(time.Minute)
	if b, err = s.gate.Save(); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		g := pacing.NewGate()
		if g.Restore(b) == nil {
			save(t, g)
		}
	})
}

// However the history is cut, a gate that was saved and restored knows what one
// does that was told everything.
func TestGateProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newSite(rt)
		for n := range byte(rapid.IntRange(1, 5).Draw(rt, "operations")) {
			s.push(n+1, 5, event.Pacing{Waves: rapid.SliceOfN(rapid.Uint32Range(1, 2), 0, 3).Draw(rt, "waves"), Rate: 100})
			s.after(rapid.SampledFrom([]time.Duration{time.Second, time.Hour, 25 * time.Hour}).Draw(rt, "time"))
		}
		b := save(rt, s.gate)
		s.crash()
		if !bytes.Equal(save(rt, s.gate), b) {
			rt.Fatal("told everything anew, the gate knows something else")
		}
		s.journal.Close()
	})
}
