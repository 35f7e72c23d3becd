package clock_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/console/clock"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/status"
)

// due is operations with their deadlines, and listeners: the views, as far as
// the clock reads them. It is a fold of the journal, so that what the clock says
// is known the moment it is durable.
type due struct {
	mu        sync.Mutex
	expire    map[task.ID]time.Time
	closing   map[task.ID]time.Time
	listeners []status.Listener
	err       error
	waits     []uint64
}

func (d *due) Apply(e *event.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch p := e.Payload.(type) {
	case *event.OperationExpired:
		delete(d.expire, p.Operation)
	case *event.OperationClosed:
		delete(d.closing, p.Operation)
	case *event.ListenerLost:
		for i := range d.listeners {
			if d.listeners[i].Name == p.Listener {
				d.listeners[i].State = status.Lost
			}
		}
	}
}

func (d *due) Due(now time.Time) (expire, closing []task.ID, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, at := range d.expire {
		if !at.After(now) {
			expire = append(expire, id)
		}
	}
	for id, at := range d.closing {
		if !at.After(now) {
			closing = append(closing, id)
		}
	}
	return expire, closing, d.err
}

func (d *due) Listeners() ([]status.Listener, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]status.Listener(nil), d.listeners...), nil
}

func (d *due) Wait(_ context.Context, number uint64, _ ...string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waits = append(d.waits, number)
	return nil
}

func (d *due) change(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func id(n byte) task.ID { return task.ID{15: n} }

// run lets a clock run in a bubble until test returns.
func run(t *testing.T, test func(d *due, j *journaltest.Memory)) {
	synctest.Test(t, func(t *testing.T) {
		d := &due{expire: map[task.ID]time.Time{}, closing: map[task.ID]time.Time{}}
		j := journaltest.NewMemory(journal.Options{Folds: []journal.Fold{d}})
		c := clock.New(clock.Config{Journal: j, Operations: d, Listeners: d, Views: d, Interval: time.Minute, Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		test(d, j)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		j.Close()
	})
}

// said is what the journal holds, in words.
func said(t *testing.T, j journal.Journal) (all []string) {
	t.Helper()
	r, err := j.Read(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		p, err := r.Next(t.Context())
		if err != nil {
			return all
		}
		for i := range p.Records {
			e, err := p.Records[i].Event()
			if err != nil {
				t.Fatal(err)
			}
			if e.Actor.Issuer != "site" || e.Observed.IsZero() {
				t.Errorf("event by %+v at %v", e.Actor, e.Observed)
			}
			switch p := e.Payload.(type) {
			case *event.OperationExpired:
				all = append(all, fmt.Sprint("expired ", p.Operation[15]))
			case *event.OperationClosed:
				all = append(all, fmt.Sprint("closed ", p.Operation[15]))
			case *event.ListenerLost:
				all = append(all, fmt.Sprint("lost ", p.Listener, " ", p.Epoch))
			}
		}
	}
}

func expect(t *testing.T, j journal.Journal, want ...string) {
	t.Helper()
	if got := said(t, j); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("journal says %q, want %q", got, want)
	}
}

func TestOperationsExpireAndClose(t *testing.T) {
	run(t, func(d *due, j *journaltest.Memory) {
		now := time.Now()
		d.change(func() {
			d.expire[id(1)] = now.Add(time.Minute)
			d.closing[id(1)] = now.Add(time.Hour)
			d.expire[id(2)] = now.Add(2 * time.Minute)
		})
		time.Sleep(59*time.Second + time.Millisecond)
		expect(t, j)
		time.Sleep(time.Second)
		expect(t, j, "expired 1")
		time.Sleep(time.Minute)
		expect(t, j, "expired 1", "expired 2")
		time.Sleep(2 * time.Hour)
		expect(t, j, "expired 1", "expired 2", "closed 1")
		if len(d.waits) != 3 || d.waits[2] != 3 {
			t.Errorf("waited for events %v", d.waits)
		}
	})
}

// TestDeadlineOfAYear has an operation that waits for machines that are off: it is
// neither forgotten nor ended before its time.
func TestDeadlineOfAYear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, ahead := time.Now(), time.Duration(0)
		var mu sync.Mutex
		now := func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(ahead)
		}
		jump := func(to time.Duration) {
			mu.Lock()
			ahead = to - time.Since(begin)
			mu.Unlock()
			time.Sleep(2 * time.Second)
		}
		const year = 365 * 24 * time.Hour
		d := &due{expire: map[task.ID]time.Time{id(1): begin.Add(year)}, closing: map[task.ID]time.Time{id(1): begin.Add(year + time.Hour)}}
		j := journaltest.NewMemory(journal.Options{Folds: []journal.Fold{d}})
		defer j.Close()
		c := clock.New(clock.Config{Journal: j, Operations: d, Listeners: d, Views: d, Interval: time.Minute, Log: slog.New(slog.DiscardHandler), Now: now})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		jump(year - 10*time.Second)
		expect(t, j)
		jump(year)
		expect(t, j, "expired 1")
		jump(year + 59*time.Minute)
		expect(t, j, "expired 1")
		jump(year + time.Hour)
		expect(t, j, "expired 1", "closed 1")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestListenersAreLost(t *testing.T) {
	run(t, func(d *due, j *journaltest.Memory) {
		long := time.Now().Add(-time.Hour) // silent while the site was down
		d.change(func() {
			d.listeners = []status.Listener{
				{Name: "OLD01", Epoch: 4, State: status.Started, Heard: long},
				{Name: "STOP1", State: status.Stopped, Heard: long},
				{Name: "GRANT", State: status.Granted},
				{Name: "LIVE1", State: status.Started, Heard: long},
			}
		})
		for range 10 { // one of them is heard every minute
			time.Sleep(time.Minute)
			d.change(func() { d.listeners[3].Heard = time.Now() })
		}
		expect(t, j, "lost OLD01 4")
	})
	run(t, func(d *due, j *journaltest.Memory) {
		d.change(func() { d.listeners = []status.Listener{{Name: "NEW01", State: status.Started, Started: time.Now()}} })
		time.Sleep(3 * time.Minute)
		expect(t, j)
		time.Sleep(2 * time.Second)
		expect(t, j, "lost NEW01 0")
	})
}

func TestMoreThanAPageIsDue(t *testing.T) {
	run(t, func(d *due, j *journaltest.Memory) {
		d.change(func() {
			for i := range 2500 {
				d.expire[task.ID{0: byte(i), 1: byte(i >> 8)}] = time.Now()
			}
		})
		time.Sleep(1500 * time.Millisecond)
		if n := j.Head().Event; n != journal.MaxPageEvents {
			t.Errorf("%d events after one round", n)
		}
		time.Sleep(5 * time.Second)
		if n := j.Head().Event; n != 2500 {
			t.Errorf("%d events", n)
		}
	})
}

func TestWhatFailsIsTriedAgain(t *testing.T) {
	run(t, func(d *due, j *journaltest.Memory) {
		d.change(func() { d.expire[id(1)], d.err = time.Now(), errors.New("view is being built") })
		time.Sleep(10 * time.Second)
		expect(t, j)
		j.Inject(journaltest.NotStored)
		d.change(func() { d.err = nil })
		time.Sleep(5 * time.Second)
		expect(t, j, "expired 1")
	})
}

// A listener whose files wait in the inbox is not silent, and one that was lost
// and is heard again can be lost again.
func TestFilesThatWaitAreNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		taken := time.Now()
		d := &due{expire: map[task.ID]time.Time{}, closing: map[task.ID]time.Time{},
			listeners: []status.Listener{{Name: "EAST01", Epoch: 1, State: status.Started, Heard: time.Now()}}}
		j := journaltest.NewMemory(journal.Options{Folds: []journal.Fold{d}})
		c := clock.New(clock.Config{Journal: j, Operations: d, Listeners: d, Views: d, Interval: time.Minute, Log: slog.New(slog.DiscardHandler),
			Heard: func(string) time.Time {
				mu.Lock()
				defer mu.Unlock()
				return taken
			}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		for range 10 {
			time.Sleep(2 * time.Minute)
			mu.Lock()
			taken = time.Now()
			mu.Unlock()
		}
		expect(t, j)
		time.Sleep(4 * time.Minute)
		expect(t, j, "lost EAST01 1")
		d.change(func() { d.listeners[0].State, d.listeners[0].Heard = status.Started, time.Now() }) // as the view does
		time.Sleep(4 * time.Minute)
		expect(t, j, "lost EAST01 1", "lost EAST01 1")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		j.Close()
	})
}
