package console

import (
	"fmt"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
)

// From which difference on between the time of observing and that of accepting an
// event is told.
const (
	lateAfter = 10 * time.Second
	early     = -2 * time.Second // by clocks that differ
)

// who is an actor in words.
func who(e *event.Event) string {
	a := e.Actor
	words := strings.TrimPrefix(a.Issuer+" "+a.Subject, " ")
	switch {
	case a == (event.Actor{}):
		return "unknown"
	case a.Issuer == "local" && e.Kind() == event.KindListenerGranted:
		words = "listener " + a.Subject + " of the site"
	case a.Issuer == "local":
		words = "administrator " + a.Subject
	case a.Issuer == "site":
		words = "the site (" + a.Subject + ")"
	case a.Issuer == "token":
		words = "whoever showed token " + a.Subject
	case a.Issuer == "certificate":
		words = "device " + a.Subject
	}
	if a.Behalf != "" {
		words += " on behalf of " + a.Behalf
	}
	return words
}

// where is from where an event came, in words.
func where(e *event.Event) string {
	var parts []string
	if a := e.Actor.Address; a != "" {
		parts = append(parts, "address "+a)
	}
	if s := e.Actor.Session; s != "" {
		parts = append(parts, "session "+s)
	}
	if s := e.Source; s != nil {
		file := fmt.Sprintf("file %s-%08d-%020d.%s of listener %s", s.Listener, s.Epoch, s.Number, s.File, s.Listener)
		if s.Of > 1 {
			file += fmt.Sprintf(", part %d of %d", s.Part, s.Of)
		}
		parts = append(parts, file)
	}
	return strings.Join(parts, "; ")
}

// why is the reason that a payload gives, as it is shown.
func why(payload any) string {
	fields, _ := payload.(map[string]any)
	reason, _ := fields["reason"].(string)
	return reason
}

// delay is how much later than observed an event was accepted, in seconds, if that
// is worth telling.
func delay(e *event.Event) float64 {
	d := e.Accepted.Sub(e.Observed)
	if e.Observed.IsZero() || d <= lateAfter && d >= early {
		return 0
	}
	return d.Round(time.Millisecond).Seconds()
}
