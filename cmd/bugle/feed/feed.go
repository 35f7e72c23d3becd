// Package feed says what a site's history means to listeners: the one mapping
// from events, and from the views' state at one event, to [listener.Update]. The
// site's own listener reads it in the same process, the others as it is published.
//
// A [Mapper] is for one listener's feed, or for one publication, and for one
// goroutine. [Mapper.State] is the beginning; [Mapper.Updates] goes on with the
// events that follow it, in order.
package feed

import (
	"fmt"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

// A Mapper maps what happened to what listeners are told. It remembers when each
// operation that it has told of is over, for the cancel of it is good until then.
type Mapper struct{ until map[task.ID]time.Time }

// NewMapper returns a mapper that has told nothing.
func NewMapper() *Mapper { return &Mapper{until: make(map[task.ID]time.Time)} }

// State is what a listener is told first of the operations: those that are open,
// each with its waves, and the cancels of those that are not. It must be read at
// one event; Updates goes on behind it.
func (m *Mapper) State(open []operation.Open, cancels []operation.Cancel) (all []listener.Update, err error) {
	for i := range open {
		o := &open[i]
		u, err := m.open(listener.OpenOperation{Signed: o.Signed, Priority: o.Priority, Durable: o.Durable, Held: o.Held}, o.DeliverBy, o.Targets, o.Final)
		if err != nil {
			return nil, fmt.Errorf("tell of operation %s: %w", o.ID, err)
		}
		all = append(all, u)
		for _, w := range o.Waves {
			u, err := wave(o.ID, w.Number, w.Devices, w.At, w.Spread)
			if err != nil {
				return nil, fmt.Errorf("tell of operation %s: %w", o.ID, err)
			}
			all = append(all, u)
		}
	}
	for _, c := range cancels {
		m.until[c.ID] = c.Until
		all = append(all, listener.EndOperation{ID: c.ID, Cancel: c.Signed, Until: c.Until})
	}
	return all, nil
}

// Wants tells whether events of a kind say anything to listeners.
func Wants(k event.Kind) bool {
	switch k {
	case event.KindOperationRequest, event.KindOperationReleased, event.KindOperationCancel, event.KindOperationStopped,
		event.KindOperationExpired, event.KindOperationClosed, event.KindDeviceBlocked, event.KindDeviceUnblocked,
		event.KindDeviceRemoved, event.KindKeysChanged:
		return true
	}
	return false
}

// Updates is what an event says to listeners, nothing if nothing.
func (m *Mapper) Updates(e *event.Event) ([]listener.Update, error) {
	u, err := m.update(e)
	if err != nil {
		return nil, fmt.Errorf("event %d: %w", e.Number, err)
	}
	if u == nil {
		return nil, nil
	}
	return []listener.Update{u}, nil
}

func (m *Mapper) update(e *event.Event) (listener.Update, error) {
	switch p := e.Payload.(type) {
	case *event.OperationRequested:
		m.forget(e.Accepted)
		return m.requested(p)
	case *event.OperationReleased:
		devices, err := set(p.Devices)
		if err != nil {
			return nil, err
		}
		return wave(p.Operation, p.Wave, devices, e.Accepted, p.Spread)
	case *event.OperationCancelled:
		return m.end(p.Operation, p.Cancel), nil
	case *event.OperationStopped:
		return m.end(p.Operation, p.Cancel), nil
	case *event.OperationExpired:
		return m.over(p.Operation), nil
	case *event.OperationClosed:
		return m.over(p.Operation), nil
	case *event.DeviceBlocked:
		return listener.BlockDevice{Device: p.Device}, nil
	case *event.DeviceRemoved:
		return listener.BlockDevice{Device: p.Device}, nil
	case *event.DeviceUnblocked:
		return listener.UnblockDevice{Device: p.Device}, nil
	case *event.KeysChanged:
		return listener.ChangeKeys{Ring: p.Ring}, nil
	}
	return nil, nil
}

func (m *Mapper) requested(p *event.OperationRequested) (listener.Update, error) {
	t, err := p.Task.Task()
	if err != nil {
		return nil, err
	}
	targets, err := set(p.Targets)
	if err != nil {
		return nil, err
	}
	u := listener.OpenOperation{Signed: p.Task, Priority: p.Priority, Durable: p.Durable, Held: !p.Pacing.IsZero()}
	return m.open(u, t.DeliverBy, targets, nil)
}

func (m *Mapper) open(u listener.OpenOperation, deliverBy time.Time, targets, final *roaring.Bitmap) (listener.Update, error) {
	t, err := u.Signed.Task()
	if err != nil {
		return nil, err
	}
	m.until[t.Operation] = deliverBy
	if u.Targets, err = task.NewTargets(roaring.Values(targets)); err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	if final != nil && !final.IsEmpty() {
		if u.Done, err = task.NewTargets(roaring.Values(final)); err != nil {
			return nil, fmt.Errorf("read answers: %w", err)
		}
	}
	return u, nil
}

func wave(id task.ID, number uint32, devices *roaring.Bitmap, at time.Time, spread time.Duration) (listener.Update, error) {
	t, err := task.NewTargets(roaring.Values(devices))
	if err != nil {
		return nil, fmt.Errorf("read wave %d: %w", number, err)
	}
	return listener.ReleaseWave{ID: id, Wave: number, Devices: t, At: at, Spread: spread}, nil
}

// end is the word for who has not begun. Of an operation that is over already
// there is nobody to tell.
func (m *Mapper) end(id task.ID, cancel []byte) listener.Update {
	until, ok := m.until[id]
	if !ok || len(cancel) == 0 {
		return listener.EndOperation{ID: id}
	}
	return listener.EndOperation{ID: id, Cancel: cancel, Until: until}
}

func (m *Mapper) over(id task.ID) listener.Update {
	delete(m.until, id)
	return listener.EndOperation{ID: id}
}

// forget drops operations whose deliver-by is over: of one whose targets all
// reported nobody says that it has ended.
func (m *Mapper) forget(now time.Time) {
	for id, until := range m.until {
		if until.Before(now) {
			delete(m.until, id)
		}
	}
}

func set(raw []byte) (*roaring.Bitmap, error) {
	b := roaring.New()
	if err := b.UnmarshalBinary(raw); err != nil {
		return nil, fmt.Errorf("read set of devices: %w", err)
	}
	return b, b.Validate()
}
