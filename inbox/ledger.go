package inbox

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"sync"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal/event"
)

// Bounds of a [Ledger].
const (
	MaxHoles    = 4096    // ranges of missing numbers that one sequence keeps
	MaxDigests  = 1 << 15 // digests that are kept, the newest of all sequences
	maxPartial  = 1024    // files of which some events are stored
	maxAsideLog = 4096    // events of quarantined files that are remembered
)

// A Ledger knows which files the journal has. It is a fold: whoever opens the
// journal hands it to the journal's options, and then to the inbox, which
// decides by it and by nothing else what was seen. Applying an event again
// changes nothing. It is safe for concurrent use.
type Ledger struct {
	mu        sync.Mutex
	sequences map[sequence]*record
	digests   map[fileID][32]byte
	order     []fileID // of digests, a ring
	next      int
	partial   map[fileID]*partial
	aside     map[[32]byte]uint64 // quarantined files: the event that says so
	asideLog  []asideNote         // what aside was told, a ring
	asideNext int
}

// A sequence is one dense sequence of numbers.
type sequence struct {
	listener string
	epoch    uint32
	kind     event.FileKind
}

func sequenceOf(n box.Name) sequence {
	return sequence{n.Listener, n.Epoch, event.FileKind(n.Kind)}
}

type fileID struct {
	sequence
	number uint64
}

// A record is what was seen of a sequence: everything up to top but the holes.
type record struct {
	id    sequence
	top   uint64
	floor uint64 // holes at or below it were forgotten
	holes []Span // rising
}

// A partial is a file of which some events are stored.
type partial struct {
	digest [32]byte
	have   []bool // by part, from 0
	count  int
}

// A Span is a range of numbers, both ends included.
type Span struct{ From, To uint64 }

// NewLedger returns a ledger that has seen nothing.
func NewLedger() *Ledger {
	return &Ledger{sequences: make(map[sequence]*record), digests: make(map[fileID][32]byte),
		partial: make(map[fileID]*partial), aside: make(map[[32]byte]uint64)}
}

// Wants tells the journal which events matter here: those that files become, and
// those about quarantined ones.
func (l *Ledger) Wants(k event.Kind) bool {
	by, known := event.AppenderOf(k)
	return !known || by == event.ByInbox
}

// Apply takes note of one durable event.
func (l *Ledger) Apply(e *event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Source != nil {
		l.stored(e.Source)
		return
	}
	if p, ok := e.Payload.(*event.FileQuarantined); ok {
		l.quarantined(p, e.Number)
	}
}

func (l *Ledger) stored(s *event.Source) {
	r := l.record(sequence{s.Listener, s.Epoch, s.File})
	if r.has(s.Number) {
		return
	}
	id := fileID{r.id, s.Number}
	if s.Of > 1 && !l.completes(id, s) {
		return
	}
	delete(l.partial, id)
	r.add(s.Number)
	l.keep(id, s.Digest)
}

// completes notes a part and tells whether it was the last one missing.
func (l *Ledger) completes(id fileID, s *event.Source) bool {
	p := l.partial[id]
	if p == nil || p.digest != s.Digest || len(p.have) != int(s.Of) {
		if p == nil && len(l.partial) >= maxPartial {
			l.forgetPartial()
		}
		p = &partial{digest: s.Digest, have: make([]bool, s.Of)}
		l.partial[id] = p
	}
	if i := int(s.Part) - 1; !p.have[i] {
		p.have[i] = true
		p.count++
	}
	return p.count == len(p.have)
}

// forgetPartial forgets the least of the files of which only parts are stored:
// always the same one, for a fold has no choice.
func (l *Ledger) forgetPartial() {
	var least fileID
	first := true
	for id := range l.partial {
		if first || id.compare(least) < 0 {
			least, first = id, false
		}
	}
	delete(l.partial, least)
}

func (l *Ledger) record(s sequence) *record {
	r := l.sequences[s]
	if r == nil {
		r = &record{id: s}
		l.sequences[s] = r
	}
	return r
}

// keep remembers a digest and forgets the oldest one for it.
func (l *Ledger) keep(id fileID, digest [32]byte) {
	if len(l.order) < MaxDigests {
		l.order = append(l.order, id)
	} else {
		delete(l.digests, l.order[l.next])
		l.order[l.next] = id
		l.next = (l.next + 1) % MaxDigests
	}
	l.digests[id] = digest
}

// quarantined remembers that a file was put aside. If it was the next of its
// sequence, its number becomes a hole: later files need not wait for it.
func (l *Ledger) quarantined(p *event.FileQuarantined, number uint64) {
	if note := (asideNote{asideKey(p.Name, p.Digest), number}); l.aside[note.key] != number {
		l.noteAside(note)
	}
	n, err := box.ParseName(p.Name)
	if err != nil {
		return
	}
	if r := l.sequences[sequenceOf(n)]; r != nil && n.Number == r.top+1 {
		r.top++
		r.miss(Span{n.Number, n.Number})
	}
}

// An asideNote is one event about a quarantined file.
type asideNote struct {
	key    [32]byte
	number uint64
}

// noteAside remembers an event and forgets the oldest one for it; a file that
// was put aside again since stays remembered.
func (l *Ledger) noteAside(note asideNote) {
	if len(l.asideLog) < maxAsideLog {
		l.asideLog = append(l.asideLog, note)
	} else {
		if old := l.asideLog[l.asideNext]; l.aside[old.key] == old.number {
			delete(l.aside, old.key)
		}
		l.asideLog[l.asideNext] = note
		l.asideNext = (l.asideNext + 1) % maxAsideLog
	}
	l.aside[note.key] = note.number
}

func asideKey(name string, digest [32]byte) [32]byte {
	return sha256.Sum256(append(digest[:], name...))
}

// asideAt returns the number of the last event that says that this file was put
// aside, 0 if none is remembered.
func (l *Ledger) asideAt(name string, digest [32]byte) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.aside[asideKey(name, digest)]
}

// top returns the highest number of a sequence that was seen or given up.
func (l *Ledger) top(s sequence) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.sequences[s]; r != nil {
		return r.top
	}
	return 0
}

// A verdict is what the journal has of a file.
type verdict int

const (
	unseen   verdict = iota // nothing, or some of its events
	seen                    // all of it
	conflict                // another file of the same name
	tooOld                  // it cannot be told any more
)

// judge tells what the journal has of the file with this name and digest, and
// if only some of its events, which; of is how many it becomes.
func (l *Ledger) judge(n box.Name, digest [32]byte, of int) (v verdict, have []bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := fileID{sequenceOf(n), n.Number}
	if r := l.sequences[id.sequence]; r != nil && r.has(n.Number) {
		known, kept := l.digests[id]
		switch {
		case kept && known != digest:
			return conflict, nil
		case !kept && n.Number <= r.floor:
			return tooOld, nil
		}
		return seen, nil
	}
	p := l.partial[id]
	switch {
	case p == nil:
		return unseen, nil
	case p.digest != digest:
		return conflict, nil
	case len(p.have) != of:
		return unseen, nil
	}
	return unseen, slices.Clone(p.have)
}

// Have tells what the journal has of a file that a listener hands in: the file
// itself, or something else with its number, be it only that the number is too low
// to tell.
func (l *Ledger) Have(n box.Name, digest [32]byte) (file, other bool) {
	switch v, _ := l.judge(n, digest, 0); v {
	case seen:
		return true, false
	case conflict, tooOld:
		return false, true
	}
	return false, false
}

func (r *record) has(n uint64) bool {
	if n > r.top {
		return false
	}
	_, missing := r.find(n)
	return !missing
}

func (r *record) find(n uint64) (int, bool) {
	return slices.BinarySearchFunc(r.holes, n, func(s Span, n uint64) int {
		switch {
		case n < s.From:
			return 1
		case n > s.To:
			return -1
		}
		return 0
	})
}

func (r *record) add(n uint64) {
	if n > r.top {
		if n > r.top+1 {
			r.miss(Span{r.top + 1, n - 1})
		}
		r.top = n
		return
	}
	i, missing := r.find(n)
	if !missing {
		return
	}
	h := r.holes[i]
	var rest []Span
	if h.From < n {
		rest = append(rest, Span{h.From, n - 1})
	}
	if n < h.To {
		rest = append(rest, Span{n + 1, h.To})
	}
	r.holes = slices.Replace(r.holes, i, i+1, rest...)
	r.bound()
}

// miss adds a hole above all others.
func (r *record) miss(s Span) {
	if last := len(r.holes) - 1; last >= 0 && r.holes[last].To+1 == s.From {
		r.holes[last].To = s.To
		return
	}
	r.holes = append(r.holes, s)
	r.bound()
}

func (r *record) bound() {
	for len(r.holes) > MaxHoles {
		r.floor = r.holes[0].To
		r.holes = slices.Delete(r.holes, 0, 1)
	}
}

// A Sequence is what the journal has of the files of one kind that one listener
// wrote in one epoch.
type Sequence struct {
	Listener string
	Epoch    uint32
	Kind     event.FileKind
	Top      uint64 // the highest number that was seen or given up
	Holes    []Span // what is missing below Top, rising
}

// Sequences returns a copy of what was seen, by listener, epoch and kind.
func (l *Ledger) Sequences() []Sequence {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Sequence, 0, len(l.sequences))
	for s, r := range l.sequences {
		if r.top > 0 {
			all = append(all, Sequence{s.listener, s.epoch, s.kind, r.top, slices.Clone(r.holes)})
		}
	}
	slices.SortFunc(all, func(a, b Sequence) int {
		return cmp.Or(cmp.Compare(a.Listener, b.Listener), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Kind, b.Kind))
	})
	return all
}
