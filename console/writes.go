package console

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/bugle-fleet/bugle/journal/event"
)

// MaxWrites is how many idempotency keys are remembered, the newest.
const MaxWrites = 100_000

// maxKey is the longest key that a caller may choose. With the administrator
// before it and a hash behind it, it fits [event.MaxKey].
const maxKey = 64

// Writes is the fold of the journal that remembers which write an idempotency key
// was used for. It is safe for concurrent use; the zero value is not, call
// [NewWrites].
type Writes struct {
	mu    sync.RWMutex
	known map[string]write
	order []string // a ring of the keys in known
	next  int
}

type write struct {
	body  string // the hash of what was asked for
	event uint64
}

// NewWrites returns an empty fold, for the journal's options.
func NewWrites() *Writes { return &Writes{known: map[string]write{}} }

// Wants implements [journal.SelectiveFold].
func (w *Writes) Wants(k event.Kind) bool {
	by, ok := event.AppenderOf(k)
	return ok && by == event.ByConsole
}

// Apply implements [journal.Fold].
func (w *Writes) Apply(e *event.Event) {
	if e.Key == "" || !w.Wants(e.Kind()) {
		return
	}
	i := strings.LastIndexByte(e.Key, '#')
	if i < 0 {
		return
	}
	key, body := e.Key[:i], e.Key[i+1:]
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.known[key]; ok {
		return
	}
	if len(w.order) < MaxWrites {
		w.order = append(w.order, key)
	} else {
		delete(w.known, w.order[w.next])
		w.order[w.next] = key
		w.next = (w.next + 1) % MaxWrites
	}
	w.known[key] = write{body, e.Number}
}

func (w *Writes) find(key string) (write, bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	found, ok := w.known[key]
	return found, ok
}

// A onceKey is an idempotency key of one administrator for one body; the zero
// value is that of a caller who sent none.
type onceKey struct{ key, body string }

// newOnceKey makes the key of a call. What counts as the same body is the call
// and its parsed request, so that white space does not matter.
func newOnceKey(actor event.Actor, header, call string, request any) (onceKey, error) {
	if header == "" {
		return onceKey{}, nil
	}
	if len(header) > maxKey || strings.ContainsFunc(header, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return onceKey{}, badRequest("The idempotency key cannot be taken",
			"The header %s has 1 to %d visible ASCII characters, such as a UUID.", HeaderIdempotencyKey, maxKey)
	}
	raw, err := json.Marshal(request)
	if err != nil {
		return onceKey{}, fmt.Errorf("hash request: %w", err)
	}
	sum := sha256.Sum256(append([]byte(call+"\n"), raw...))
	return onceKey{actor.Subject + "/" + header, hex.EncodeToString(sum[:8])}, nil
}

// envelope is the key as the event's envelope has it.
func (k onceKey) envelope() string {
	if k.key == "" {
		return ""
	}
	return k.key + "#" + k.body
}

// doneAlready is the error of a guard that found the write in the journal.
type doneAlready uint64

func (d doneAlready) Error() string { return fmt.Sprintf("event %d did it already", uint64(d)) }

// check is nil for a write that was not made yet, doneAlready for one that was,
// and a problem if the key was used for something else.
func (w *Writes) check(k onceKey) error {
	if k.key == "" {
		return nil
	}
	found, ok := w.find(k.key)
	switch {
	case !ok:
		return nil
	case found.body != k.body:
		return conflictingKey(found.event)
	}
	return doneAlready(found.event)
}

func conflictingKey(number uint64) error {
	return problem(409, "The idempotency key was used for something else",
		"This key belongs to the request that became event %d; send a new request with a new key.", number)
}
