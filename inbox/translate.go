package inbox

import (
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal/event"
)

// Bounds of the events of a file, in bytes. They are lower than the journal's,
// because sizes are estimated, never too low.
const (
	eventRoom = 200 << 10
	rawRoom   = 1 << 10
)

// A sized event is an event and an upper bound of its encoded size in bytes.
type sized struct {
	*event.Event
	size int
}

// Upper bounds of what the parts of an event take, in bytes.
const (
	envelopeSize = 320
	entrySize    = 16
	rowSize      = 72 // and the detail
	factSize     = 8  // and name and value
	statusSize   = 5 * box.MaxField
)

// A translation turns one file into events.
type translation struct {
	file    *box.File
	key     func(device uint32) ([]byte, bool)
	scope   func(device uint32) bool // nil: all devices
	events  []sized
	bad     []box.BadRecord
	more    int // records beyond those in bad that nobody said, or that are out of scope
	outside int // records out of scope
}

// translate returns the events that f becomes, at least one, each with its
// source, and how many of them are about bad records. It is deterministic but
// for what key and scope answer. An error means that f as a whole cannot be taken.
func translate(f *box.File, key func(device uint32) ([]byte, bool), scope func(device uint32) bool) ([]sized, int, error) {
	t := &translation{file: f, key: key, scope: scope, bad: f.Bad}
	var err error
	switch c := f.Contents.(type) {
	case *box.Presence:
		t.presence(c)
	case *box.Results:
		err = t.results(c)
	case *box.Status:
		t.status(c)
	case *box.Discovery:
		t.discovery(c)
	default:
		err = fmt.Errorf("contents of type %T", c)
	}
	if err != nil {
		return nil, 0, err
	}
	t.quarantined()
	t.warn()
	for i := range t.events {
		t.events[i].Source = &event.Source{Listener: f.Name.Listener, Epoch: f.Name.Epoch, File: event.FileKind(f.Name.Kind),
			Number: f.Name.Number, Part: uint16(i + 1), Of: uint16(len(t.events)), Digest: f.Digest}
	}
	return t.events, len(t.bad) + t.more, nil
}

func (t *translation) add(observed time.Time, size int, p event.Payload) {
	if observed.IsZero() {
		observed = t.file.To
	}
	e := &event.Event{Observed: observed, Payload: p,
		Actor: event.Actor{Issuer: "listener", Subject: t.file.Name.Listener}}
	t.events = append(t.events, sized{e, envelopeSize + size})
}

func (t *translation) presence(c *box.Presence) {
	entries := make([]event.PresenceEntry, 0, len(c.Entries))
	for i := range c.Entries {
		e := &c.Entries[i]
		if !t.within(e.Device, i, nil) {
			continue
		}
		entries = append(entries, event.PresenceEntry{Device: e.Device, Online: e.Online, Reason: event.PresenceReason(e.Reason),
			Carrier: event.Carrier(e.Carrier), Since: e.Since})
	}
	total := uint32(len(entries))
	for first := true; first || len(entries) > 0; first = false {
		n := min(len(entries), event.MaxEntries)
		if c.Full {
			t.add(t.file.To, n*entrySize, &event.PresenceSnapshot{Total: total, Entries: entries[:n:n]})
		} else {
			t.add(t.file.To, n*entrySize, &event.PresenceDelta{Entries: entries[:n:n]})
		}
		entries = entries[n:]
	}
}

var errBad = fmt.Errorf("more than %d of its records are bad", box.MaxBad)

// results takes the rows that their devices said, and those that only the
// listener can say.
func (t *translation) results(c *box.Results) error {
	var rows []event.ResultRow
	size := 0
	flush := func() {
		if len(rows) > 0 {
			t.add(t.file.To, size, &event.ResultsReported{Rows: rows})
			rows, size = nil, 0
		}
	}
	at := newIndex(t.file.Bad)
	for i := range c.Rows {
		row := &c.Rows[i]
		index := at.next()
		if !t.within(row.Device, index, row) {
			continue
		}
		if reason, forged := t.doubt(row); reason != "" {
			if err := t.putAside(row, index, reason, forged); err != nil {
				return err
			}
			continue
		}
		more := rowSize + len(row.Detail)
		if len(rows) == event.MaxEntries || size+more > eventRoom {
			flush()
		}
		if rows == nil {
			rows = make([]event.ResultRow, 0, min(len(c.Rows)-i, event.MaxEntries))
		}
		rows = append(rows, event.ResultRow{Result: row.Result, MAC: row.MAC})
		size += more
	}
	flush()
	return nil
}

// putAside puts a row aside. One device can send any number of forged ones: they must
// not take the rows of others with them, so that what is more than
// [box.MaxBad] is counted in the event of the last one.
func (t *translation) putAside(row *box.ResultRow, index int, reason string, forged bool) error {
	switch {
	case len(t.bad) < box.MaxBad:
		t.bad = append(t.bad, box.BadRecord{Index: index, Reason: reason, Raw: row.Bytes()})
	case forged:
		t.more++
	default:
		return fmt.Errorf("%w, record %d: %s", errBad, index, reason)
	}
	return nil
}

// doubt returns why a row is not taken, or nothing; forged tells that its device
// did not say it.
func (t *translation) doubt(row *box.ResultRow) (reason string, forged bool) {
	if !row.State.FromAgent() {
		if row.ByListener() {
			return "", false
		}
		return fmt.Sprintf("state %s is not a listener's to report", row.State), false
	}
	key, ok := t.key(row.Device)
	switch {
	case !ok:
		return fmt.Sprintf("device %d is not known", row.Device), false
	case !row.Genuine(key, row.MAC):
		return fmt.Sprintf("device %d did not say this: the code of the result is wrong", row.Device), true
	}
	return "", false
}

// An index counts the records of a file past those that are bad.
type index struct {
	bad []box.BadRecord
	at  int
}

func newIndex(bad []box.BadRecord) *index { return &index{bad: bad} }

func (x *index) next() int {
	for len(x.bad) > 0 && x.bad[0].Index == x.at {
		x.bad = x.bad[1:]
		x.at++
	}
	x.at++
	return x.at - 1
}

func (t *translation) status(c *box.Status) {
	n := t.file.Name
	at := newIndex(t.file.Bad)
	for i := range c.Records {
		s := &c.Records[i]
		index := at.next()
		if s.Type == box.Message && s.Device != 0 && !t.within(s.Device, index, nil) {
			continue
		}
		var p event.Payload
		switch s.Type {
		case box.Started:
			p = &event.ListenerStarted{Listener: n.Listener, Epoch: n.Epoch, Version: s.Version, Address: s.Address}
		case box.Stopped:
			p = &event.ListenerStopped{Listener: n.Listener, Epoch: n.Epoch}
		case box.Refused:
			p = &event.SignInFailed{Where: s.Where, Address: s.Address, Reason: s.Text, Count: s.Count}
		case box.Message:
			p = &event.StatusMessage{Component: s.Component, Message: s.Number, Severity: event.Severity(s.Severity),
				Device: s.Device, Text: s.Text}
		}
		t.add(s.At, statusSize+len(s.Text), p)
	}
}

// discovery makes one event of each record, or more if its facts are too long
// for one: each fact stands for itself.
func (t *translation) discovery(c *box.Discovery) {
	at := newIndex(t.file.Bad)
	for i := range c.Records {
		d := &c.Records[i]
		if index := at.next(); !t.within(d.Device, index, d) {
			continue
		}
		facts := make([]event.Fact, 0, len(d.Facts))
		size := 0
		for _, f := range d.Facts {
			more := factSize + len(f.Name) + len(f.Value)
			if size+more > eventRoom {
				t.add(d.At, size, &event.DeviceDiscovered{Device: d.Device, Facts: facts})
				facts, size = nil, 0
			}
			facts = append(facts, event.Fact(f))
			size += more
		}
		t.add(d.At, size, &event.DeviceDiscovered{Device: d.Device, Facts: facts})
	}
}

// quarantined adds one event for each bad record; the inbox says it, about the
// file.
func (t *translation) quarantined() {
	name := t.file.Name.String()
	for i, b := range t.bad {
		if i == len(t.bad)-1 && t.more > 0 {
			what := "forged"
			if t.outside > 0 {
				what = "forged or out of scope"
			}
			b.Reason = fmt.Sprintf("%s; %d more records of the file are %s", b.Reason, t.more, what)
		}
		raw := b.Raw[:min(len(b.Raw), rawRoom)]
		t.add(t.file.To, len(name)+len(b.Reason)+len(raw), &event.RecordQuarantined{File: name, Index: uint32(b.Index), Reason: b.Reason, Raw: raw})
		t.events[len(t.events)-1].Actor = self
	}
}

// self is the actor of what the inbox says on its own.
var self = event.Actor{Issuer: "site", Subject: component}

const component = "inbox"
