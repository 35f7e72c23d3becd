package inbox

import (
	"context"
	"path/filepath"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/fsnotify/fsnotify"
)

// A signal says that something may wait: these names, or anything.
type signal struct {
	scan  bool
	names []box.Name
}

// A watcher tells when to look into the folder. It knows nothing for certain:
// events may be lost, doubled or late, and so each only says "look".
type watcher struct {
	in     *Inbox
	notify *fsnotify.Watcher // nil when polling
	events <-chan fsnotify.Event
	errors <-chan error
}

// watchBuffer is how many events wait while a batch is under way; of more, the
// system keeps some and then says so.
const watchBuffer = 4096

// watch begins to watch the folder. If the system cannot, the inbox polls.
func (in *Inbox) watch() *watcher {
	w := &watcher{in: in}
	if in.cfg.Poll {
		return w
	}
	notify, err := fsnotify.NewBufferedWatcher(watchBuffer)
	if err == nil {
		if err = notify.Add(in.box.Dir()); err != nil {
			notify.Close()
		}
	}
	if err != nil {
		in.log.Warn("cannot watch the folder of the box, it is read regularly instead", "every", in.cfg.Every, "error", err)
		return w
	}
	w.notify, w.events, w.errors = notify, notify.Events, notify.Errors
	return w
}

func (w *watcher) close() {
	if w.notify != nil {
		w.notify.Close()
	}
}

// next waits for a signal, for at most pause.
func (w *watcher) next(ctx context.Context, pause time.Duration) (signal, error) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		var s signal
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-timer.C:
			s.scan = true
		case <-w.in.wake:
			s.scan = true
		case e, ok := <-w.events:
			w.note(&s, e, ok)
		case _, ok := <-w.errors:
			// Whatever it is, an overflow most of all: what the events did not tell,
			// the folder does.
			s.scan = true
			w.check(ok)
		}
		w.drain(&s)
		if s.scan || len(s.names) > 0 {
			return s, nil
		}
	}
}

// drain takes the events that are there already.
func (w *watcher) drain(s *signal) {
	for range watchBuffer {
		select {
		case e, ok := <-w.events:
			w.note(s, e, ok)
		default:
			return
		}
	}
}

func (w *watcher) note(s *signal, e fsnotify.Event, ok bool) {
	if w.check(ok); !ok {
		s.scan = true
	}
	if !e.Has(fsnotify.Create) {
		return
	}
	n, err := box.ParseName(filepath.Base(e.Name))
	if err != nil {
		s.scan = true
		return
	}
	s.names = append(s.names, n)
}

// check ends the watch if a channel was closed; then the timer is left.
func (w *watcher) check(ok bool) {
	if !ok {
		w.events, w.errors = nil, nil
	}
}
