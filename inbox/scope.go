package inbox

import (
	"fmt"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal/event"
)

// within tells whether the listener of the file may speak for a device. If not,
// the record is put aside; the others stand for themselves.
func (t *translation) within(device uint32, index int, raw interface{ Bytes() []byte }) bool {
	if t.scope == nil || t.scope(device) {
		return true
	}
	t.outside++
	if len(t.bad) == box.MaxBad {
		t.more++ // counted only: what is at fault is the listener, not the file
		return false
	}
	bad := box.BadRecord{Index: index, Reason: fmt.Sprintf("device %d is not in the scope of listener %s", device, t.file.Name.Listener)}
	if raw != nil {
		bad.Raw = raw.Bytes()
	}
	t.bad = append(t.bad, bad)
	return false
}

// warn adds one message about all records that were not the listener's to say.
func (t *translation) warn() {
	if t.outside == 0 {
		return
	}
	text := fmt.Sprintf("%s: %d records are about devices that are not in the scope of listener %s; they were put aside",
		t.file.Name, t.outside, t.file.Name.Listener)
	t.add(t.file.To, len(text), &event.StatusMessage{Component: component, Message: MessageScope, Severity: event.Error, Text: text})
	t.events[len(t.events)-1].Actor = self
}
