package listener

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A Feed is the one source of what a listener knows of its site's operations and
// blocked devices.
//
// It begins with all that is open and all who are blocked, then [Whole], then
// every change as it happens. After an error (other than ctx's) the listener
// waits a little and calls Next again; the feed then begins from the beginning,
// and what it does not repeat before Whole has ended. An operation that comes
// again is known by its id.
type Feed interface {
	// Next waits for the next update.
	Next(ctx context.Context) (Update, error)
}

// An Update is one of [OpenOperation], [ReleaseWave], [EndOperation],
// [BlockDevice], [UnblockDevice], [ChangeKeys] and [Whole].
type Update interface{ update() }

// OpenOperation is an operation that may have to be sent.
type OpenOperation struct {
	Signed   task.Signed
	Targets  *task.Targets // whose root is the one in the task
	Done     *task.Targets // of them those that have reported finally; nil if none
	Priority uint8         // order in the send queue: 1 before 2 before 3; 0 is 2
	Durable  bool          // also in the policy of its targets
	// Held says that only those are sent it whom a [ReleaseWave] names. Else all
	// are, at not-before.
	Held bool
}

// ReleaseWave lets a held operation go to some of its targets. It follows the
// OpenOperation, and is told again after it.
type ReleaseWave struct {
	ID      task.ID
	Wave    uint32        // from 1; one that is known changes nothing
	Devices *task.Targets // some of the operation's
	At      time.Time     // when it was released
	// Spread is the time from At over which the sends are spread: each device has
	// its own moment in it, the same at every listener.
	Spread time.Duration
}

// EndOperation says that an operation was cancelled, stopped, has expired or is
// closed: it is sent to nobody any more.
type EndOperation struct {
	ID task.ID
	// Cancel is the signed word ([task.Cancel]) for agents that have the task, empty
	// if they may go on. It is handed out until Until, which is when no agent may
	// begin the task any more.
	Cancel []byte
	Until  time.Time
}

// ChangeKeys is a [task.Keyring], signed. All that there are are told before
// [Whole], in order.
type ChangeKeys struct{ Ring []byte }

// BlockDevice refuses a device from now on and cuts its session.
type BlockDevice struct{ Device uint32 }

// UnblockDevice takes a [BlockDevice] back.
type UnblockDevice struct{ Device uint32 }

// Whole says that the feed has told all that there is; from then on agents are
// signed in.
type Whole struct{}

func (OpenOperation) update() {}
func (ReleaseWave) update()   {}
func (ChangeKeys) update()    {}
func (EndOperation) update()  {}
func (BlockDevice) update()   {}
func (UnblockDevice) update() {}
func (Whole) update()         {}

const (
	feedBackOff    = 100 * time.Millisecond
	maxFeedBackOff = 5 * time.Second
)

// follow keeps the table as the feed says, until ctx ends.
func (l *Listener) follow(ctx context.Context) {
	wait := feedBackOff
	for {
		l.table.begin()
		whole, err := l.readFeed(ctx)
		if ctx.Err() != nil {
			return
		}
		if whole {
			wait = feedBackOff
		}
		l.cfg.Log.Warn("feed broke, reading it again", "listener", l.cfg.Name, "wait", wait, "err", err)
		l.presence.doubted.Store(true)
		l.status.message(msgFeedBroken, 0, err.Error())
		if !sleep(ctx, wait) {
			return
		}
		wait = min(2*wait, maxFeedBackOff)
	}
}

func (l *Listener) readFeed(ctx context.Context) (whole bool, err error) {
	for {
		u, err := l.cfg.Feed.Next(ctx)
		if err != nil {
			return whole, err
		}
		if _, ok := u.(Whole); ok {
			whole = true
		}
		l.apply(u, time.Now())
	}
}

func (l *Listener) apply(u Update, now time.Time) {
	switch u := u.(type) {
	case OpenOperation:
		if err := l.open(u, now); err != nil {
			l.notServed(err)
		}
	case ReleaseWave:
		if err := l.table.wave(u, now); err != nil {
			l.notServed(fmt.Errorf("release wave %d of operation %s: %w", u.Wave, u.ID, err))
		}
		l.wakeRelease()
	case EndOperation:
		l.endOperation(u, now)
	case ChangeKeys:
		l.changeKeys(u)
	case BlockDevice:
		if s := l.table.block(u.Device); s != nil {
			l.status.message(msgBlocked, u.Device, "session ended: the device was blocked")
			s.block()
		}
	case UnblockDevice:
		l.table.unblock(u.Device)
	case Whole:
		l.table.whole()
		l.wholeOnce.Do(func() { close(l.whole) })
	}
}

func (l *Listener) notServed(err error) {
	l.cfg.Log.Error("operation is not served", "listener", l.cfg.Name, "err", err)
	l.status.message(msgNotServed, 0, err.Error())
}

var errTargets = errors.New("targets are not the ones that were signed")

func (l *Listener) open(u OpenOperation, now time.Time) error {
	t, err := u.Signed.Task()
	if err != nil {
		return fmt.Errorf("open operation: %w", err)
	}
	switch {
	case t.Site != l.cfg.Site:
		return fmt.Errorf("open operation %s: it is of site %q", t.Operation, t.Site)
	case u.Targets == nil || u.Targets.Leaves() != t.Leaves || u.Targets.Root() != t.Root:
		return fmt.Errorf("open operation %s: %w", t.Operation, errTargets)
	}
	if err := l.table.open(newOperation(t, u), now); err != nil {
		return fmt.Errorf("open operation %s: %w", t.Operation, err)
	}
	l.wakeRelease()
	return nil
}

// wakeRelease says that the next release may be sooner than was known.
func (l *Listener) wakeRelease() {
	select {
	case l.retime <- struct{}{}:
	default:
	}
}

const (
	// maxTimer bounds the wait for the next release, so that a step of the clock
	// is noticed.
	maxTimer = time.Minute
	// batch is how far releases are apart: what a spread releases in that time goes
	// out together.
	batch = 20 * time.Millisecond
)

// release sends operations to whom their time has come, until ctx ends. Once in a
// while it forgets those whose time is over.
func (l *Listener) release(ctx context.Context) {
	swept := time.Now()
	for {
		now := time.Now()
		if now.Sub(swept) >= maxTimer {
			swept = now
			l.table.sweep(now)
		}
		wait := maxTimer
		if next := l.table.release(now); !next.IsZero() {
			wait = min(wait, max(next.Sub(now), batch))
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-l.retime:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// sleep waits for d; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
