package site

import (
	"context"
	"log/slog"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
)

// Status messages of the component "views", by what happened to a view.
var viewMessages = map[projectors.NoticeKind]struct {
	number   uint32
	severity event.Severity
}{
	projectors.Stopped:  {1101, event.Error},
	projectors.Lagging:  {1102, event.Warning},
	projectors.Resumed:  {1103, event.Info},
	projectors.Bad:      {1104, event.Error},
	projectors.Rebuilt:  {1105, event.Info},
	projectors.Unhealed: {1106, event.Error},
}

// notices makes status messages of the site of what its parts notice. Those who
// notice do not wait: what does not fit is in the log only.
type notices struct {
	journal journal.Journal
	log     *slog.Logger
	waiting chan *event.SiteMessage
}

const maxNotices = 256

func newNotices(j journal.Journal, log *slog.Logger) *notices {
	return &notices{journal: j, log: log, waiting: make(chan *event.SiteMessage, maxNotices)}
}

// view takes a notice about a view.
func (n *notices) view(v projectors.Notice) {
	kind := viewMessages[v.Kind]
	n.take(&event.SiteMessage{Component: "views", Message: kind.number, Severity: kind.severity, Text: v.Text()})
}

// journalDamaged is the status message of the component "journal" about damage
// that was found while reading; package upkeep has its others.
const journalDamaged = 1005

// damage takes what was found wrong with the journal while it was read.
func (n *notices) damage(err error) {
	n.log.Error("the journal is damaged on the disk; what is before that, and new events, are well", "error", err)
	n.take(&event.SiteMessage{Component: "journal", Message: journalDamaged, Severity: event.Error, Text: err.Error()})
}

func (n *notices) take(m *event.SiteMessage) {
	select {
	case n.waiting <- m:
	default:
		n.log.Error("a status message is in the log only", "message", m.Message, "text", m.Text)
	}
}

// run appends until ctx ends, and what waits then.
func (n *notices) run(ctx context.Context) error {
	for {
		select {
		case m := <-n.waiting:
			n.append(ctx, m)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			for {
				select {
				case m := <-n.waiting:
					n.append(last, m)
				default:
					return nil
				}
			}
		}
	}
}

func (n *notices) append(ctx context.Context, m *event.SiteMessage) {
	e := &event.Event{Observed: time.Now(), Actor: event.Actor{Issuer: "site", Subject: m.Component}, Payload: m}
	if err := n.journal.Append(ctx, e); err != nil {
		n.log.Error("a status message is in the log only", "message", m.Message, "text", m.Text, "error", err)
	}
}
