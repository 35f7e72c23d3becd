package simulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// off is longer than a certificate is good, and far from the thirty days for which
// a kind is good that stands in policy.
const off = 8 * 24 * time.Hour

// OP-7: what stands in policy reaches a machine that was off for more than a week,
// once, whether it comes by the channel, by policy or by both; a kind of the channel
// never comes by policy. The certificates of the machines have ended meanwhile, so
// they renew them first, over HTTPS.
func TestOP7OffForAWeek(t *testing.T) {
	dir, err := scratch()
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(dir)
		defer w.end()
		if err := w.site.open(); err != nil {
			t.Fatal(err)
		}
		var https []string
		for _, s := range w.servers {
			https = append(https, s.host+joinPort)
		}
		w.site.now().authority.SetHTTPS(https...)
		if err := w.begin(); err != nil {
			t.Fatal(err)
		}
		w.pass(10 * time.Second)
		for _, m := range w.all {
			m.halt()
		}
		w.pass(time.Minute)
		durable, scan := w.request(t, "definitions.download", 0), w.request(t, "scan.full", 30*24*time.Hour)
		w.pass(time.Minute)
		w.rest(t, off)

		byChannel, byPolicy, byBoth := w.all[0], w.all[1], w.all[2]
		w.listeners(t, false, true)
		w.back(t, byChannel)
		w.ran(t, byChannel, durable, 1)
		w.ran(t, byChannel, scan, 1)

		w.listeners(t, true, false)
		w.back(t, byPolicy)
		w.ran(t, byPolicy, durable, 1)
		w.ran(t, byPolicy, scan, 0)

		w.listeners(t, false, false)
		w.both(t, byBoth, durable)
		w.pass(10 * time.Minute) // policy is asked for every five
		for _, m := range []*machine{byChannel, byPolicy, byBoth} {
			w.ran(t, m, durable, 1)
			w.ran(t, m, scan, 1)
		}
		// A new process has both again, as far as the site does not leave them out.
		for _, m := range []*machine{byChannel, byPolicy, byBoth} {
			m.halt()
			w.back(t, m)
			w.ran(t, m, durable, 1)
			w.ran(t, m, scan, 1)
		}
		w.reported(t, durable, 3)
		w.reported(t, scan, 3)
		if err := w.failure(); err != nil {
			t.Error(err)
		}
	})
}

// rest lets time pass in which nothing of the system runs: their week would cost
// minutes of this one. The site's clock says what has expired when it is back.
func (w *world) rest(t *testing.T, d time.Duration) {
	t.Helper()
	for _, s := range w.servers {
		s.halt()
	}
	w.pass(time.Second)
	w.site.crash()
	w.pass(d)
	if err := w.site.open(); err != nil {
		t.Fatal(err)
	}
	w.listeners(t, false, false)
	w.pass(5 * time.Minute)
}

// request pushes a kind to the first three machines; valid 0 is as long as the kind
// is good.
func (w *world) request(t *testing.T, kind string, valid time.Duration) task.ID {
	t.Helper()
	before, _ := w.admin.acknowledged()
	w.admin.push(kind, []uint32{w.all[0].number, w.all[1].number, w.all[2].number}, valid, 0)
	w.pass(time.Second)
	answers, _ := w.admin.acknowledged()
	if len(answers) != len(before)+1 {
		t.Fatalf("%s was not taken", kind)
	}
	return answers[len(before)].op
}

// listeners starts both listeners anew.
func (w *world) listeners(t *testing.T, deaf, bare bool) {
	t.Helper()
	for _, s := range w.servers {
		s.halt()
		s.deaf, s.bare = deaf, bare
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
	}
	w.pass(time.Second)
}

// back switches a machine on and waits until it is signed in and has done what there
// is to do.
func (w *world) back(t *testing.T, m *machine) {
	t.Helper()
	if err := m.start(); err != nil {
		t.Fatal(err)
	}
	w.pass(5 * time.Minute)
	p := m.current()
	p.mu.Lock()
	at := p.connected
	p.mu.Unlock()
	if at == "" {
		s, err := agent.ReadStatus(m.dir)
		t.Fatalf("%s does not come back: %s %v", m.name, s.LastError, err)
	}
}

// both is back for a machine that the operation must come to by either way.
func (w *world) both(t *testing.T, m *machine, id task.ID) {
	t.Helper()
	policies := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.hits[listed]
	}
	before := policies()
	w.back(t, m)
	d, _, err := w.site.now().ops.Device(id, m.number)
	if policies() == before || d.Sent.IsZero() || err != nil {
		t.Errorf("%s: %d policies listed the operation, and it was sent at %s: %v", m.name, policies()-before, d.Sent, err)
	}
}

// ran expects how often an operation was started on a machine so far.
func (w *world) ran(t *testing.T, m *machine, id task.ID, want int) {
	t.Helper()
	w.truth.mu.Lock()
	n := len(w.truth.starts[key{id, m.number}])
	w.truth.mu.Unlock()
	if n != want {
		t.Errorf("%s: operation %s was started %d times, want %d", m.name, id, n, want)
	}
}

// reported expects that so many devices have succeeded, and that each said so once.
func (w *world) reported(t *testing.T, id task.ID, want int) {
	t.Helper()
	r := w.site.now()
	o, ok, err := r.ops.Get(id)
	if err != nil || !ok || int(o.States[task.Succeeded])+int(o.States[task.Failed]) != want || o.Count != uint32(want) {
		t.Errorf("operation %s is at %v of %d: %v", id, o.States, o.Count, err)
	}
	said := make(map[string]int)
	from, err := r.store.Read(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	for {
		p, err := from.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range p.Records {
			e, err := p.Records[i].Event()
			if err != nil {
				t.Fatal(err)
			}
			results, ok := e.Payload.(*event.ResultsReported)
			if !ok {
				continue
			}
			for _, row := range results.Rows {
				if row.Operation == id && row.State.Final() {
					said[fmt.Sprint(row.Device)]++
				}
			}
		}
	}
	for device, n := range said {
		if n != 1 {
			t.Errorf("device %s reported the end of operation %s %d times", device, id, n)
		}
	}
	if len(said) != want {
		t.Errorf("%d devices reported the end of operation %s, want %d", len(said), id, want)
	}
}
