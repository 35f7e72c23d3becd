package projectors

import (
	"fmt"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// A Snapshot is a view right after one event. It may be read by several
// goroutines; keys and values that it passes to a callback are valid only
// until the callback returns.
type Snapshot struct {
	view     string
	rows     rows
	position uint64
	state    func() any

	// Of one that a generation handed out.
	gen  *generation
	txn  *badger.Txn // read-only; several goroutines may read it, one discards it
	kept meta        // rows and their sum, as they were kept
	refs int         // guarded by gen.mu
}

// Position is the number of the last event that the snapshot holds.
func (s *Snapshot) Position() uint64 { return s.position }

// State is what the fold published at this position. For a snapshot of the past
// it is worked out when it is first asked for.
func (s *Snapshot) State() any { return s.state() }

func (s *Snapshot) release() { s.gen.release(s) }

// Get hands read the value of key; ok is false if there is no such row, and read
// is then not called.
func (s *Snapshot) Get(key []byte, read func(value []byte) error) (ok bool, err error) {
	return s.rows.get(key, read)
}

// Scan walks the rows whose keys begin with prefix, in rising order, from the
// first key that is not below from (nil means all). It ends when visit returns
// false or an error, which it returns.
func (s *Snapshot) Scan(prefix, from []byte, visit func(key, value []byte) (more bool, err error)) error {
	return s.rows.walk(prefix, low(prefix, from), visit)
}

// Back is Scan in falling order, from the last key that is not above from (nil
// means all).
func (s *Snapshot) Back(prefix, from []byte, visit func(key, value []byte) (more bool, err error)) error {
	return s.rows.back(prefix, high(prefix, from), visit)
}

// maxKey is the longest key of a row in bytes.
const maxKey = 512

// A pastState works out what a fold would publish, at most once.
type pastState struct {
	mu    sync.Mutex
	done  bool
	state any
	err   error
}

// of loads a new fold from s. If the rows do not hold together, the state is an
// empty fold's and the error is kept.
func (p *pastState) of(v *View, s *Snapshot) any {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return p.state
	}
	f := v.Fold()
	if err := f.Load(s); err != nil {
		p.err = fmt.Errorf("load view %s as of event %d: %w", v.Name, s.position, err)
		f = v.Fold()
	}
	p.state, p.done = f.Publish(), true
	return p.state
}

// failed is why the state is not to be believed, or nil.
func (p *pastState) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
