package projectors

import (
	"bytes"
	"slices"
	"strings"
)

// A memory is the rows of a view in memory. It is written by one goroutine;
// once it is frozen it may be read by many.
type memory struct {
	values map[string]*cell
	bytes  int64    // that it takes, about
	keys   []string // in order, once it is frozen
}

// A cell is a value that can be replaced without a look at the map.
type cell struct{ value []byte }

// cellCost is about what a row takes besides key and value.
const cellCost = 100

func newMemory() *memory { return &memory{values: make(map[string]*cell)} }

func (m *memory) get(key []byte, read func(value []byte) error) (bool, error) {
	c := m.values[string(key)]
	if c == nil {
		return false, nil
	}
	return true, read(c.value)
}

// set writes a row; a nil value removes it.
func (m *memory) set(key, value []byte) {
	c := m.values[string(key)]
	switch {
	case value == nil && c != nil:
		m.bytes -= int64(len(key) + len(c.value) + cellCost)
		delete(m.values, string(key))
	case value == nil:
	case c != nil:
		m.bytes += int64(len(value) - len(c.value))
		c.value = append(c.value[:0], value...)
	default:
		m.bytes += int64(len(key) + len(value) + cellCost)
		m.values[string(key)] = &cell{append(make([]byte, 0, len(value)), value...)}
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
