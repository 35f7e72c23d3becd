package projectors

import (
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
)

// A NoticeKind says what became of a view.
type NoticeKind uint8

// The kinds of notices.
const (
	Stopped  NoticeKind = iota + 1 // it takes no more events
	Lagging                        // it is more than [MaxLag] behind
	Resumed                        // it had stopped or lagged and does not any more
	Bad                            // its store is missing, damaged, or of another schema or history: it is rebuilt
	Rebuilt                        // that was done
	Unhealed                       // that failed; it is tried again in an hour
)

// String returns the name for logs and metrics.
func (k NoticeKind) String() string {
	names := [...]string{"", "stopped", "lagging", "resumed", "bad", "rebuilt", "unhealed"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("notice %d", uint8(k))
}

// A Notice says that a view did something which an operator should know.
type Notice struct {
	Kind  NoticeKind
	View  string
	Event uint64     // that stopped it, or the last one that it holds
	Of    event.Kind // of the event that stopped it, or empty
	Lag   time.Duration
	Err   error // why, or nil
}

// Text is the notice as a sentence.
func (n *Notice) Text() string {
	switch n.Kind {
	case Stopped:
		return fmt.Sprintf("view %s has stopped at event %d: %v", n.View, n.Event, n.Err)
	case Lagging:
		return fmt.Sprintf("view %s is at event %d and %s behind", n.View, n.Event, n.Lag.Round(time.Second))
	case Resumed:
		return fmt.Sprintf("view %s goes on at event %d", n.View, n.Event)
	case Bad:
		return fmt.Sprintf("what view %s holds is of no use, and it is rebuilt: %v", n.View, n.Err)
	case Rebuilt:
		return fmt.Sprintf("view %s was rebuilt by itself, up to event %d, because: %v", n.View, n.Event, n.Err)
	case Unhealed:
		return fmt.Sprintf("view %s could not be rebuilt: %v", n.View, n.Err)
	}
	return fmt.Sprintf("view %s: %s", n.View, n.Kind)
}

// MaxLag is how far a view may be behind before that is noticed.
const MaxLag = 30 * time.Second
