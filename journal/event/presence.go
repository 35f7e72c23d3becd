package event

import (
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// A PresenceReason says why a device is on or off. The numbers are on disk.
type PresenceReason uint8

// The reasons. SignedIn is the only one of a device that is online.
const (
	SignedIn       PresenceReason = 0
	SignedOut      PresenceReason = 1 // said goodbye
	Closed         PresenceReason = 2 // the connection ended
	TimedOut       PresenceReason = 3 // silent for one and a half keep-alive intervals
	Replaced       PresenceReason = 4 // signed in again elsewhere
	ListenerStop   PresenceReason = 5 // the listener ended in good order
	ListenerIsLost PresenceReason = 6 // nothing is heard of the listener
	BlockedBySite  PresenceReason = 7
	NotInSnapshot  PresenceReason = 8 // a full report does not list it any more
	lastPresence                  = NotInSnapshot
)

var presenceReasons = [...]string{"signed-in", "signed-out", "closed", "timed-out", "replaced",
	"listener-stopped", "listener-lost", "blocked", "not-in-snapshot"}

// String returns the name that people and the API use.
func (r PresenceReason) String() string {
	if r > lastPresence {
		return "unknown"
	}
	return presenceReasons[r]
}

// A Carrier is how an agent is connected. The numbers are on disk.
type Carrier uint8

// The carriers.
const (
	TCP        Carrier = 1
	WebSocket  Carrier = 2
	LongPoll   Carrier = 3
	maxCarrier         = 7 // three bits on disk
)

// String returns the name that people and the API use.
func (c Carrier) String() string {
	switch c {
	case TCP:
		return "tcp"
	case WebSocket:
		return "websocket"
	case LongPoll:
		return "long-poll"
	}
	return "unknown"
}

// A PresenceEntry is what a listener says of one device.
type PresenceEntry struct {
	Device  uint32
	Online  bool
	Reason  PresenceReason
	Carrier Carrier
	Since   time.Time // of this state; kept in milliseconds
}

// MaxEntries is the largest number of presence entries or result rows in one
// event.
const MaxEntries = 8192

// PresenceSnapshot is a part of a full report: the devices that are online at
// the listener named in the event's [Source]. Once the last part is applied, a
// device that no part lists is not online there; a snapshot that lacks a part
// says nothing of absent devices.
type PresenceSnapshot struct {
	Total   uint32 // devices in all parts together
	Entries []PresenceEntry
}

// Kind returns presence.snapshot.
func (*PresenceSnapshot) Kind() Kind { return KindPresenceSnapshot }

func (p *PresenceSnapshot) encode(w *bounded.Writer) {
	w.Array(3)
	w.Uint(1)
	w.Uint(uint64(p.Total))
	encodeEntries(w, p.Entries)
}

func (p *PresenceSnapshot) decode(r *bounded.Reader) {
	r.Version(1)
	p.Total = r.Uint32()
	p.Entries = decodeEntries(r)
	r.End()
}

// PresenceDelta lists devices that changed at the listener named in the event's
// [Source].
type PresenceDelta struct{ Entries []PresenceEntry }

// Kind returns presence.delta.
func (*PresenceDelta) Kind() Kind { return KindPresenceDelta }

func (p *PresenceDelta) encode(w *bounded.Writer) {
	w.Array(2)
	w.Uint(1)
	encodeEntries(w, p.Entries)
}

func (p *PresenceDelta) decode(r *bounded.Reader) {
	r.Version(1)
	p.Entries = decodeEntries(r)
	r.End()
}

// Entries are one flat array of three numbers each: the device, less the one
// before; carrier, reason and online packed; milliseconds since the entry
// before. A device costs some seven bytes so.
func encodeEntries(w *bounded.Writer, entries []PresenceEntry) {
	w.List(3*len(entries), 3*MaxEntries)
	var device, since int64
	for i := range entries {
		e := &entries[i]
		if e.Device == 0 || e.Reason > lastPresence || e.Carrier > maxCarrier {
			w.Fail("presence entry of device %d with reason %d and carrier %d", e.Device, e.Reason, e.Carrier)
		}
		w.Int(int64(e.Device) - device)
		w.Uint(e.flags())
		ms := e.Since.UnixMilli()
		w.Int(ms - since)
		device, since = int64(e.Device), ms
	}
}

func (e *PresenceEntry) flags() uint64 {
	f := uint64(e.Carrier)<<5 | uint64(e.Reason)<<1
	if e.Online {
		f |= 1
	}
	return f
}

func decodeEntries(r *bounded.Reader) []PresenceEntry {
	n := r.Array(3 * MaxEntries)
	if n%3 != 0 {
		r.Fail("presence entries of %d numbers", n)
	}
	entries := make([]PresenceEntry, 0, n/3)
	var device, since int64
	for r.More() {
		device += r.Int64()
		f := r.Uint(1<<8 - 1)
		since += r.Int64()
		e := PresenceEntry{Device: uint32(device), Online: f&1 == 1, Reason: PresenceReason(f >> 1 & 0xf), Carrier: Carrier(f >> 5), Since: time.UnixMilli(since).UTC()}
		if device <= 0 || device > 1<<32-1 || e.Reason > lastPresence {
			r.Fail("presence entry of device %d with reason %d", device, e.Reason)
			break
		}
		entries = append(entries, e)
	}
	r.End()
	return entries
}
