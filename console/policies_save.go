package console

import (
	"fmt"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// What the policies save is an array, version 1: the body, the event that set it,
// 0 if none did, and the numbers of the events that set a policy, each less the one before.
const (
	savesPolicies       = "policies/1"
	savePoliciesVersion = 1
)

// Saves implements [journal.SavingFold].
func (p *Policies) Saves() string { return savesPolicies }

// Save implements [journal.SavingFold].
func (p *Policies) Save() ([]byte, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	b, err := bounded.Encode(nil, func(w *bounded.Writer) {
		w.Array(4)
		w.Uint(savePoliciesVersion)
		w.Bytes(p.body, event.MaxPolicyBody)
		w.Uint(p.event)
		w.List(len(p.events), MaxPolicies)
		before := uint64(0)
		for _, n := range p.events {
			w.Uint(n - before)
			before = n
		}
	})
	if err != nil {
		return nil, fmt.Errorf("save policies: %w", err)
	}
	return b, nil
}

// Restore implements [journal.SavingFold].
func (p *Policies) Restore(saved []byte) error {
	var body []byte
	var number uint64
	var events []uint64
	err := bounded.Decode(saved, bounded.Limits{}, func(r *bounded.Reader) error {
		r.Version(savePoliciesVersion)
		body = r.Bytes(event.MaxPolicyBody)
		number = r.Uint64()
		events = restoreEvents(r)
		r.End()
		return nil
	})
	p.forget()
	if last := len(events) - 1; err == nil && (last < 0 && number != 0 || last >= 0 && events[last] != number) {
		err = fmt.Errorf("event %d is not the last one that set a policy", number)
	}
	if number == 0 {
		body = []byte(DefaultPolicy) // this bugle's, as when all events were told
	}
	if err == nil && !p.set(body, number) {
		err = fmt.Errorf("a body of %d bytes that is no policy", len(body))
	}
	if err == nil {
		p.mu.Lock()
		p.events = events
		p.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("restore policies: %w", err)
	}
	return nil
}

// forget makes the fold as it is when it is new.
func (p *Policies) forget() {
	p.mu.Lock()
	p.events = nil
	p.mu.Unlock()
	p.set([]byte(DefaultPolicy), 0)
}

// restoreEvents reads numbers that rise.
func restoreEvents(r *bounded.Reader) (events []uint64) {
	before := uint64(0)
	r.Array(MaxPolicies)
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
