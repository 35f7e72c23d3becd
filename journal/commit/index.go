package commit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/bugle-fleet/bugle/journal"
)

// An index knows which page each event is in: some two bytes per page.
type index struct {
	counts []uint16 // events in each page
	bases  []uint64 // bases[i] is the first event of page i*indexStep+1
	next   uint64   // the first event of the page to come
}

// indexStep is how many pages one base stands for.
const indexStep = 64

func newIndex() index { return index{next: 1} }

func (x *index) add(count int) {
	if len(x.counts)%indexStep == 0 {
		x.bases = append(x.bases, x.next)
	}
	x.counts = append(x.counts, uint16(count))
	x.next += uint64(count)
}

// find returns how many pages there are before the one that holds the event,
// and that page's first event.
func (x *index) find(event uint64) (before, first uint64) {
	i := max(sort.Search(len(x.bases), func(i int) bool { return x.bases[i] > event }), 1) - 1
	before, first = uint64(i*indexStep), x.bases[i]
	for _, n := range x.counts[before:] {
		if event < first+uint64(n) {
			break
		}
		first += uint64(n)
		before++
	}
	return before, first
}

// encode writes counts as Saved.Index has them.
func encodeIndex(counts []uint16) []byte {
	b := make([]byte, 0, len(counts)+len(counts)/4)
	for _, n := range counts {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

var errIndex = errors.New("the index of pages does not lead to the head")

// decodeIndex reads what encodeIndex wrote of a journal that ends at head.
func decodeIndex(b []byte, head journal.Head) (index, error) {
	if head.Pages > uint64(len(b)) {
		return index{}, errIndex // a page takes a byte at least
	}
	x := newIndex()
	x.counts = slices.Grow(x.counts, int(head.Pages))
	for len(b) > 0 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n == 0 || n > journal.MaxPageEvents || size > 1 && b[size-1] == 0 {
			return index{}, fmt.Errorf("%w: page %d", errIndex, len(x.counts)+1)
		}
		x.add(int(n))
		b = b[size:]
	}
	if uint64(len(x.counts)) != head.Pages || x.next != head.Event+1 {
		return index{}, errIndex
	}
	return x, nil
}
