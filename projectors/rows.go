package projectors

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// rows is where a fold or a reader finds what was written: a store as of one
// event, or memory.
type rows interface {
	get(key []byte, read func(value []byte) error) (ok bool, err error)
	walk(prefix, from []byte, visit func(key, value []byte) (more bool, err error)) error
	back(prefix, from []byte, visit func(key, value []byte) (more bool, err error)) error
}

// firstKey is the lowest that a fold may use.
var firstKey = []byte{1}

// version is a store as of the event that its transaction reads at.
type version struct{ txn *badger.Txn }

// at reads db as of event.
func at(db *badger.DB, event uint64) version { return version{db.NewTransactionAt(event, false)} }

func (v version) get(key []byte, read func(value []byte) error) (bool, error) {
	item, err := v.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, &storeError{fmt.Sprintf("read row %x", key), err}
	}
	return true, value(item, key, read)
}

// value hands read the value of item, and tells an error of the store from one of
// read.
func value(item *badger.Item, key []byte, read func(value []byte) error) error {
	var mine error
	err := item.Value(func(v []byte) error {
		mine = read(v)
		return mine
	})
	switch {
	case mine != nil:
		return fmt.Errorf("read row %x: %w", key, mine)
	case err != nil:
		return &storeError{fmt.Sprintf("read row %x", key), err}
	}
	return nil
}

// passVersions is how many older versions of a row are stepped over one by one
// before the next row is looked for by its key.
const passVersions = 32

// walk looks at all versions, newest first, so that it can leap over those of a
// row that changes with every event.
func (v version) walk(prefix, from []byte, visit func(key, value []byte) (bool, error)) error {
	it := v.txn.NewIterator(badger.IteratorOptions{Prefix: prefix, AllVersions: true})
	defer it.Close()
	var last []byte
	passed, more := 0, true
	for it.Seek(from); more && it.ValidForPrefix(prefix); {
		item := it.Item()
		if last != nil && bytes.Equal(item.Key(), last) {
			if passed++; passed < passVersions {
				it.Next()
			} else {
				it.Seek(append(last, 0))
			}
			continue
		}
		last, passed = append(last[:0], item.Key()...), 0
		var err error
		if !item.IsDeletedOrExpired() {
			more, err = show(item, visit)
		}
		if err != nil {
			return err
		}
		it.Next()
	}
	return nil
}

func (v version) back(prefix, from []byte, visit func(key, value []byte) (bool, error)) error {
	it := v.txn.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: true})
	defer it.Close()
	more := true
	for it.Seek(from); more && it.ValidForPrefix(prefix); it.Next() {
		if bytes.Compare(it.Item().Key(), firstKey) < 0 {
			return nil
		}
		var err error
		if more, err = show(it.Item(), visit); err != nil {
			return err
		}
	}
	return nil
}

func show(item *badger.Item, visit func(key, value []byte) (bool, error)) (more bool, err error) {
	err = value(item, item.Key(), func(value []byte) (err error) {
		more, err = visit(item.Key(), value)
		return err
	})
	return more, err
}
