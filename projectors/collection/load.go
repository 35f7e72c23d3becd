package collection

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
)

// Load reads the definitions first: whatever else there is belongs to one of them,
// or to the root.
func (f *fold) Load(s *projectors.Snapshot) error {
	err := f.rows(s, prefixDefinition, func(id string, _, value []byte) error {
		info, err := decodeDefinition(value)
		e := newEntry(id)
		e.Info = info
		e.ID = id
		f.insert(e)
		return err
	})
	if err == nil {
		err = f.rows(s, prefixState, f.entryRow(func(e *entry, _, value []byte) error { return decodeState(value, e) }))
	}
	if err == nil {
		err = f.rows(s, prefixMembers, f.entryRow(loadMembers))
	}
	if err == nil {
		err = f.rows(s, prefixFlips, f.entryRow(loadFlips))
	}
	if err != nil {
		return err
	}
	for _, e := range f.list {
		e.Members = e.own.GetCardinality()
	}
	return f.loadCycles(s)
}

// rows visits the rows of a letter, whose keys go on with an id.
func (f *fold) rows(s *projectors.Snapshot, prefix byte, visit func(id string, rest, value []byte) error) error {
	return s.Scan([]byte{prefix}, nil, func(key, value []byte) (bool, error) {
		id, rest, err := parseKey(key)
		if err == nil {
			err = visit(id, rest, value)
		}
		return true, err
	})
}

// entryRow hands a row to its collection, which must be there.
func (f *fold) entryRow(take func(e *entry, rest, value []byte) error) func(id string, rest, value []byte) error {
	return func(id string, rest, value []byte) error {
		e := f.entry(id)
		if e == nil {
			return fmt.Errorf("row of collection %q, which is not defined", id)
		}
		if err := take(e, rest, value); err != nil {
			return fmt.Errorf("collection %s: %w", id, err)
		}
		return nil
	}
}

func loadMembers(e *entry, rest, value []byte) error {
	if len(rest) != 2 {
		return fmt.Errorf("key of members ends with %x", rest)
	}
	set, err := decodeChunk(binary.BigEndian.Uint16(rest), value)
	if err != nil {
		return err
	}
	e.own.Or(set)
	return nil
}

func loadFlips(e *entry, rest, value []byte) error {
	if len(rest) != 2 {
		return fmt.Errorf("key of members ends with %x", rest)
	}
	set, err := event.ParseSet(value)
	if set, err = checkChunk(binary.BigEndian.Uint16(rest), set, err); err != nil {
		return err
	}
	e.own.Xor(set)
	return nil
}

func (f *fold) loadCycles(s *projectors.Snapshot) error {
	return s.Scan([]byte{prefixCycle}, nil, func(key, _ []byte) (bool, error) {
		if len(key) != 10 || key[1] < 1 || int(key[1]) > queues {
			return false, fmt.Errorf("key %x is not of a cycle", key)
		}
		cycle := binary.BigEndian.Uint64(key[2:])
		list := &f.cycles[key[1]-1]
		*list = append(slices.Grow(*list, 1), cycle)
		f.lastCycle = max(f.lastCycle, cycle)
		return true, nil
	})
}
