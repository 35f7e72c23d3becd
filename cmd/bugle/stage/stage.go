// Package stage runs the parts of a program that are started and ended in order.
package stage

import (
	"context"
	"errors"
	"fmt"
)

// A Stage is a part that runs until it is ended. The zero value does not run.
type Stage struct {
	cancel context.CancelFunc
	done   chan error
}

// Start runs a part. If it ends by itself, failed is told, unless it was before.
func (g *Stage) Start(failed chan<- error, name string, run func(context.Context) error) {
	var ctx context.Context
	ctx, g.cancel = context.WithCancel(context.Background())
	g.done = make(chan error, 1)
	go func() {
		err := run(ctx)
		if ctx.Err() == nil {
			if err == nil {
				err = errors.New("ended by itself")
			}
			select {
			case failed <- fmt.Errorf("%s: %w", name, err):
			default:
			}
		}
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		g.done <- err
	}()
}

// End ends the part, waits for that, and returns what it ended with. A part that
// does not run has ended well.
func (g *Stage) End() error {
	if g.cancel == nil {
		return nil
	}
	g.cancel()
	g.cancel = nil
	return <-g.done
}
