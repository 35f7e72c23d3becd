package agent

import (
	"context"
	"math/rand/v2"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// Bounds of an inventory, so that it is one frame.
const (
	maxFactBytes = 48 << 10
	maxFactValue = 4 << 10
)

// host is the agent as its actions see it.
type host struct{ a *Agent }

// Folders in the agent's own that actions use.
const (
	protectionFolder = "protection" // what holds of threats, and what is quarantined
	logFolder        = "logs"       // of this program, if it keeps any
)

// kindOf returns a kind of task that this machine has.
func (a *Agent) kindOf(name string) (d action.Description, known bool) {
	if d, known = a.actions[name]; known {
		return d, true
	}
	return action.Find(a.cfg.Kinds, name)
}

func (h host) FetchPolicy(ctx context.Context) (string, error) { return h.a.fetchPolicy(ctx) }

func (h host) Scan() action.ScanPolicy {
	s := h.a.policy.settings()
	return action.ScanPolicy{Folders: s.ScanFolders, Indicators: s.digests}
}

// SendFacts returns once the site has the facts on disk. If the connection ends
// meanwhile they are sent again on the next one.
func (h host) SendFacts(ctx context.Context, facts []action.Fact) error {
	m := inventory(facts)
	m.At = h.a.clock.stamp()
	for {
		s, err := h.a.session(ctx)
		if err != nil {
			return err
		}
		stored := s.expect(m.ID)
		defer s.forget(m.ID)
		if s.send(m) != nil {
			continue // the session has ended
		}
		select {
		case <-stored:
			return nil
		case <-s.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// inventory puts as many facts into one message as it holds.
func inventory(facts []action.Fact) *wire.Inventory {
	m := &wire.Inventory{ID: rand.Uint64()}
	size := 0
	for _, f := range facts {
		f.Name, f.Value = cut(f.Name, wire.MaxText), cut(f.Value, maxFactValue)
		size += len(f.Name) + len(f.Value) + 8
		if size > maxFactBytes || len(m.Facts) == wire.MaxFacts {
			break
		}
		m.Facts = append(m.Facts, wire.Fact{Name: f.Name, Value: f.Value})
	}
	return m
}

// expect returns a channel that is closed when the inventory with this id is
// acknowledged.
func (s *session) expect(id uint64) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan struct{})
	s.inventory[id] = c
	return c
}

func (s *session) forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inventory, id)
}

func (s *session) inventoryAck(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.inventory[id]; c != nil {
		close(c)
		delete(s.inventory, id)
	}
}
