package engine

import (
	"fmt"
	"strconv"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A watch is a condition that time goes by for, and where its values are.
type watch struct {
	clock *clock
	table *table  // nil: it asks for no value
	col   *column // nil: it asks for several
}

// watch notes the conditions of a query that ask for the time.
func (p *plan) watch(q *wql.Query) {
	eachTest(q, func(e wql.Expr) {
		if !asksTime(e) {
			return
		}
		var columns []wql.Column
		columnsOf(e, func(k wql.Column) { columns = append(columns, k) })
		if len(columns) == 1 && columns[0].Property >= 0 {
			k := columns[0]
			t := p.e.tables[q.Sources[k.Source].Class.Index]
			col := t.columns[k.Property]
			t2, _ := compileTest(e, col.dict.kind == ofLists, func(*wql.InQuery) *valueSet { return &valueSet{} })
			p.keepWatch(fmt.Sprintf("%d %d %s", t.class.Index, k.Property, t2.key), watch{newClock(e), t, col})
			return
		}
		w := watch{clock: newClock(e)}
		if len(columns) > 0 { // where values go with time is not known of several
			w.clock = &clock{part: smallest(e)}
		}
		p.keepWatch("several "+strconv.Itoa(int(w.clock.part))+fmt.Sprintf(" %p", e), w)
	})
}

func (p *plan) keepWatch(key string, w watch) {
	for q := p; q != nil; q = q.parent {
		if _, ok := q.watches[key]; ok {
			return
		}
	}
	p.watches[key] = w
}

func (w *watch) dict() *dictionary {
	if w.col == nil {
		return nil
	}
	return w.col.dict
}

// NextTurn returns the next instant after after at which a condition that asks for
// the time turns for the value of some device, or can turn; false if none ever does.
// It is exact to the millisecond for comparisons with GetDate(), with DateAdd of it, and
// with DateDiff. Of other conditions it is the next boundary of the smallest part that
// they use, a second at least.
func (e *Engine) NextTurn(after time.Time) (time.Time, bool) {
	if e.ready() != nil {
		return time.Time{}, false
	}
	var least int64
	found := false
	for _, w := range e.plan.watches {
		if t, ok := w.clock.next(w.dict(), unixMilli(after)); ok && (!found || t < least) {
			least, found = t, true
		}
	}
	if !found {
		return time.Time{}, false
	}
	return time.UnixMilli(least).UTC(), true
}

// Turning returns the devices for which a condition that asks for the time turns after
// from and until to, or can turn: to evaluate these at to is as good as to evaluate all.
// The set is the caller's.
func (e *Engine) Turning(from, to time.Time) *roaring.Bitmap {
	out := roaring.New()
	if e.ready() != nil {
		return out
	}
	turning := map[*column]map[uint32]bool{}
	tables := map[*column]*table{}
	for _, w := range e.plan.watches {
		all := w.clock.turning(w.dict(), unixMilli(from), unixMilli(to), func(code uint32) {
			if turning[w.col] == nil {
				turning[w.col], tables[w.col] = map[uint32]bool{}, w.table
			}
			turning[w.col][code] = true
		})
		if all {
			return e.Devices()
		}
	}
	for col, codes := range turning {
		e.holders(out, tables[col], col, codes)
	}
	return out
}

// holders adds the devices that have one of the codes in a column.
func (e *Engine) holders(out *roaring.Bitmap, t *table, col *column, codes map[uint32]bool) {
	is := make([]bool, col.dict.size())
	for c := range codes {
		is[c] = true
	}
	var some []uint32
	for d := range e.live.all {
		for _, row := range t.rows(d) {
			if is[col.at(row)] {
				some = append(some, d)
				break
			}
		}
	}
	out.AddMany(some)
}
