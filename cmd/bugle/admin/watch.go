package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// How often a watched operation is asked for: soon after something changed, more
// seldom while nothing does.
const (
	quickPoll = 150 * time.Millisecond
	slowPoll  = 2 * time.Second
	maxSilent = 60 // polls without an answer before watching is given up
)

// watch shows the progress of an operation until every target has ended. It
// returns what it saw last, nil if it saw nothing, and an error that says how it
// ended unless all is well.
func (s *session) watch(id string, event uint64, timeout time.Duration) (*console.OperationReply, error) {
	ctx, stop := signal.NotifyContext(s.ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	deadline := time.Now().Add(timeout)
	op, err := s.operation(ctx, id, event)
	if mayPass(err) {
		op, err = s.operation(ctx, id, event)
	}
	if err != nil {
		return nil, s.stopped(ctx, id, err)
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	progress := s.progress(int(op.Targets))
	op, err = s.follow(ctx, op, progress)
	progress.Done()
	if err != nil {
		return op, s.stopped(ctx, id, err)
	}
	return op, outcome(op)
}

// follow polls until the operation is done.
func (s *session) follow(ctx context.Context, op *console.OperationReply, progress *Progress) (*console.OperationReply, error) {
	pause, silent := quickPoll, 0
	for {
		progress.update(counts(op.States), waveInWords(op))
		if op.Done {
			return op, nil
		}
		if err := s.pause(ctx, pause); err != nil {
			return op, err
		}
		next, err := s.progressOf(ctx, op.Operation.Operation)
		switch {
		case mayPass(err) && ctx.Err() == nil && silent < maxSilent:
			silent++
			pause = slowPoll
			continue
		case err != nil:
			return op, err
		case !maps.Equal(next.States, op.States) || next.Released != op.Released:
			pause = quickPoll
		default:
			pause = min(pause*3/2, slowPoll)
		}
		op, silent = next, 0
	}
}

// waveInWords is how far the waves of an operation are, empty if it has none or has
// ended.
func waveInWords(op *console.OperationReply) string {
	p := op.Pacing
	if p == nil || p.Left == nil || op.Held == 0 {
		return ""
	}
	released := 0
	for _, w := range p.Waves {
		if w.Released != nil {
			released++
		}
	}
	return fmt.Sprintf("wave %d of %d, %d held", released, len(p.Waves), op.Held)
}

// progressOf is operation, with latencies only once all is done.
func (s *session) progressOf(ctx context.Context, id string) (*console.OperationReply, error) {
	op, err := s.readOperation(ctx, id, query(console.QueryLatency, "false"))
	if err == nil && op.Done {
		return s.operation(ctx, id, 0)
	}
	return op, err
}

func (s *session) operation(ctx context.Context, id string, event uint64) (*console.OperationReply, error) {
	return s.readOperation(ctx, id, query(console.QueryMinEvent, number(event)))
}

func (s *session) readOperation(ctx context.Context, id string, params url.Values) (*console.OperationReply, error) {
	op := new(console.OperationReply)
	err := s.client.get(ctx, console.Path(console.PathOperation, id), params, op)
	if err != nil {
		return nil, err
	}
	op.States = everyState(op.States)
	return op, nil
}

var errStopped = errors.New("stopped watching")

// stopped says that the operation goes on without anybody who watches, and how
// to watch it again. An operation that is not there is that alone.
func (s *session) stopped(ctx context.Context, id string, err error) error {
	var p *problem
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = errors.New("--timeout is over and not every device has ended")
	case ctx.Err() != nil:
		err = errors.New("interrupted")
	case errors.As(err, &p) && p.Status == http.StatusNotFound:
		return err
	}
	return &ExitError{codeFailed, fmt.Errorf("%w: %w; the operation goes on: watch it with 'bugle ops watch %s', end it with 'bugle ops cancel %s'",
		errStopped, err, id, id)}
}

// unsuccessful are the states in which a device has not done what it should.
// A cancelled one was not to do it any more.
var unsuccessful = []task.State{task.Failed, task.Refused, task.TimedOut, task.Expired, task.Lost}

// outcome is an error with code 3 if devices ended badly.
func outcome(op *console.OperationReply) error {
	var n uint32
	var parts []string
	for _, state := range unsuccessful {
		if c := op.States[state.String()]; c > 0 {
			n += c
			parts = append(parts, fmt.Sprintf("%s %d", state, c))
		}
	}
	if n == 0 {
		return nil
	}
	return &ExitError{codePartly, fmt.Errorf("%d of %s did not do it: %s; see 'bugle ops devices %s'",
		n, countOf(op.Targets, "device"), strings.Join(parts, ", "), op.Operation.Operation)}
}

// everyState has a count for every state, also those that the site left out.
func everyState(states map[string]uint32) map[string]uint32 {
	all := make(map[string]uint32, len(task.States))
	for _, s := range task.States {
		all[s.String()] = 0
	}
	for name, n := range states {
		all[name] = n
	}
	return all
}

func counts(states map[string]uint32) map[string]int {
	all := make(map[string]int, len(states))
	for name, n := range states {
		all[name] = int(n)
	}
	return all
}
