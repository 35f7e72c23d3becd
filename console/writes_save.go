package console

import (
	"fmt"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// What the writes save is an array, version 1: key, hash of the body and event of
// each, one behind the other, the oldest first.
const (
	savesWrites       = "writes/1"
	saveWritesVersion = 1
)

var saveWritesLimits = bounded.Limits{Bytes: MaxWrites * (2*event.MaxKey + 32), Items: 4 * (MaxWrites + 1)}

// Saves implements [journal.SavingFold].
func (w *Writes) Saves() string { return savesWrites }

// Save implements [journal.SavingFold].
func (w *Writes) Save() ([]byte, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	b, err := bounded.Encode(nil, func(out *bounded.Writer) {
		out.Array(2)
		out.Uint(saveWritesVersion)
		out.List(3*len(w.order), 3*MaxWrites)
		for i := range w.order {
			key := w.order[(w.next+i)%len(w.order)]
			out.Exact(key, event.MaxKey)
			out.Exact(w.known[key].body, event.MaxKey)
			out.Uint(w.known[key].event)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("save writes: %w", err)
	}
	return b, nil
}

// Restore implements [journal.SavingFold].
func (w *Writes) Restore(saved []byte) error {
	n := NewWrites()
	err := bounded.Decode(saved, saveWritesLimits, n.restore)
	if err != nil {
		n = NewWrites()
		err = fmt.Errorf("restore writes: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known, w.order, w.next = n.known, n.order, n.next
	return err
}

func (w *Writes) restore(r *bounded.Reader) error {
	r.Version(saveWritesVersion)
	n := r.Array(3 * MaxWrites)
	if n%3 != 0 {
		r.Fail("%d keys, hashes and events", n)
	}
	w.known, w.order = make(map[string]write, n/3), make([]string, 0, n/3)
	for r.More() {
		key := r.String(event.MaxKey)
		w.order = append(w.order, key)
		w.known[key] = write{r.String(event.MaxKey), r.Uint64()}
	}
	if r.Err() == nil && len(w.known) != len(w.order) {
		r.Fail("a key is there twice")
	}
	r.End()
	r.End()
	return nil
}
