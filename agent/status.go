package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Status is where an agent stands, as it keeps it in status.json for people. It
// is written when something changes and may be lost in a power cut.
type Status struct {
	Site             string    `json:"site"`
	Device           uint32    `json:"device"`
	ID               task.ID   `json:"id"`
	Version          string    `json:"version"`
	PID              int       `json:"pid"` // 0 if the agent was stopped in good order
	Connected        bool      `json:"connected"`
	Listener         string    `json:"listener,omitempty"`
	Address          string    `json:"address,omitempty"`
	Carrier          string    `json:"carrier,omitempty"` // "tcp", "websocket" or "long-poll"
	Why              string    `json:"why,omitempty"`     // why it is no better one
	CarrierSince     time.Time `json:"carrierSince,omitzero"`
	Since            time.Time `json:"since"` // connected or not connected since
	NextTry          time.Time `json:"nextTry,omitzero"`
	KeepAliveSeconds float64   `json:"keepAliveSeconds"`
	Policy           string    `json:"policy"`      // ETag of the policy in force
	Keyring          uint32    `json:"keyring"`     // the newest [task.Keyring] that is trusted
	Certificate      time.Time `json:"certificate"` // when the newest certificate expires
	LastError        string    `json:"lastError,omitempty"`

	Windows  []string    `json:"windows,omitempty"`      // names of the maintenance windows that policy sets
	Schedule window.List `json:"schedule,omitempty"`     // those windows
	Users    []string    `json:"users,omitempty"`        // people whose policy is kept here
	Deferred []Deferral  `json:"deferred,omitempty"`     // tasks that wait for a maintenance window, the next first
	More     int         `json:"deferredMore,omitempty"` // that wait too, and are not listed
}

const (
	maxStatus    = 1 << 20 // bytes of status.json
	maxDeferrals = 64      // listed
)

// A Deferral is a task that waits for a maintenance window.
type Deferral struct {
	Operation task.ID   `json:"operation"`
	Kind      string    `json:"kind"`
	Until     time.Time `json:"until,omitzero"` // when a window opens that is long enough; none: never
	Why       string    `json:"why"`
}

// Opening says for people when a maintenance window is open next, in a time zone;
// it is empty if policy sets none.
func (s *Status) Opening(now time.Time, loc *time.Location) string {
	if len(s.Windows) == 0 || len(s.Schedule) == 0 {
		return ""
	}
	const layout = "Mon 2006-01-02 15:04 MST"
	next, ok := s.Schedule.Next(now, loc)
	switch {
	case !ok:
		return "none opens ever again"
	case !next.Open.After(now):
		return "open until " + next.Close.In(loc).Format(layout)
	}
	return fmt.Sprintf("the next opens %s for %d min", next.Open.In(loc).Format(layout), next.Length()/time.Minute)
}

func (s *Status) online(w way, f *footing, listener string, now time.Time, keepAlive time.Duration) {
	s.Connected, s.Listener, s.Address, s.Carrier = true, listener, w.address, w.carrier
	s.Why, s.CarrierSince = f.Why, f.Since.UTC()
	s.Since, s.NextTry, s.KeepAliveSeconds = now.UTC(), time.Time{}, keepAlive.Seconds()
}

func (s *Status) offline(why error, now time.Time, wait time.Duration) {
	if s.Connected || s.Since.IsZero() {
		s.Since = now.UTC()
	}
	s.Connected, s.Carrier, s.NextTry = false, "", now.Add(wait).UTC()
	if why != nil {
		s.LastError = why.Error()
	}
}

func (s Status) stopped() Status {
	if s.Connected {
		s.Since = time.Now().UTC()
	}
	s.PID, s.Connected, s.Carrier, s.NextTry = 0, false, "", time.Time{}
	return s
}

// ReadStatus reads the status that the agent in dir wrote last. The error wraps
// [ErrNotJoined] if nobody joined there.
func ReadStatus(dir string) (Status, error) {
	var s Status
	path := filepath.Join(dir, statusFile)
	b, err := readBounded(path, maxStatus)
	if err != nil {
		return s, err
	}
	if b != nil {
		if err := json.Unmarshal(b, &s); err != nil {
			return s, fmt.Errorf("read %s: %w", path, err)
		}
		return s, nil
	}
	c, err := loadCredentials(dir)
	if err != nil {
		return s, err
	}
	return Status{Site: c.Site, Device: c.Device, ID: c.ID}, nil
}

// Running tells whether an agent holds dir now.
func Running(dir string) (bool, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for an agent: %w", err)
	}
	defer f.Close()
	if err = lockFile(f); errors.Is(err, ErrInUse) {
		return true, nil
	}
	return false, err
}

// statusFileWriter keeps status.json up to date.
type statusFileWriter struct {
	path string

	mu  sync.Mutex
	now Status
}

// update changes the status and writes it. That it cannot be written stops
// nothing.
func (w *statusFileWriter) update(change func(*Status)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.now)
	if b, err := json.MarshalIndent(&w.now, "", "  "); err == nil {
		replace(w.path, append(b, '\n'), false)
	}
}
