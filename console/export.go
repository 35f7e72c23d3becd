package console

import (
	"context"

	"github.com/bugle-fleet/bugle/journal/event"
)

// ExportRequest says that a copy of events will be taken.
type ExportRequest struct {
	Format string `json:"format" enum:"jsonl,csv" doc:"what the copy will be"`
	From   string `json:"from,omitempty" maxLength:"64" doc:"the first event: its number, an instant, or a time back; default 1"`
	To     string `json:"to,omitempty" maxLength:"64" doc:"the last event, in the same words; default the last one there is"`
	Reason string `json:"reason,omitempty" maxLength:"4096"`
}

// ExportReply is which events a copy is of.
type ExportReply struct {
	From  uint64 `json:"from"`
	To    uint64 `json:"to" doc:"the last event; if it is below from there is none"`
	Event uint64 `json:"event" doc:"the event that says so"`
}

type exportInput struct {
	Key  string `header:"Idempotency-Key" doc:"1 to 64 visible ASCII characters; the same key and body get the same answer"`
	Body ExportRequest
}

// announceExport says in the journal that somebody takes a copy of events, before
// one is given away, and which they are.
func (c *Console) announceExport(ctx context.Context, in *exportInput) (*out[ExportReply], error) {
	const doing = "begin the export"
	key, err := newOnceKey(actorOf(ctx), in.Key, "export", in.Body)
	if err != nil {
		return nil, err
	}
	first, last, err := c.span(ctx, in.Body.From, in.Body.To)
	if err != nil {
		return nil, c.fail(ctx, doing, err)
	}
	p := &event.JournalExported{From: first, To: last, Format: in.Body.Format, Reason: in.Body.Reason}
	written, err := c.write(ctx, key, doing, p, func() error { return nil })
	if err != nil {
		return nil, err
	}
	number := written.Body.Event
	// A request that was sent before is answered with what it was answered then.
	e, err := c.event(ctx, number)
	if err != nil {
		return nil, c.fail(ctx, doing, err)
	}
	if said, ok := e.Payload.(*event.JournalExported); ok {
		first, last = said.From, said.To
	}
	return answerAt(ExportReply{From: first, To: last, Event: number}, number)
}
