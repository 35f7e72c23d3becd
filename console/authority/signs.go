package authority

import (
	"crypto/ed25519"
	"errors"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// ErrKeyChanged says that what is to be appended was signed by a task key that
// signs no more: it is to be signed anew.
var ErrKeyChanged = errors.New("the task key was changed since this was signed")

// Signs is nil if the task key with an id is the one that signs now, else
// [ErrKeyChanged]. It is for the guard of an append: so no task and no cancel of a
// key is in the journal behind the ring that put another in its place, and who has
// seen the journal up to that ring has seen all of them. Without it something that
// was signed just before could follow the ring that retires its key, and every
// agent would refuse it.
func (a *Authority) Signs(key task.KeyID) error {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if task.KeyIDOf(ed25519.PublicKey(a.ring().Task[0])) != key {
		return ErrKeyChanged
	}
	return nil
}
