package projectors

import (
	"bytes"
	"slices"
	"strings"
)

// A memory is the rows of a view in memory, and with a log also what they were
// before. It is written by one goroutine; once it is frozen it may be read by many.
type memory struct {
	values map[string]*cell
	bytes  int64    // that it takes, about, without the log
	keys   []string // in order, once it is frozen
	log    *undoLog // nil: it forgets what rows were
}

// A cell is a row that can be replaced without a look at the map.
type cell struct {
	key   string
	value []byte // nil: the row is gone, and only the log knows of it
	last  int    // its last note in the log, 0 if it has none
}

// cellCost is about what a row takes besides key and value.
const cellCost = 120

func newMemory() *memory { return &memory{values: make(map[string]*cell)} }

func (m *memory) get(key []byte, read func(value []byte) error) (bool, error) {
	c := m.values[string(key)]
	if c == nil {
		return false, nil
	}
	return true, read(c.value)
}

// set writes a row as an event leaves it; a nil value removes it.
func (m *memory) set(key, value []byte, event uint64) {
	c := m.values[string(key)]
	if c == nil {
		if value == nil {
			return
		}
		c = m.add(key)
	}
	if m.log != nil {
		m.log.note(c, event)
	}
	if value == nil {
		m.remove(c)
		return
	}
	m.bytes += int64(len(value) - len(c.value))
	if c.value == nil {
		c.value = make([]byte, 0, len(value))
	}
	c.value = append(c.value[:0], value...)
}

// add makes room for a row: its former one if the log still knows of it.
func (m *memory) add(key []byte) (c *cell) {
	if m.log != nil {
		c = m.log.gone[string(key)]
	}
	if c == nil {
		c = &cell{key: string(key)}
	} else {
		delete(m.log.gone, c.key)
	}
	m.values[c.key] = c
	m.bytes += int64(len(key) + cellCost)
	return c
}

func (m *memory) remove(c *cell) {
	m.bytes -= int64(len(c.key) + len(c.value) + cellCost)
	delete(m.values, c.key)
	c.value = nil
	if m.log != nil {
		m.log.gone[c.key] = c
	}
}

// freeze puts the keys in order. Nothing is written afterwards.
func (m *memory) freeze() {
	m.keys = make([]string, 0, len(m.values))
	for k := range m.values {
		m.keys = append(m.keys, k)
	}
	slices.Sort(m.keys)
}

func (m *memory) walk(prefix, from []byte, visit func(key, value []byte) (bool, error)) error {
	i, _ := slices.BinarySearch(m.keys, string(from))
	for ; i < len(m.keys) && strings.HasPrefix(m.keys[i], string(prefix)); i++ {
		if more, err := m.show(i, visit); err != nil || !more {
			return err
		}
	}
	return nil
}

func (m *memory) back(prefix, from []byte, visit func(key, value []byte) (bool, error)) error {
	i, found := slices.BinarySearch(m.keys, string(from))
	if !found {
		i--
	}
	for ; i >= 0 && strings.HasPrefix(m.keys[i], string(prefix)); i-- {
		if more, err := m.show(i, visit); err != nil || !more {
			return err
		}
	}
	return nil
}

func (m *memory) show(i int, visit func(key, value []byte) (bool, error)) (bool, error) {
	return visit([]byte(m.keys[i]), m.values[m.keys[i]].value)
}

// sum counts and sums the rows.
func (m *memory) sum() (rows uint64, sum rollingSum) {
	var h rowHash
	var key []byte
	for k, c := range m.values {
		key = append(key[:0], k...)
		sum.add(h.sum(key, c.value))
	}
	return uint64(len(m.values)), sum
}

// low is the first key that a walk over prefix from from may meet.
func low(prefix, from []byte) []byte {
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	if bytes.Compare(from, firstKey) < 0 {
		from = firstKey
	}
	return from
}

// high is the last key that a walk back over prefix from from may meet.
func high(prefix, from []byte) []byte {
	if from == nil {
		from = append(bytes.Clone(prefix), bytes.Repeat([]byte{0xff}, maxKey)...)
	}
	return from
}
