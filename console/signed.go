package console

import (
	"context"
	"errors"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A signer signs what an event carries by the task key in use, and says which one
// that is.
type signer func() (task.KeyID, error)

// signTries is how often something is signed whose key is changed each time before
// it is in the journal; people change keys, so the second time does.
const signTries = 8

// appendSigned signs and appends an event, once per key. If the site's key is
// changed between the two it signs by the new one: what was signed by another is
// not appended, for agents may not trust it any more by then. A nil signer signs
// nothing.
func (c *Console) appendSigned(ctx context.Context, key onceKey, e *event.Event, sign signer) (err error) {
	for range signTries {
		var by task.KeyID
		if sign != nil {
			if by, err = sign(); err != nil {
				return err
			}
		}
		err = c.cfg.Journal.AppendIf(ctx, func() error {
			if err := c.cfg.Writes.check(key); err != nil || sign == nil {
				return err
			}
			return c.cfg.Authority.Signs(by)
		}, e)
		if !errors.Is(err, authority.ErrKeyChanged) {
			break
		}
	}
	return err
}
