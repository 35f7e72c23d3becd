package event

import (
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// Bounds that every event keeps, in bytes.
const (
	MaxEncoded = 256 << 10 // one event
	MaxKey     = 128       // an idempotency key
	MaxName    = 256       // names, reasons in brief, addresses
	MaxText    = 4 << 10   // texts for people
)

// An Event is one thing that happened, as the journal keeps it.
type Event struct {
	Number   uint64    // dense, from 1; the journal gives it
	Accepted time.Time // when the journal took it; strictly rising; the journal gives it
	Observed time.Time // when whoever reports it saw it, by that one's clock
	Key      string    // an idempotency key, or empty
	Actor    Actor
	Source   *Source // the file that said so, or nil
	Payload  Payload
}

// Kind returns the kind of the payload.
func (e *Event) Kind() Kind { return e.Payload.Kind() }

// An Actor is who made something happen.
type Actor struct {
	Issuer  string // who vouches: "site", "token", "certificate", "local"
	Subject string // an administrator's name, a device id, a component
	Session string // a session's id, or empty
	Behalf  string // on whose behalf, or empty
	Address string // where from, or empty
}

// A FileKind is the kind of a box file. The numbers are on disk.
type FileKind uint8

// The kinds of box files, in the order in which the inbox claims them.
const (
	BTS FileKind = 1 // push results
	BOS FileKind = 2 // presence
	SVF FileKind = 3 // a listener's own status messages
	DDR FileKind = 4 // discovery and inventory
)

// String returns the extension that files of this kind have.
func (k FileKind) String() string {
	switch k {
	case BTS:
		return "BTS"
	case BOS:
		return "BOS"
	case SVF:
		return "SVF"
	case DDR:
		return "DDR"
	}
	return "?"
}

// A Source is the file that an event was made of. Part and Of count the events
// of one file: the file is seen once all of them are in the journal.
type Source struct {
	Listener string // [A-Z0-9]{3,16}
	Epoch    uint32 // granted by the site, rising
	File     FileKind
	Number   uint64 // one sequence per listener, epoch and kind, from 1
	Part, Of uint16 // 1 … Of
	Digest   [32]byte
}

// A Payload is what an event says, one type per kind; the set is closed by this
// package. [Unknown] stands for a kind that this bugle does not know.
type Payload interface {
	Kind() Kind
	encode(w *bounded.Writer)
	decode(r *bounded.Reader)
}

// Unknown is the payload of an event of a kind, or of a version of a kind, that
// this bugle does not know. It is kept as it came and written back the same.
type Unknown struct {
	Of      Kind
	Version uint64
	Raw     []byte
}

// Kind returns the kind that the event claims.
func (u *Unknown) Kind() Kind { return u.Of }

func (u *Unknown) encode(*bounded.Writer) {}
func (u *Unknown) decode(*bounded.Reader) {}

const envelopeVersion = 1

var limits = bounded.Limits{Bytes: MaxEncoded, Depth: 6, Items: 1 << 17}

// Append appends the encoded event to dst, without Number and Accepted, which
// the journal's page holds. An event that is too large or lacks a payload is an
// error.
func (e *Event) Append(dst []byte) ([]byte, error) {
	if e.Payload == nil {
		return dst, fmt.Errorf("encode event: no payload")
	}
	start := len(dst)
	dst, err := bounded.Encode(dst, e.encode)
	if err != nil {
		return dst, fmt.Errorf("encode event %s: %w", e.Kind(), err)
	}
	if n := len(dst) - start; n > MaxEncoded {
		return dst[:start], fmt.Errorf("encode event %s: %w: %d bytes, at most %d are taken", e.Kind(), ErrTooLarge, n, MaxEncoded)
	}
	return dst, nil
}

// ErrTooLarge is wrapped by the error for an event above [MaxEncoded].
var ErrTooLarge = fmt.Errorf("event too large")

func (e *Event) encode(w *bounded.Writer) {
	if !validKind(e.Kind()) {
		w.Fail("kind %q is no name of a kind", e.Kind())
	}
	w.Array(8)
	w.Uint(envelopeVersion)
	w.Exact(string(e.Kind()), maxKindName)
	w.Exact(e.Key, MaxKey)
	w.Int(nanos(e.Observed))
	w.Array(5)
	for _, s := range []string{e.Actor.Issuer, e.Actor.Subject, e.Actor.Session, e.Actor.Behalf, e.Actor.Address} {
		w.String(s, MaxName)
	}
	e.Source.encode(w)
	if u, ok := e.Payload.(*Unknown); ok {
		if known, ok := table[u.Of]; ok && u.Version <= known.version {
			w.Fail("version %d of kind %s is not unknown", u.Version, u.Of)
		}
		w.Uint(u.Version)
		w.Bytes(u.Raw, MaxEncoded)
		return
	}
	w.Uint(versionOf(e.Kind()))
	if n := w.Nested(e.Payload.encode); n > MaxEncoded {
		w.Fail("%w: payload of %d bytes", ErrTooLarge, n)
	}
}

func (s *Source) encode(w *bounded.Writer) {
	if s == nil {
		w.Array(0)
		return
	}
	if !s.valid() {
		w.Fail("source is part %d of %d of a file of kind %d", s.Part, s.Of, s.File)
	}
	w.Array(7)
	w.Exact(s.Listener, 16)
	w.Uint(uint64(s.Epoch))
	w.Uint(uint64(s.File))
	w.Uint(s.Number)
	w.Uint(uint64(s.Part))
	w.Uint(uint64(s.Of))
	w.Raw(s.Digest[:])
}

func (s *Source) valid() bool {
	return s.File >= BTS && s.File <= DDR && s.Part > 0 && s.Part <= s.Of
}

// Decode reads what [Event.Append] wrote. Bytes that are malformed or out of
// bounds give an error; an unknown kind or a later version of a payload does
// not, it becomes [Unknown].
func Decode(b []byte) (*Event, error) {
	e := new(Event)
	var version uint64
	var raw []byte
	var kind Kind
	err := bounded.Decode(b, limits, func(r *bounded.Reader) error {
		r.Version(envelopeVersion)
		kind = Kind(r.String(maxKindName))
		if r.Err() == nil && !validKind(kind) {
			r.Fail("kind %q is no name of a kind", kind)
		}
		e.Key = r.String(MaxKey)
		e.Observed = instant(r.Int64())
		e.Actor.decode(r)
		e.Source = decodeSource(r)
		version = r.Uint64()
		raw = r.Bytes(MaxEncoded)
		r.End()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("decode event: %w", err)
	}
	if e.Payload, err = decodePayload(kind, version, raw); err != nil {
		return nil, fmt.Errorf("decode event %s: %w", kind, err)
	}
	return e, nil
}

func (a *Actor) decode(r *bounded.Reader) {
	r.Array(16)
	for _, s := range []*string{&a.Issuer, &a.Subject, &a.Session, &a.Behalf, &a.Address} {
		*s = r.String(MaxName)
	}
	r.End()
}

func decodeSource(r *bounded.Reader) *Source {
	if r.Array(16) == 0 {
		r.End()
		return nil
	}
	s := new(Source)
	s.Listener = r.String(16)
	s.Epoch = r.Uint32()
	s.File = FileKind(r.Uint(uint64(DDR)))
	s.Number = r.Uint64()
	s.Part = uint16(r.Uint(1<<16 - 1))
	s.Of = uint16(r.Uint(1<<16 - 1))
	r.Raw(s.Digest[:])
	r.End()
	if r.Err() == nil && !s.valid() {
		r.Fail("source is part %d of %d of a file of kind %d", s.Part, s.Of, s.File)
	}
	return s
}

func decodePayload(kind Kind, version uint64, raw []byte) (Payload, error) {
	entry, known := table[kind]
	if !known || version > entry.version {
		return &Unknown{Of: kind, Version: version, Raw: raw}, nil
	}
	p := entry.new()
	err := bounded.Decode(raw, limits, func(r *bounded.Reader) error {
		p.decode(r)
		return nil
	})
	return p, err
}

// KindOf reads only the kind of an encoded event; it is empty if b is malformed
// there. It serves followers that care for few kinds.
func KindOf(b []byte) Kind {
	// [8-array][version 1][fixstr or str8 kind]
	if len(b) < 3 || b[0] < 0x90 || b[0] > 0x9f || b[1] != envelopeVersion {
		return ""
	}
	n, from := int(b[2]&0x1f), 3
	if b[2] == 0xd9 && len(b) > 3 {
		n, from = int(b[3]), 4
	} else if b[2] < 0xa0 || b[2] > 0xbf {
		return ""
	}
	if n > len(b)-from {
		return ""
	}
	if k, ok := interned[string(b[from:from+n])]; ok {
		return k
	}
	return Kind(b[from : from+n])
}

// nanos is a time as it is kept: Unix nanoseconds, 0 for the zero time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
