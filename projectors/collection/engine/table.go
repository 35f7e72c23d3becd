package engine

import (
	"slices"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// A table holds the rows of a class. As long as no device has two, its columns are
// by device. From the first that has two on (many), they are by row: a row that
// several devices have is there once, and every device has a list of rows.
type table struct {
	class   *schema.Class
	columns []*column // by property
	many    bool

	present marks // devices that have a row, while there are not many

	lists   lists    // of many: the rows of each device. Row 0 is a row of NULLs, nobody's
	refs    []uint32 // how often devices have a row
	free    []uint32
	index   index
	answers answers // of rows, to conditions on one row
	asked   map[string]*rowCondition
}

// A column is a property of all devices or rows.
type column struct {
	cells
	dict *dictionary
}

func newTable(c *schema.Class) *table {
	t := &table{refs: make([]uint32, 1), asked: map[string]*rowCondition{}}
	t.extend(c)
	return t
}

// extend takes a class that has properties more.
func (t *table) extend(c *schema.Class) {
	t.class = c
	for i := len(t.columns); i < len(c.Properties); i++ {
		k := ofNumbers
		switch p := &c.Properties[i]; {
		case p.List:
			k = ofLists
		case p.Type == schema.Text:
			k = ofTexts
		}
		t.columns = append(t.columns, &column{dict: newDictionary(k)})
	}
	if t.many { // rows hash otherwise now
		t.index = index{}
		for r := 1; r < len(t.refs); r++ {
			if t.refs[r] > 0 {
				t.index.add(t.hash(uint32(r)), uint32(r))
			}
		}
	}
}

// put takes all the rows that a device has.
func (t *table) put(device uint32, rows []schema.Row) {
	if len(rows) > 1 && !t.many {
		t.becomeMany()
	}
	if t.many {
		t.putMany(device, rows)
		return
	}
	had := t.present.has(device)
	t.present.set(device, len(rows) > 0)
	switch {
	case len(rows) > 0:
		for i, c := range t.columns {
			var v schema.Value
			if i < len(rows[0]) {
				v = rows[0][i]
			}
			c.put(device, c.dict.code(&v))
		}
	case had:
		for _, c := range t.columns {
			c.put(device, null)
		}
	}
}

// put takes a code that is counted already.
func (c *column) put(i, code uint32) {
	old := c.at(i)
	if old != code {
		c.set(i, code)
	}
	c.dict.release(old)
}

func (t *table) putMany(device uint32, rows []schema.Row) {
	old := t.lists.at(device)
	if len(old) == 0 && len(rows) == 0 {
		return
	}
	now := make([]uint32, len(rows))
	codes := make([]uint32, len(t.columns))
	for i, r := range rows {
		for j, c := range t.columns {
			codes[j] = null
			if j < len(r) {
				codes[j] = c.dict.code(&r[j])
			}
		}
		now[i] = t.row(codes)
	}
	old = slices.Clone(old)
	t.lists.set(device, now)
	for _, r := range old {
		t.release(r)
	}
}

// row returns the number of a row whose codes are counted, and counts one device
// more that has it.
func (t *table) row(codes []uint32) uint32 {
	r := t.index.find(hashCodes(codes), func(r uint32) bool {
		for j, c := range t.columns {
			if c.at(r) != codes[j] {
				return false
			}
		}
		return true
	})
	if r == 0 {
		r = t.take()
		for j, c := range t.columns {
			c.set(r, codes[j])
		}
		t.index.add(t.hash(r), r)
	} else {
		for j, c := range t.columns { // the row that is there holds them already
			c.dict.release(codes[j])
		}
	}
	t.refs[r]++
	return r
}

func (t *table) take() uint32 {
	var r uint32
	if n := len(t.free); n > 0 {
		r, t.free = t.free[n-1], t.free[:n-1]
	} else {
		r = uint32(len(t.refs))
		t.refs = append(t.refs, 0)
	}
	t.answers.renew(r, len(t.refs))
	return r
}

func (t *table) hash(r uint32) uint64 {
	h := uint64(len(t.columns))
	for _, c := range t.columns {
		h = hashNumber(int64(h ^ uint64(c.at(r))))
	}
	return h
}

func (t *table) release(r uint32) {
	if t.refs[r]--; t.refs[r] > 0 {
		return
	}
	t.index.remove(t.hash(r), r)
	for _, c := range t.columns {
		c.put(r, null)
	}
	t.free = append(t.free, r)
}

// becomeMany turns columns by device into columns by row.
func (t *table) becomeMany() {
	t.many = true
	old := make([]cells, len(t.columns))
	for j, c := range t.columns {
		old[j], c.cells = c.cells, cells{}
	}
	codes := make([]uint32, len(t.columns))
	for device := range t.present.all {
		for j := range t.columns {
			codes[j] = old[j].at(device)
		}
		t.lists.set(device, []uint32{t.row(codes)})
	}
	t.present = marks{}
}

// rows returns how the rows of a device are numbered in the columns, and whether
// there are any.
func (t *table) rows(device uint32) []uint32 {
	if t.many {
		return t.lists.at(device)
	}
	if t.present.has(device) {
		return []uint32{device}
	}
	return nil
}

func (t *table) heap() (n int) {
	n = t.present.heap() + t.lists.heap() + 4*cap(t.refs) + 4*cap(t.free) + t.index.heap() + t.answers.heap()
	for _, c := range t.columns {
		n += c.heap() + c.dict.heap()
	}
	return n
}
