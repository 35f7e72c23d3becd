package simulator

import (
	"fmt"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// longest is how long it may take until everything that is scheduled is over.
const longest = 6 * time.Hour

// settle lets every fault end and every deadline pass, and then compares the end
// of everything with what happened: nothing may be left open.
func (w *world) settle() {
	w.heal()
	for until := time.Now().Add(longest); !w.isWell(); {
		if w.failure() != nil || time.Now().After(until) {
			w.violated(0, "not everything is well %s after the last fault", longest)
			return
		}
		w.pass(time.Minute)
		w.check()
	}
	w.pass(eventually + time.Minute)
	w.check()
	for _, o := range w.requested() {
		w.finish(o)
	}
	w.ended()
}

// heal takes back what would strike later.
func (w *world) heal() {
	for _, m := range w.all {
		m.mu.Lock()
		clear(m.armed)
		m.mu.Unlock()
		for _, l := range w.net.of(m.name) {
			l.spare()
		}
	}
	for _, s := range w.servers {
		s.mu.Lock()
		clear(s.armed)
		s.lag, s.damage = 0, 0
		s.mu.Unlock()
	}
}

func (w *world) isWell() bool {
	parts := []*health{&w.site.health}
	for _, m := range w.all {
		parts = append(parts, &m.health)
	}
	for _, s := range w.servers {
		parts = append(parts, &s.health)
	}
	_, ok := well(parts...)
	_, open := w.admin.acknowledged()
	return ok && open == 0
}

// finish lets time pass until every target of an operation is at its end. For the
// evil agent, which never is by itself, nobody waits long.
func (w *world) finish(o *order) {
	wait := time.Until(o.closing())
	if wait > 5*time.Minute && !o.over() && o.over(w.evil.machine.number) {
		w.admin.cancel(o.task.Operation)
		wait = patience
	}
	if !o.over() {
		w.pass(max(0, wait))
		w.check()
	}
}

// over tells whether every target but some is at its end.
func (o *order) over(but ...uint32) bool {
	for d, s := range o.states {
		if !s.Final() && !slices.Contains(but, d) {
			return false
		}
	}
	return true
}

// closing is when the site says that an operation is over, at the latest.
func (o *order) closing() time.Time {
	return o.task.DeliverBy.Add(o.task.RunTimeout + 11*time.Minute)
}

// ended compares the end with the truth.
func (w *world) ended() {
	if w.failure() != nil {
		return
	}
	for _, n := range w.truth.names(time.Now().Add(-fileTime)) {
		if t := w.model.files[n]; t == nil || !t.whole() {
			w.violated(1, "%s was dropped and is not in the history", n)
			return
		}
	}
	for _, o := range w.requested() {
		if err := w.outcomes(o); err != nil {
			w.violated(3, "%v", err)
			return
		}
	}
	if err := w.present(); err != nil {
		w.violated(2, "%v", err)
	}
	if err := w.inventories(); err != nil {
		w.violated(2, "%v", err)
	}
	w.keep()
	w.tamper()
	w.rebuild()
	w.hit("settled")
}

// outcomes compares what the views say of an operation with what the machines did.
func (w *world) outcomes(o *order) error {
	devices := make([]uint32, 0, len(o.targets))
	for d := range o.targets {
		devices = append(devices, d)
	}
	slices.Sort(devices)
	for _, d := range devices {
		s := o.states[d]
		if !s.Final() {
			return fmt.Errorf("%s is %s on device %d when all is over", o, s, d)
		}
		final, maybe, unfinished := w.truth.outcome(key{o.task.Operation, d}, o.again())
		siteSaid := s == task.Expired || s == task.Cancelled || s == task.Lost
		switch {
		case unfinished && !maybe[s]:
			return fmt.Errorf("%s was begun on device %d, which never said how it ended", o, d)
		case final == task.NoState && !siteSaid && !maybe[s]:
			return fmt.Errorf("%s is %s on device %d, which did nothing", o, s, d)
		case final == task.Refused && s != task.Refused && s != task.Expired && s != task.Cancelled,
			final != task.NoState && final != task.Refused && s != final:
			return fmt.Errorf("%s ended as %s on device %d, the site says %s", o, final, d, s)
		}
		w.hit("end: " + s.String())
	}
	return nil
}

// outcome is how an operation ended on a device, and which states may be on its
// disk, for nobody knows what a crash left; unfinished tells that the device had
// begun it and has no end on its disk for certain.
func (t *truth) outcome(k key, again bool) (final task.State, maybe map[task.State]bool, unfinished bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.known[k]
	if m == nil {
		return task.NoState, nil, len(t.starts[k]) > 0 && !again
	}
	return m.final, m.maybe, m.final == task.NoState && m.running && !again
}

// fileTime is how long a file may take into the history when nothing is in its
// way: the site polls its box every second.
const fileTime = 5 * time.Second

// names are the files that were dropped before an instant.
func (t *truth) names(before time.Time) []box.Name {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := make([]box.Name, 0, len(t.files))
	for n, f := range t.files {
		if f.at.Before(before) {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, box.Name.Compare)
	return names
}

// present compares the presence view with the sessions that there are.
func (w *world) present() error {
	r := w.site.now()
	for _, m := range w.all {
		p := m.current()
		p.mu.Lock()
		at, since := p.connected, p.since
		p.mu.Unlock()
		row, ok, err := r.presence.Get(m.number)
		switch {
		case err != nil:
			return err
		case at == "":
			return fmt.Errorf("%s (device %d) is not signed in although nothing is in its way", m.name, m.number)
		case ok && row.Online && row.Listener == at:
		default:
			return fmt.Errorf("%s (device %d) signed in at %s at %s, the view says online %t at %s, %s since %s", m.name, m.number, at, since, row.Online, row.Listener, row.Reason, row.Since)
		}
	}
	return nil
}

// inventories compares the facts that the device view shows with the newest that
// each machine sent.
func (w *world) inventories() error {
	r := w.site.now()
	for number, all := range w.model.heard {
		d, _, err := r.devices.Get(number)
		if err != nil {
			return err
		}
		newest := slices.MaxFunc(all, func(a, b fact) int { return a.seen.Compare(b.seen) })
		for _, f := range d.Facts {
			if !slices.ContainsFunc(all, func(a fact) bool { return a.seen.Equal(newest.seen) && a.facts[f.Name] == f.Value }) {
				return fmt.Errorf("fact %s of device %d is %q in the view, it was %q at last, %s", f.Name, number, f.Value, newest.facts[f.Name], newest.seen)
			}
		}
	}
	return nil
}
