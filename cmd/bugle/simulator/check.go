package simulator

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// check compares everything with everything else. It is called when nothing moves.
func (w *world) check() {
	r := w.site.now()
	if r == nil {
		return
	}
	before := w.model.head.Event
	if err := w.model.advance(r.store); err != nil {
		w.violated(2, "%v", err)
		return
	}
	for promise, err := range map[int]error{1: w.acknowledged(), 3: w.truth.once(w.model.orders), 6: w.evil.read(w.model.orders)} {
		if err != nil {
			w.violated(promise, "%v", err)
		}
	}
	if err := w.archived(); err != nil {
		w.violated(2, "%v", err)
	}
	if w.model.head.Event != before {
		if err := w.views(r); err != nil {
			w.violated(2, "%v", err)
		}
	}
	for _, m := range w.all {
		if err := w.reached(m); err != nil {
			w.violated(3, "%v", err)
		}
	}
}

// acknowledged checks that what an administrator was told is in the history:
// promise 1.
func (w *world) acknowledged() error {
	answers, _ := w.admin.acknowledged()
	for _, a := range answers {
		switch {
		case a.event >= uint64(len(w.model.kinds)):
			return fmt.Errorf("%s was answered with event %d, the history ends with %d", a.call, a.event, len(w.model.kinds)-1)
		case w.model.kinds[a.event] != a.kind:
			return fmt.Errorf("%s was answered with event %d, which is %s", a.call, a.event, w.model.kinds[a.event])
		case !a.op.IsZero() && w.model.about[a.event] != a.op:
			return fmt.Errorf("%s was answered with event %d, which is about operation %s", a.call, a.event, w.model.about[a.event])
		}
	}
	return nil
}

// archived checks that the history has all of every file that the inbox is done
// with.
func (w *world) archived() error {
	paths, err := filepath.Glob(filepath.Join(w.site.box(), "archive", "*", "*"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		n, err := box.ParseName(filepath.Base(path))
		if err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		if t := w.model.files[n]; t == nil || !t.whole() {
			return fmt.Errorf("%s is archived, and the history does not have all of it", n)
		}
	}
	return nil
}

// views checks that what the views show is what the model makes of the history.
func (w *world) views(r *running) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.views.Wait(ctx, w.model.head.Event); err != nil {
		return err
	}
	for id, o := range w.model.orders {
		if err := w.operation(r, id, o); err != nil {
			return err
		}
	}
	for number, want := range w.model.devices {
		d, ok, err := r.devices.Get(number)
		if err != nil || !ok || d.Name != want.name || d.Blocked != want.blocked {
			return differs(err, "device %d is %q, blocked %t, in the view, it is %q, blocked %t", number, d.Name, d.Blocked, want.name, want.blocked)
		}
	}
	messages, err := r.status.Messages(0, w.model.said+1)
	if err != nil || len(messages) != w.model.said {
		return differs(err, "the view has %d status messages of %d", len(messages), w.model.said)
	}
	return w.presence(r)
}

func (w *world) operation(r *running, id task.ID, o *order) error {
	rows, err := r.ops.Devices(id, task.NoState, 0, len(o.targets)+1)
	if err != nil || len(rows) != len(o.targets) {
		return differs(err, "%s has %d targets in the view, it has %d", o, len(rows), len(o.targets))
	}
	shown, ok, err := r.ops.Get(id)
	if err != nil || !ok {
		return differs(err, "%s is not in the view", o)
	}
	var counts [14]uint32
	for _, d := range rows {
		if d.State != o.states[d.Device] {
			return fmt.Errorf("%s is %s on device %d in the view, the history says %s", o, d.State, d.Device, o.states[d.Device])
		}
		counts[d.State]++
	}
	if counts != shown.States {
		return fmt.Errorf("%s is counted as %v, its targets are %v", o, shown.States, counts)
	}
	return nil
}

// differs is the error of a read, or if there is none, that what it read is wrong.
func differs(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return fmt.Errorf(format, args...)
}

// presence checks what the view says of who is online, in three ways.
func (w *world) presence(r *running) error {
	online := r.presence.Online()
	rows, err := r.presence.List(0, 1000)
	if err != nil {
		return err
	}
	n := 0
	held := make(map[string]uint64)
	for _, row := range rows {
		if row.Online != online.Contains(row.Device) {
			return fmt.Errorf("device %d is online: %t in its row, %t in the set", row.Device, row.Online, online.Contains(row.Device))
		}
		if row.Online {
			n++
			held[row.Listener]++
		}
	}
	total, by := r.presence.Counts()
	if total != uint64(n) || uint64(online.GetCardinality()) != total {
		return fmt.Errorf("%d devices are online, the view counts %d", n, total)
	}
	for name, count := range by {
		if count != held[name] {
			return fmt.Errorf("listener %s holds %d devices, the view counts %d", name, held[name], count)
		}
	}
	return nil
}

// How long a task may take from a listener to a machine that is well: with a
// session that works, and if it may first have to find out that its session is
// dead, and connect.
const (
	soon       = 20 * time.Second
	eventually = 10 * time.Minute
	startTime  = 5 * time.Minute
)

// reached checks that a machine that could be reached was, and started what it
// got: promise 3.
func (w *world) reached(m *machine) error {
	p := m.current()
	if p == nil || p.isDead() || w.model.devices[m.number].blocked {
		return nil
	}
	for id, o := range w.model.orders {
		now := time.Now()
		if !o.targets[m.number] || len(o.ends) > 0 || !now.Before(o.task.DeliverBy) || w.truth.settled(key{id, m.number}, o.again()) {
			continue
		}
		due, rule := w.reachable(m, p, o)
		p.mu.Lock()
		took, ok := p.took[id]
		p.mu.Unlock()
		switch {
		case !ok && !due.IsZero() && now.After(due):
			return fmt.Errorf("%s did not reach %s (device %d), %s", o, m.name, m.number, rule)
		case ok && w.startable(m, o, took) && !w.truth.wasStarted(key{id, m.number}):
			return fmt.Errorf("%s reached %s (device %d) %s ago and was not started", o, m.name, m.number, now.Sub(took))
		}
	}
	return nil
}

// reachable returns by when an operation must have reached a machine, or zero, and
// why.
func (w *world) reachable(m *machine, p *process, o *order) (by time.Time, rule string) {
	p.mu.Lock()
	connected, since := p.connected, p.since
	p.mu.Unlock()
	released := latest(o.at, o.task.NotBefore)
	parts := []*health{&w.site.health, &m.health}
	for _, s := range w.servers {
		// A session of a listener that is gone may take its agent a while to find out.
		if s.name != connected || !s.runsSince(since) {
			continue
		}
		if at, ok := well(append(parts, &s.health)...); ok {
			return latest(at, since, released).Add(soon), "which was signed in at " + s.name + " all the while"
		}
	}
	for _, s := range w.servers {
		parts = append(parts, &s.health)
	}
	if at, ok := well(parts...); ok {
		return latest(at, p.at, released).Add(eventually), "and nothing was in the way"
	}
	return time.Time{}, ""
}

// startable tells whether a task that came must have been started by now.
func (w *world) startable(m *machine, o *order, took time.Time) bool {
	parts := []*health{&w.site.health, &m.health}
	for _, s := range w.servers {
		parts = append(parts, &s.health)
	}
	at, ok := well(parts...)
	return ok && time.Since(latest(at, took, o.task.NotBefore)) > startTime
}

func latest(all ...time.Time) (t time.Time) {
	for _, one := range all {
		if one.After(t) {
			t = one
		}
	}
	return t
}
