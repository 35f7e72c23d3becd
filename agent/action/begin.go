package action

import (
	"context"
	"errors"
	"sync/atomic"
)

// A Beginning is the moment at which a task may still begin. It is asked once:
// right before the first program of the task starts, for the machine may have been
// busy since the agent looked at the clock. What a task that has begun starts later
// is its own affair.
type Beginning struct {
	late    func() bool
	asked   atomic.Bool
	refused atomic.Bool
}

type beginningKey struct{}

// Begin returns a context for the Run of an action that starts no first program
// once late says so, and the beginning, which tells what became of that.
func Begin(ctx context.Context, late func() bool) (context.Context, *Beginning) {
	b := &Beginning{late: late}
	return context.WithValue(ctx, beginningKey{}, b), b
}

// Refused tells whether it was too late for the first program: the task has not
// begun, whatever its action returned.
func (b *Beginning) Refused() bool { return b.refused.Load() }

var errTooLate = errors.New("deadline has passed")

// mayStart is asked before each program.
func mayStart(ctx context.Context) error {
	b, ok := ctx.Value(beginningKey{}).(*Beginning)
	switch {
	case !ok || b.asked.Swap(true) && !b.refused.Load():
		return nil
	case b.refused.Load() || b.late():
		b.refused.Store(true)
		return errTooLate
	}
	return nil
}
