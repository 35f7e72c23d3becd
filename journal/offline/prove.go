package offline

import (
	"cmp"
	"context"
	"slices"

	"github.com/bugle-fleet/bugle/journal"
)

// A piece is events of one part that are taken.
type piece struct {
	part     *part
	from, to uint64
}

// prove finds out which parts are vouched for, and takes what can be taken. What
// nobody has signed counts only as long as nothing that was signed shows that
// somebody has changed the journal: that one may have changed it too.
func (v *surveyor) prove(ctx context.Context) error {
	if err := v.backwards(ctx); err != nil {
		return err
	}
	if !slices.ContainsFunc(v.parts, func(p *part) bool { return p.denied > 0 }) {
		v.believe()
		if err := v.backwards(ctx); err != nil {
			return err
		}
	}
	v.forwards()
	return nil
}

// believe makes what is claimed and disputed count.
func (v *surveyor) believe() {
	for _, p := range v.parts {
		if p.disputed > p.proved {
			p.deny(p.disputed)
		}
		if p.claimed > p.proved && (p.disputed == 0 || p.disputed > p.claimed) && !v.signedOtherwise(p) && (v.signed == nil || p.first > v.signed.last) {
			p.proved = p.claimed
		}
	}
}

// signedOtherwise tells whether something was signed for the place before a part
// that is not what its first page says.
func (v *surveyor) signedOtherwise(p *part) bool {
	return slices.ContainsFunc(v.facts, func(f fact) bool { return f.signed && f.event == p.first-1 && f.hash != p.before })
}

// backwards goes from what is vouched for to what that vouches for: a page holds
// the hash of the one before it.
func (v *surveyor) backwards(ctx context.Context) error {
	var open []*part
	for _, p := range v.parts {
		if p.proved > 0 {
			open = append(open, p)
		}
	}
	seen := map[fact]bool{}
	for len(open) > 0 {
		p := open[len(open)-1]
		open = open[:len(open)-1]
		f := fact{event: p.first - 1, hash: p.before}
		if f.event == 0 || seen[f] {
			continue
		}
		seen[f] = true
		more, err := v.vouch(ctx, f)
		if err != nil {
			return err
		}
		open = append(open, more...)
	}
	return nil
}

// vouch compares all parts with a fact, and returns those that it proves more of.
func (v *surveyor) vouch(ctx context.Context, f fact) (more []*part, err error) {
	for _, p := range v.parts {
		if f.event < p.first || f.event > p.last || p.proved >= f.event {
			continue
		}
		hash, _, found, err := v.find(ctx, p, f.event)
		switch {
		case err != nil:
			return nil, err
		case found && hash == f.hash:
			p.proved = f.event
			more = append(more, p)
		default:
			p.deny(f.event)
		}
	}
	return more, nil
}

// forwards takes what is proved and what chains on from there, unless something
// that is vouched for says otherwise; where each page that was signed is known,
// nothing else is taken.
func (v *surveyor) forwards() {
	heads := []journal.Head{{}}
	for _, p := range v.parts {
		if p.taken = p.proved; p.taken == 0 {
			continue
		}
		if v.goesOn(p, p.taken) {
			p.taken = p.last
		}
		if p.taken == p.last {
			heads = append(heads, journal.Head{Event: p.last, Hash: p.hash})
		}
	}
	for len(heads) > 0 {
		h := heads[0]
		heads = heads[1:]
		for _, p := range v.parts {
			if p.taken == 0 && p.first == h.Event+1 && p.before == h.Hash && v.goesOn(p, h.Event) {
				p.taken = p.last
				heads = append(heads, journal.Head{Event: p.last, Hash: p.hash})
				break
			}
		}
	}
}

// goesOn tells whether the events of a part behind one may be taken for what
// they say.
func (v *surveyor) goesOn(p *part, behind uint64) bool {
	if behind == p.last || p.denied > behind || v.signed != nil && behind < v.signed.last {
		return false
	}
	for _, q := range v.parts {
		if q != p && q.proved > behind && q.first <= p.last {
			return false
		}
	}
	return true
}

// arrange puts the pieces in order, and lists what is missing between them.
func (v *surveyor) arrange(ctx context.Context) error {
	var taken []*part
	for _, p := range v.parts {
		if p.taken > 0 {
			taken = append(taken, p)
		}
	}
	slices.SortStableFunc(taken, func(a, b *part) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(b.taken, a.taken))
	})
	at, end := uint64(0), place{}
	for _, p := range taken {
		if p.taken <= at {
			continue
		}
		if p.first > at+1 {
			v.lose(at+1, p.first-1, end)
		}
		from := max(p.first, at+1)
		v.pieces = append(v.pieces, piece{p, from, p.taken})
		v.Events += p.taken - from + 1
		if p.proved >= from {
			v.Vouched += p.proved - from + 1
		}
		at = p.taken
		var err error
		if _, end, _, err = v.find(ctx, p, p.taken); err != nil {
			return err
		}
	}
	if v.Last = v.end(at); v.Last > at {
		v.lose(at+1, v.Last, end)
	}
	return nil
}

// Bounds of what is believed of events that are lost at the end, from what nobody
// has signed.
const (
	believable = 100_000_000
	minEvent   = 12      // bytes that an event takes in a page at least
	maxBlock   = 8 << 20 // bytes of a file that is not there
)

// end is the last event that there was, if those up to at are there: what was
// vouched for, and what pages say that nothing vouches for, for their numbers were
// given out.
func (v *surveyor) end(at uint64) uint64 {
	last := at
	for _, f := range v.facts {
		if f.signed || f.event <= at+believable {
			last = max(last, f.event)
		}
	}
	room := uint64(maxBlock)
	for _, s := range v.all {
		room += uint64(s.size)
	}
	known := last
	for _, p := range v.parts {
		if p.taken < p.last && p.last <= known+room/minEvent {
			last = max(last, p.last)
		}
	}
	return last
}

func (v *surveyor) lose(from, to uint64, at place) {
	l := Loss{From: from, To: to, Reason: "it is missing"}
	l.File, l.Offset = v.where(from, at)
	for _, p := range v.parts {
		if p.taken < p.last && p.first <= from && p.last >= from {
			l.Reason = "what is there is not what it was, or nothing vouches for it"
		}
	}
	for _, d := range v.Damages {
		if d.File == l.File && d.Offset <= l.Offset && (d.Size == 0 || d.Offset+d.Size > l.Offset) {
			l.Reason = d.Reason
			break
		}
	}
	v.Lost = append(v.Lost, l)
}
