package outpost

import (
	"context"
	"errors"
	"fmt"
)

// A stage is a part that runs until it is ended. The zero value does not run.
type stage struct {
	cancel context.CancelFunc
	done   chan error
}

// start runs a part. If it ends by itself, the listener has failed.
func (g *stage) start(o *Outpost, name string, run func(context.Context) error) {
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
			case o.failed <- fmt.Errorf("%s: %w", name, err):
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

// end ends the part and returns what it ended with.
func (g *stage) end() error {
	if g.cancel == nil {
		return nil
	}
	g.cancel()
	g.cancel = nil
	return <-g.done
}
