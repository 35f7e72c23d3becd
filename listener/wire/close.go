package wire

import (
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// Close is the listener's last message on a connection.
type Close struct {
	Code       CloseCode
	RetryAfter time.Duration // not before, 0 to leave it to the agent
	Reason     string        // for people
}

// Type returns TypeClose.
func (*Close) Type() Type { return TypeClose }

func (m *Close) encode(w *bounded.Writer) {
	w.Array(4)
	w.Uint(1)
	w.Uint(uint64(m.Code))
	writeDuration(w, m.RetryAfter)
	w.String(m.Reason, MaxText)
}

func (m *Close) decode(r *bounded.Reader) {
	r.Version(1)
	m.Code = CloseCode(r.Uint(1<<16 - 1))
	m.RetryAfter = readDuration(r)
	m.Reason = r.String(MaxText)
	r.End()
}

// A CloseCode says why a listener ends a connection, and by its range what the
// agent does about it.
type CloseCode uint16

// The codes. From 1000 on: connect again. From 2000 on: try another carrier or
// listener. From 3000 on: do not come back without an administrator's help.
const (
	GoingAway   CloseCode = 1000 // the listener stops
	Overloaded  CloseCode = 1001 // too many at once
	Displaced   CloseCode = 1002 // the same device signed in again
	Idle        CloseCode = 1003 // nothing was heard for too long
	Protocol    CloseCode = 1004 // the agent broke the protocol
	TooSlow     CloseCode = 1005 // the agent does not read
	Redirect    CloseCode = 2000 // another listener serves this device
	BadVersion  CloseCode = 3000 // no version that both speak
	Blocked     CloseCode = 3001 // the device is blocked
	NotAdmitted CloseCode = 3002 // the site does not know the device
)

// Stop tells whether the agent must not come back by itself; it still tries once
// an hour, for an administrator may have changed their mind.
func (c CloseCode) Stop() bool { return c >= 3000 }

func (c CloseCode) String() string {
	if n, ok := codeNames[c]; ok {
		return n
	}
	return fmt.Sprintf("code %d", uint16(c))
}

var codeNames = map[CloseCode]string{GoingAway: "going-away", Overloaded: "overloaded", Displaced: "displaced", Idle: "idle",
	Protocol: "protocol-error", TooSlow: "too-slow", Redirect: "redirect", BadVersion: "version-not-supported",
	Blocked: "blocked", NotAdmitted: "not-admitted"}
