package inbox

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// What a ledger saves is an array, version 1:
//
//	sequences  listener, epoch, kind, top, floor, holes; by listener, epoch, kind
//	digests    sequence by its place above, number, digest; the oldest first
//	partial    sequence, number, digest, parts as bits; rising
//	aside      key, event; the oldest first
//
// The rings are written from their oldest entry on, and the map aside is not
// written: its entries are those of the log, the later one of two.
const (
	saves        = "ledger/1"
	saveVersion  = 1
	maxSequences = 1 << 20
)

// saveLimits bound what is restored: the numbers of the ledger's own bounds, and
// as many sequences as a site with many listeners has in decades.
var saveLimits = bounded.Limits{Bytes: 1 << 30, Items: 1 << 27}

// Saves implements [journal.SavingFold].
func (l *Ledger) Saves() string { return saves }

// Save implements [journal.SavingFold].
func (l *Ledger) Save() ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, err := bounded.Encode(nil, l.save)
	if err != nil {
		return nil, fmt.Errorf("save ledger: %w", err)
	}
	return b, nil
}

func (l *Ledger) save(w *bounded.Writer) {
	records := make([]*record, 0, len(l.sequences))
	for _, r := range l.sequences {
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b *record) int { return a.id.compare(b.id) })
	place := make(map[sequence]uint64, len(records))
	w.Array(5)
	w.Uint(saveVersion)
	w.List(len(records), maxSequences)
	for i, r := range records {
		place[r.id] = uint64(i)
		r.save(w)
	}
	w.List(len(l.order), MaxDigests)
	for i := range l.order {
		id := l.order[(l.next+i)%len(l.order)]
		digest := l.digests[id]
		w.Array(3)
		w.Uint(place[id.sequence])
		w.Uint(id.number)
		w.Raw(digest[:])
	}
	l.savePartial(w, place)
	w.List(len(l.asideLog), maxAsideLog)
	for i := range l.asideLog {
		note := l.asideLog[(l.asideNext+i)%len(l.asideLog)]
		w.Array(2)
		w.Raw(note.key[:])
		w.Uint(note.number)
	}
}

func (l *Ledger) savePartial(w *bounded.Writer, place map[sequence]uint64) {
	w.List(len(l.partial), maxPartial)
	for _, id := range l.partialIDs() {
		p := l.partial[id]
		bits := make([]byte, (len(p.have)+7)/8)
		for i, have := range p.have {
			if have {
				bits[i/8] |= 1 << (i % 8)
			}
		}
		w.Array(5)
		w.Uint(place[id.sequence])
		w.Uint(id.number)
		w.Raw(p.digest[:])
		w.Uint(uint64(len(p.have)))
		w.Raw(bits)
	}
}

// partialIDs are the files of which some events are stored, rising.
func (l *Ledger) partialIDs() []fileID {
	ids := make([]fileID, 0, len(l.partial))
	for id := range l.partial {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, fileID.compare)
	return ids
}

func (s sequence) compare(o sequence) int {
	return cmp.Or(cmp.Compare(s.listener, o.listener), cmp.Compare(s.epoch, o.epoch), cmp.Compare(s.kind, o.kind))
}

func (f fileID) compare(o fileID) int {
	return cmp.Or(f.sequence.compare(o.sequence), cmp.Compare(f.number, o.number))
}

func (r *record) save(w *bounded.Writer) {
	w.Array(6)
	w.Exact(r.id.listener, event.MaxName)
	w.Uint(uint64(r.id.epoch))
	w.Uint(uint64(r.id.kind))
	w.Uint(r.top)
	w.Uint(r.floor)
	w.List(2*len(r.holes), 2*MaxHoles)
	for _, h := range r.holes {
		w.Uint(h.From)
		w.Uint(h.To)
	}
}

// Restore implements [journal.SavingFold].
func (l *Ledger) Restore(saved []byte) error {
	n := NewLedger()
	err := bounded.Decode(saved, saveLimits, n.restore)
	if err != nil {
		n = NewLedger()
		err = fmt.Errorf("restore ledger: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sequences, l.digests, l.order, l.next = n.sequences, n.digests, n.order, n.next
	l.partial, l.aside, l.asideLog, l.asideNext = n.partial, n.aside, n.asideLog, n.asideNext
	return err
}

func (l *Ledger) restore(r *bounded.Reader) error {
	r.Version(saveVersion)
	var records []*record
	r.Array(maxSequences)
	for r.More() {
		s := restoreRecord(r)
		if n := len(records); n > 0 && records[n-1].id.compare(s.id) >= 0 {
			r.Fail("sequences are not in order")
		}
		records = append(records, s)
		l.sequences[s.id] = s
	}
	r.End()
	l.restoreDigests(r, records)
	l.restorePartial(r, records)
	r.Array(maxAsideLog)
	for r.More() {
		var note asideNote
		r.Array(2)
		r.Raw(note.key[:])
		note.number = r.Uint64()
		r.End()
		l.asideLog = append(l.asideLog, note)
		l.aside[note.key] = note.number
	}
	r.End()
	r.End()
	return nil
}

// restoreID reads which file it is about.
func restoreID(r *bounded.Reader, records []*record) fileID {
	i := r.Uint64()
	if i >= uint64(len(records)) {
		r.Fail("sequence %d of %d", i, len(records))
		return fileID{}
	}
	return fileID{records[i].id, r.Uint64()}
}

func (l *Ledger) restoreDigests(r *bounded.Reader, records []*record) {
	l.order = make([]fileID, 0, r.Array(MaxDigests))
	for r.More() {
		var digest [32]byte
		r.Array(3)
		id := restoreID(r, records)
		r.Raw(digest[:])
		r.End()
		l.order = append(l.order, id)
		l.digests[id] = digest
	}
	r.End()
	if r.Err() == nil && len(l.digests) != len(l.order) {
		r.Fail("a digest is there twice")
	}
}

func (l *Ledger) restorePartial(r *bounded.Reader, records []*record) {
	r.Array(maxPartial)
	for r.More() {
		p := new(partial)
		r.Array(5)
		id := restoreID(r, records)
		r.Raw(p.digest[:])
		p.have = make([]bool, r.Uint(math.MaxUint16))
		bits := make([]byte, (len(p.have)+7)/8)
		r.Raw(bits)
		r.End()
		for i := range p.have {
			if bits[i/8]>>(i%8)&1 == 1 {
				p.have[i] = true
				p.count++
			}
		}
		if r.Err() == nil && (p.count == 0 || p.count == len(p.have) || l.partial[id] != nil) {
			r.Fail("file %d has %d of %d parts, or is there twice", id.number, p.count, len(p.have))
		}
		l.partial[id] = p
	}
	r.End()
}

func restoreRecord(r *bounded.Reader) *record {
	s := new(record)
	r.Array(6)
	s.id.listener = r.String(event.MaxName)
	s.id.epoch = r.Uint32()
	s.id.kind = event.FileKind(r.Uint(math.MaxUint8))
	s.top = r.Uint64()
	s.floor = r.Uint64()
	n := r.Array(2 * MaxHoles)
	if n%2 != 0 {
		r.Fail("%d ends of holes", n)
	}
	s.holes = make([]Span, 0, n/2)
	last := s.floor
	for r.More() {
		h := Span{r.Uint64(), r.Uint64()}
		if r.Err() == nil && (h.From > h.To || h.From <= last || h.To > s.top) {
			r.Fail("hole %d to %d behind %d, at most %d", h.From, h.To, last, s.top)
		}
		s.holes, last = append(s.holes, h), h.To
	}
	r.End()
	r.End()
	return s
}
