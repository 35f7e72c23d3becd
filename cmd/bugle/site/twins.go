package site

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/device"
)

// msgTwin is the status message of the component "authority" about a device that joined
// as a new record, though one of its name was imported.
const msgTwin = 1202

// How many of these messages there are; the others are in the log only.
const (
	twinMost  = 100
	twinEvery = time.Hour
)

// twins counts the messages of the hour that is under way.
type twins struct {
	mu    sync.Mutex
	since time.Time
	said  int
}

// another counts one more, and tells whether it may be said.
func (t *twins) another(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.since) >= twinEvery {
		t.since, t.said = now, 0
	}
	t.said++
	return t.said <= twinMost
}

// newcomer looks whether a device that joined as a new record may be one that was
// imported. It asks the view, and misses what that does not know yet.
func (s *Site) newcomer(p *event.DeviceJoined) {
	found, err := s.readers.device.Find(p.Name)
	if err != nil {
		s.cfg.Log.Error("look for imported records with the name of a device that joined", "device", p.Device, "name", p.Name, "error", err)
		return
	}
	text := twinText(p, found)
	if text == "" {
		return
	}
	if !s.twins.another(time.Now()) {
		s.cfg.Log.Warn("a status message is in the log only", "message", msgTwin, "text", text)
		return
	}
	s.notices.take(&event.SiteMessage{Component: "authority", Message: msgTwin, Severity: event.Warning, Device: p.Device, Text: text})
}

// twinText is the message about a device that joined, given the records that its name
// finds; it is empty if none of them was imported under that name and has no agent.
func twinText(p *event.DeviceJoined, found []device.Device) string {
	var same []string
	for i := range found {
		if d := &found[i]; d.Number != p.Device && !d.HasJoined() && strings.EqualFold(d.Name, p.Name) {
			same = append(same, strconv.FormatUint(uint64(d.Number), 10))
		}
	}
	if len(same) == 0 {
		return ""
	}
	return fmt.Sprintf("device %d joined as %s, a new record; imported under that name, without an agent: %s", p.Device, p.Name, strings.Join(same, ", "))
}
