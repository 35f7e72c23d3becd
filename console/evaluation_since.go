package console

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection"
)

// Bounds of the search for the event that brought a device in or out: how many
// events before those that the view names, and how many bytes of them.
const (
	maxSinceEvents = 50_000
	maxSinceBytes  = 256 << 20
)

// MemberSince is since when a device is a member of a collection, or is none.
type MemberSince struct {
	Event   uint64     `json:"event" doc:"that brought it in or out; if earlier, an event before which that happened"`
	At      *time.Time `json:"at,omitempty" doc:"when that event was accepted"`
	Earlier bool       `json:"earlier,omitempty" doc:"it was so before that event, too far back to look for"`
	Cause   string     `json:"cause,omitempty" enum:"schedule,request,definition,devices,time,start,cascade" doc:"why that evaluation ran; absent if the device never was a member"`
	By      uint64     `json:"by,omitempty" doc:"the event that caused that evaluation"`
	Never   bool       `json:"never,omitempty" doc:"it never was a member; event is the one that made the collection"`
}

// since tells since when a device is a member of a collection, or is none; nil if
// it never was a member of the root. It reads the events that changed the
// collection, the newest first, and then those of before.
func (c *Console) since(ctx context.Context, info *collection.Info, deltas collection.Deltas, device uint32) (*MemberSince, error) {
	for _, number := range deltas.Events {
		e, err := c.event(ctx, number)
		if err != nil {
			return nil, err
		}
		if moved(e, info.ID, device) {
			return sinceEvent(e), nil
		}
	}
	if deltas.Whole {
		return never(info), nil
	}
	oldest := deltas.Events[len(deltas.Events)-1]
	first := max(info.Created.Event, 1)
	if oldest > maxSinceEvents {
		first = max(first, oldest-maxSinceEvents)
	}
	found, whole, err := c.lastMove(ctx, first, oldest, info.ID, device)
	switch {
	case found != nil || err != nil:
		return found, err
	case whole && first <= max(info.Created.Event, 1):
		return never(info), nil
	}
	return &MemberSince{Event: first, Earlier: true}, nil
}

// never says that a device never was a member; nil of the root, which nobody made.
func never(info *collection.Info) *MemberSince {
	if info.Created.Event == 0 {
		return nil
	}
	at := info.Created.At
	return &MemberSince{Event: info.Created.Event, At: &at, Never: true}
}

func sinceEvent(e *event.Event) *MemberSince {
	p, at := e.Payload.(*event.CollectionsEvaluated), e.Accepted
	return &MemberSince{Event: e.Number, At: &at, Cause: p.Cause.String(), By: p.By}
}

// moved tells whether an event brought a device into a collection or out of it.
func moved(e *event.Event, id string, device uint32) bool {
	p, ok := e.Payload.(*event.CollectionsEvaluated)
	if !ok {
		return false
	}
	for i := range p.Results {
		if p.Results[i].ID != id {
			continue
		}
		for _, raw := range [][]byte{p.Results[i].Added, p.Results[i].Removed} {
			if set, err := event.ParseSet(raw); err == nil && set.Contains(device) {
				return true
			}
		}
	}
	return false
}

// lastMove looks for the last event from first on and before end that moved a
// device, nil if there is none; whole is false if it would have to read too much.
func (c *Console) lastMove(ctx context.Context, first, end uint64, id string, device uint32) (last *MemberSince, whole bool, err error) {
	r, err := c.cfg.Journal.Read(ctx, first)
	if err != nil {
		return nil, false, err
	}
	defer r.Close()
	for read := 0; ; {
		p, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return last, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		for i := range p.Records {
			rec := &p.Records[i]
			if rec.Number >= end {
				return last, true, nil
			}
			if rec.Number < first || rec.Kind() != event.KindCollectionsEvaluated {
				continue
			}
			if read += len(rec.Body); read > maxSinceBytes {
				return nil, false, nil
			}
			if found, err := movedBy(rec, id, device); err != nil {
				return nil, false, err
			} else if found != nil {
				last = found
			}
		}
	}
}

func movedBy(rec *journal.Record, id string, device uint32) (*MemberSince, error) {
	e, err := rec.Event()
	if err != nil || !moved(e, id, device) {
		return nil, err
	}
	return sinceEvent(e), nil
}
