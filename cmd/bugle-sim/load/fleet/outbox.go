package fleet

import (
	"encoding/gob"
	"io"
	"sync"
)

// maxBatch is how many go into one message of an outbox.
const maxBatch = 4096

// An outbox is what waits to be written to another process. Whoever puts something
// in does not wait; there is at most one order and a few news of each agent.
type outbox[T any] struct {
	mu     sync.Mutex
	wait   []T
	closed bool
	news   chan struct{}
}

func newOutbox[T any]() *outbox[T] { return &outbox[T]{news: make(chan struct{}, 1)} }

func (o *outbox[T]) put(v T) {
	o.mu.Lock()
	o.wait = append(o.wait, v)
	o.mu.Unlock()
	o.knock()
}

// close lets write end once all is written.
func (o *outbox[T]) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.knock()
}

func (o *outbox[T]) knock() {
	select {
	case o.news <- struct{}{}:
	default: // the writer is about to look
	}
}

// write writes until the outbox is closed.
func (o *outbox[T]) write(w io.Writer) error {
	e := gob.NewEncoder(w)
	var spare []T
	for range o.news {
		o.mu.Lock()
		all, closed := o.wait, o.closed
		o.wait = spare[:0]
		o.mu.Unlock()
		spare = all
		for len(all) > 0 {
			n := min(len(all), maxBatch)
			if err := e.Encode(all[:n]); err != nil {
				return err
			}
			all = all[n:]
		}
		if closed {
			return nil
		}
	}
	return nil
}

// each reads what write wrote and hands on each one, until the end.
func each[T any](r io.Reader, take func(T)) error {
	d := gob.NewDecoder(r)
	for {
		var batch []T
		if err := d.Decode(&batch); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		for _, v := range batch {
			take(v)
		}
	}
}
