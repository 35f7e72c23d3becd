package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
)

// A Page is the events of one commit, as they are on disk; FORMAT.md describes
// the bytes.
type Page struct {
	First    uint64   // number of the first event
	Previous [32]byte // hash of the page before, zero for the first page
	Hash     [32]byte // SHA-256 over the page's bytes, which hold Previous
	Records  []Record
	raw      []byte
}

// Last is the number of the last event.
func (p *Page) Last() uint64 { return p.First + uint64(len(p.Records)) - 1 }

// Bytes are the page as it is stored; nobody changes them.
func (p *Page) Bytes() []byte { return p.raw }

// A Record is one event in a page, decoded when somebody asks.
type Record struct {
	Number   uint64
	Accepted int64 // Unix nanoseconds
	Body     []byte
	event    atomic.Pointer[event.Event]
}

// Kind reads the kind without decoding the rest.
func (r *Record) Kind() event.Kind { return event.KindOf(r.Body) }

// Event decodes the event. It does so once: everybody gets the same one, and
// nobody changes it.
func (r *Record) Event() (*event.Event, error) {
	if e := r.event.Load(); e != nil {
		return e, nil
	}
	e, err := event.Decode(r.Body)
	if err != nil {
		return nil, fmt.Errorf("event %d: %w", r.Number, err)
	}
	e.Number, e.Accepted = r.Number, time.Unix(0, r.Accepted).UTC()
	r.event.Store(e)
	return e, nil
}

const (
	pageMagic   = "BGJ1"
	pageHeader  = 4 + 8 + 4 + 32 // magic, first, count, previous
	recordExtra = 4 + 8          // length, accepted
)

// A PageBuilder collects the events of a page to come. The zero value is ready.
type PageBuilder struct {
	buf   []byte
	count int
	size  int
}

// Grow makes room for size bytes of encoded events in all, to save copying.
func (b *PageBuilder) Grow(size int) { b.buf = slices.Grow(b.buf, pageHeader+size) }

// Room tells whether n more events of size bytes in all fit.
func (b *PageBuilder) Room(n, size int) bool {
	return b.count+n <= MaxPageEvents && b.size+size <= MaxPageBytes
}

// Count is how many events were added, Size how many bytes they have.
func (b *PageBuilder) Count() int { return b.count }

// Size is how many bytes of encoded events were added.
func (b *PageBuilder) Size() int { return b.size }

// Add adds an encoded event.
func (b *PageBuilder) Add(body []byte) {
	if len(b.buf) == 0 {
		b.buf = append(b.buf, make([]byte, pageHeader)...)
	}
	b.buf = binary.BigEndian.AppendUint32(b.buf, uint32(len(body)))
	b.buf = binary.BigEndian.AppendUint64(b.buf, 0)
	b.buf = append(b.buf, body...)
	b.count++
	b.size += len(body)
}

// Seal makes the events added so far the page behind head. The first was
// accepted at the given Unix nanosecond, each further one a nanosecond later.
// The builder is empty then.
func (b *PageBuilder) Seal(head Head, accepted int64) *Sealed {
	raw := b.buf
	copy(raw, pageMagic)
	binary.BigEndian.PutUint64(raw[4:], head.Event+1)
	binary.BigEndian.PutUint32(raw[12:], uint32(b.count))
	copy(raw[16:], head.Hash[:])
	for at, i := pageHeader, 0; at < len(raw); i++ {
		binary.BigEndian.PutUint64(raw[at+4:], uint64(accepted)+uint64(i))
		at += recordExtra + int(binary.BigEndian.Uint32(raw[at:]))
	}
	s := &Sealed{Head: Head{Event: head.Event + uint64(b.count), Pages: head.Pages + 1, Hash: HashPage(raw)}, Before: head, raw: raw}
	*b = PageBuilder{}
	return s
}

// A Sealed is a page that this process has made itself. It is safe for
// concurrent use.
type Sealed struct {
	Head   Head // behind this page
	Before Head // behind the page before
	raw    []byte
	split  sync.Once
	page   Page
}

// Bytes are the page as it is stored; nobody changes them.
func (s *Sealed) Bytes() []byte { return s.raw }

// Page returns the page itself, always the same one. Splitting the bytes into
// records waits for the first who asks.
func (s *Sealed) Page() *Page {
	s.split.Do(func() {
		s.page = Page{First: s.Before.Event + 1, Previous: s.Before.Hash, Hash: s.Head.Hash, raw: s.raw}
		if err := s.page.split(s.raw[pageHeader:], int(s.Head.Event-s.Before.Event)); err != nil {
			panic("journal: a page of our own making does not parse: " + err.Error())
		}
	})
	return &s.page
}

// HashPage is the hash of a page's bytes. They hold the hash of the page before,
// so one hash covers the whole chain up to here.
func HashPage(raw []byte) [32]byte { return sha256.Sum256(raw) }

// PreviousHash reads which page the bytes of a page say they follow; ok is false
// if they are too short to say.
func PreviousHash(raw []byte) (hash [32]byte, ok bool) {
	if len(raw) < pageHeader {
		return hash, false
	}
	return [32]byte(raw[16:]), true
}

// A DamageError says where the journal does not hold together.
type DamageError struct {
	Event  uint64 // the first event that cannot be trusted
	Page   uint64 // the page it is in, from 1, or 0 if that is not known
	File   string // where that page is, or must be; empty if that is not known
	Offset int64  // in File
	Reason string
}

func (e *DamageError) Error() string {
	where := fmt.Sprintf("page %d", e.Page)
	if e.File != "" {
		where += fmt.Sprintf(", %s at offset %d", e.File, e.Offset)
	}
	return fmt.Sprintf("journal is damaged at event %d (%s): %s", e.Event, where, e.Reason)
}

// ErrDamaged matches every [*DamageError].
var ErrDamaged = errors.New("journal is damaged")

// Is makes a DamageError match [ErrDamaged].
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// ParsePage reads the bytes of the page behind head and checks that it is the
// next one; what does not hold is a [*DamageError]. The page keeps raw.
func ParsePage(raw []byte, head Head) (*Page, error) {
	p, err := parsePage(raw, head)
	if err != nil {
		return nil, err
	}
	p.Hash = HashPage(raw)
	return p, nil
}

// ParseHashed is [ParsePage] for whoever has called [HashPage] before.
func ParseHashed(raw []byte, hash [32]byte, head Head) (*Page, error) {
	p, err := parsePage(raw, head)
	if err != nil {
		return nil, err
	}
	p.Hash = hash
	return p, nil
}

func parsePage(raw []byte, head Head) (*Page, error) {
	damage := func(format string, args ...any) (*Page, error) {
		return nil, &DamageError{Event: head.Event + 1, Page: head.Pages + 1, Reason: fmt.Sprintf(format, args...)}
	}
	if len(raw) < pageHeader || string(raw[:4]) != pageMagic {
		return damage("not a page of version 1")
	}
	p := &Page{First: binary.BigEndian.Uint64(raw[4:]), Previous: [32]byte(raw[16:]), raw: raw}
	count := binary.BigEndian.Uint32(raw[12:])
	switch {
	case p.First != head.Event+1:
		return damage("page begins with event %d", p.First)
	case p.Previous != head.Hash:
		return damage("page does not follow the one before it: the chain of hashes is broken")
	case count == 0 || count > MaxPageEvents:
		return damage("page of %d events", count)
	}
	if err := p.split(raw[pageHeader:], int(count)); err != nil {
		return damage("%v", err)
	}
	return p, nil
}

func (p *Page) split(b []byte, count int) error {
	p.Records = make([]Record, count)
	for i := range p.Records {
		if len(b) < recordExtra {
			return errors.New("page is cut short")
		}
		n := int(binary.BigEndian.Uint32(b))
		accepted := binary.BigEndian.Uint64(b[4:])
		if n > len(b)-recordExtra || n > event.MaxEncoded || accepted > math.MaxInt64 {
			return fmt.Errorf("event %d of the page is cut short", i+1)
		}
		r := &p.Records[i]
		r.Number, r.Accepted, r.Body = p.First+uint64(i), int64(accepted), b[recordExtra:recordExtra+n:recordExtra+n]
		b = b[recordExtra+n:]
	}
	if len(b) != 0 {
		return fmt.Errorf("%d bytes left over behind the last event", len(b))
	}
	return nil
}

// Next is the head behind page p.
func (h Head) Next(p *Page) Head {
	return Head{Event: p.Last(), Pages: h.Pages + 1, Hash: p.Hash}
}
