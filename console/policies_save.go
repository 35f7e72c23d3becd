package console

import (
	"fmt"
	"maps"
	"slices"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// What the policies save is an array, version 2: the policy of the machines, and
// name and policy of each person in the order of the names. A policy is four
// values: the body, empty if there is none; the event that set it, 0 if none did;
// how many events did, ever; and the numbers of those that are found again, each
// less the one before.
//
// Version 1 was the policy of the machines alone, without the count. The name says
// 1 for ever, so that what an earlier bugle saved is offered.
const (
	savesPolicies       = "policies/1"
	savePoliciesVersion = 2
)

var savePoliciesLimits = bounded.Limits{Bytes: event.MaxPolicyBody + 9*MaxPolicies + MaxUserPolicies*(MaxUserSettings+event.MaxName+9*maxUserEvents+64)}

// Saves implements [journal.SavingFold].
func (p *Policies) Saves() string { return savesPolicies }

// Save implements [journal.SavingFold].
func (p *Policies) Save() ([]byte, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	b, err := bounded.Encode(nil, func(w *bounded.Writer) {
		w.Array(6)
		w.Uint(savePoliciesVersion)
		p.machine.save(w, event.MaxPolicyBody, MaxPolicies)
		w.List(5*len(p.users), 5*MaxUserPolicies)
		for _, name := range slices.Sorted(maps.Keys(p.users)) {
			w.Exact(name, event.MaxName)
			p.users[name].save(w, MaxUserSettings, maxUserEvents)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("save policies: %w", err)
	}
	return b, nil
}

func (l *policyLine) save(w *bounded.Writer, most, events int) {
	w.Bytes(l.body, most)
	w.Uint(l.event)
	w.Uint(l.version)
	w.List(len(l.events), events)
	before := uint64(0)
	for _, n := range l.events {
		w.Uint(n - before)
		before = n
	}
}

// Restore implements [journal.SavingFold].
func (p *Policies) Restore(saved []byte) error {
	var machine policyLine
	users := map[string]*policyLine{}
	err := bounded.Decode(saved, savePoliciesLimits, func(r *bounded.Reader) error {
		version := r.Version(savePoliciesVersion)
		machine = restoreLine(r, version, event.MaxPolicyBody, MaxPolicies)
		if version > 1 {
			restoreUsers(r, users)
		}
		r.End()
		return nil
	})
	p.forget()
	if machine.event == 0 {
		machine.body = []byte(DefaultPolicy) // this bugle's, as when all events were told
	}
	if err == nil && !p.set(machine.body, 0) {
		err = fmt.Errorf("a body of %d bytes that is no policy", len(machine.body))
	}
	if err != nil {
		return fmt.Errorf("restore policies: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.machine, p.users = machine, users
	return nil
}

func restoreLine(r *bounded.Reader, version uint64, most, events int) (l policyLine) {
	if l.body = r.Bytes(most); len(l.body) == 0 {
		l.body = nil
	}
	l.event = r.Uint64()
	if version > 1 {
		l.version = r.Uint64()
	}
	l.events = restoreEvents(r, events)
	n := len(l.events)
	if version == 1 {
		l.version = uint64(n)
	}
	if r.Err() == nil && (n == 0 && l.event != 0 || n > 0 && l.events[n-1] != l.event || l.version < uint64(n)) {
		r.Fail("event %d is not the last one of %d that set a policy", l.event, l.version)
	}
	return l
}

func restoreUsers(r *bounded.Reader, users map[string]*policyLine) {
	if n := r.Array(5 * MaxUserPolicies); n%5 != 0 {
		r.Fail("%d values of people's policies", n)
	}
	before := ""
	for r.More() {
		name := r.String(event.MaxName)
		l := restoreLine(r, savePoliciesVersion, MaxUserSettings, maxUserEvents)
		switch {
		case name <= before:
			r.Fail("%q behind %q", name, before)
		case l.event == 0 || l.body != nil && !isObject(l.body):
			r.Fail("the policy of %q is none", name)
		}
		before, users[name] = name, &l
	}
	r.End()
}

// forget makes the fold as it is when it is new.
func (p *Policies) forget() {
	p.mu.Lock()
	p.machine, p.users = policyLine{}, map[string]*policyLine{}
	p.mu.Unlock()
	p.set([]byte(DefaultPolicy), 0)
}

// restoreEvents reads numbers that rise.
func restoreEvents(r *bounded.Reader, most int) (events []uint64) {
	before := uint64(0)
	r.Array(most)
	for r.More() {
		step := r.Uint64()
		if step == 0 || before+step < before {
			r.Fail("event %d behind event %d", before+step, before)
		}
		before += step
		events = append(events, before)
	}
	r.End()
	return events
}
