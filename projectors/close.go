package projectors

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// closeWithin is what [Options.CloseWithin] is by default. A disk that is well takes
// a memtable of 16 MiB in less than a second, a slow one that has much else to do in
// some seconds; and all bounds of a site's stop together must stay below the two minutes
// after which its unit kills it.
const closeWithin = 10 * time.Second

// ErrNotClosed is wrapped by errors over stores that were left open. Badger may still
// write there until the process ends.
var ErrNotClosed = errors.New("left open")

// Close stores the positions, waits for readers under way, and closes the stores.
// [Views.Run] and [Views.Rebuild] must have returned.
//
// All close at once, and Close waits for [Options.CloseWithin] at most: while
// Badger cannot write its tables, on a disk that fails or is gone, it tries again
// without end. Where [Options.Room] says that there is none, Close does not even
// try. The error then names each view that has not closed and wraps [ErrNotClosed],
// the folder stays locked, and the process should end. That loses nothing: every
// commit is synced in Badger's log, from which the next [Open] takes it as after a
// kill.
func (v *Views) Close() error {
	ended := make(chan error, 1)
	full := make(chan error, 1)
	go func() { // a disk that hangs does not even say how full it is
		if why := v.opt.Room(); why != nil {
			full <- why
			return
		}
		ended <- v.closeAll()
	}()
	var err error
	select {
	case err = <-ended:
	case why := <-full:
		return v.leave(why)
	case <-time.After(v.opt.CloseWithin):
	}
	var open []string
	for _, r := range v.runners {
		closed, failed := r.outcome()
		if !closed {
			open = append(open, r.view.Name)
		}
		err = errors.Join(err, failed)
	}
	if len(open) > 0 {
		err = errors.Join(err, left(open, late(v.opt.CloseWithin), v.opt.Log))
	}
	return err
}

// leave closes no store. Badger writes through mapped files, and where the disk has no
// page for what is written the system ends the process on the spot, with all that is
// still to be closed in good order.
func (v *Views) leave(why error) error {
	var open []string
	for _, r := range v.runners {
		r.view.serving.Store(nil)
		open = append(open, r.view.Name)
	}
	return left(open, why, v.opt.Log)
}

// closeAll lets go of the folder when the last view has closed, however late: before,
// somebody else would open stores that are still written.
func (v *Views) closeAll() error {
	var all sync.WaitGroup
	for _, r := range v.runners {
		all.Go(r.close)
	}
	all.Wait()
	return v.lock.Close()
}

func (r *runner) close() {
	err := r.end()
	r.noted.Lock()
	defer r.noted.Unlock()
	r.closed, r.failed = true, errors.Join(r.failed, err)
	close(r.changed)
	r.changed = make(chan struct{})
}

// end closes the generation that serves and waits for those that served before.
func (r *runner) end() (err error) {
	r.view.serving.Store(nil)
	r.running.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if g := r.gen; g != nil {
		r.view.serving.Store(nil)
		err = g.end()
		<-g.closed
		err = errors.Join(err, g.failed)
		r.gen = nil
	}
	<-r.former.closed()
	r.leaving.Wait()
	return err
}

// outcome is what closing came to so far.
func (r *runner) outcome() (closed bool, failed error) {
	r.noted.Lock()
	defer r.noted.Unlock()
	return r.closed, r.failed
}

// close closes the store, which may take until the disk is well again.
func (g *generation) close() {
	g.tables.close()
	g.failed = g.db.Close()
	close(g.closed)
}

// await waits until the store is closed, but not without end.
func (g *generation) await(within time.Duration) error {
	select {
	case <-g.closed:
		return g.failed
	case <-time.After(within):
		return left([]string{g.view.Name}, late(within), g.log)
	}
}

func late(within time.Duration) error { return fmt.Errorf("not closed within %s", within) }

// left tells that the stores of views are left to the end of the process.
func left(views []string, why error, log *slog.Logger) error {
	log.Error("views are left open until the process ends; nothing is lost: what they committed is synced in Badger's log, which the next start reads", "views", views, "err", why)
	return fmt.Errorf("close view %s: %w: %w", strings.Join(views, ", "), ErrNotClosed, why)
}
