package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
)

// Run finishes what an earlier run had claimed, and then takes files until ctx
// ends, which is not an error. It returns early only for what waiting cannot
// mend, such as a closed journal; what was claimed is then still in work, and
// the next run begins with it.
func (in *Inbox) Run(ctx context.Context) error {
	err := in.run(ctx)
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

func (in *Inbox) run(ctx context.Context) error {
	w := in.watch()
	defer w.close()
	p := pruner{in: in}
	defer p.wait()
	if err := in.resume(ctx); err != nil {
		return err
	}
	var news signal
	for scan := in.now(); ; {
		p.maybe()
		if news.scan || !in.now().Before(scan) {
			again, err := in.takeAll(ctx)
			if err != nil {
				return err
			}
			if scan = in.now(); again {
				continue
			}
			scan = scan.Add(in.cfg.Every)
		} else if err := in.takeNamed(ctx, news.names); err != nil {
			return err
		}
		var err error
		if news, err = w.next(ctx, in.pause(scan)); err != nil {
			return err
		}
	}
}

// resume settles what is in work.
func (in *Inbox) resume(ctx context.Context) error {
	for {
		l, err := in.box.Work()
		if err != nil {
			return fmt.Errorf("run inbox: %w", err)
		}
		items := listed(l)
		if len(items) == 0 {
			return nil
		}
		for _, it := range items {
			it.again = true
		}
		if err := in.process(ctx, items); err != nil {
			return err
		}
	}
}

func named(n box.Name) *item {
	entry := n.String()
	return &item{entry: entry, label: entry, name: n}
}

func listed(l box.Listing) []*item {
	items := make([]*item, 0, len(l.Names)+len(l.Strange))
	for _, n := range l.Names {
		items = append(items, named(n))
	}
	for _, entry := range l.Strange {
		items = append(items, &item{entry: entry, label: box.Tame(entry)})
	}
	return items
}

// process claims, loads and settles items, a batch at a time.
func (in *Inbox) process(ctx context.Context, items []*item) error {
	for len(items) > 0 {
		claimed, done := in.claim(items)
		items = items[done:]
		in.load(claimed)
		if err := in.settle(ctx, claimed); err != nil {
			return err
		}
	}
	return nil
}

// takeNamed takes files that an event told of, without a scan.
func (in *Inbox) takeNamed(ctx context.Context, names []box.Name) error {
	slices.SortFunc(names, box.Name.Compare)
	_, err := in.takeSome(ctx, box.Listing{Names: slices.Compact(names)}, time.Time{})
	return err
}

// takeAll scans and takes what it finds. It returns true if more waits.
func (in *Inbox) takeAll(ctx context.Context) (again bool, err error) {
	before := in.ends
	l, err := in.survey()
	if err != nil {
		// The folder may come back, as a network share does.
		in.stalled(err)
		return false, nil
	}
	in.working()
	all, err := in.takeSome(ctx, l, in.now().Add(in.cfg.Every))
	if err != nil {
		return false, err
	}
	if all {
		in.gate.sweep()
	}
	more := !all || l.Total > len(l.Names) || len(l.Strange) == box.MaxStrange
	return more && in.ends > before, nil
}

// survey scans and notes what waits.
func (in *Inbox) survey() (box.Listing, error) {
	l, err := in.box.Scan()
	if err != nil {
		return l, err
	}
	var oldest time.Time
	if at := in.box.Oldest(l); at > 0 {
		oldest = time.Unix(0, at).UTC()
	}
	in.count(func(s *Stats) { s.Waiting, s.Oldest = l.Total, oldest })
	return l, nil
}

// takeSome takes what the gate lets through, in order, and stops behind the
// batch that ends later than until: by then something more urgent may wait.
// It returns false if it did.
func (in *Inbox) takeSome(ctx context.Context, l box.Listing, until time.Time) (all bool, err error) {
	in.gate.round(in.now())
	var items []*item
	for i := 0; i < len(l.Names); {
		items = items[:0]
		for ; i < len(l.Names) && len(items) < batchFiles; i++ {
			if n := l.Names[i]; in.gate.admit(n) {
				items = append(items, named(n))
			}
		}
		if err := in.process(ctx, items); err != nil {
			return false, err
		}
		if i < len(l.Names) && !until.IsZero() && in.now().After(until) {
			return false, nil
		}
	}
	return true, in.process(ctx, listed(box.Listing{Strange: l.Strange}))
}

// shortestPause is the least time between two scans that nothing asked for.
const shortestPause = 10 * time.Millisecond

// pause is how long to wait for a signal before the next scan.
func (in *Inbox) pause(scan time.Time) time.Duration {
	if due := in.gate.due(); !due.IsZero() && due.Before(scan) {
		scan = due
	}
	return max(scan.Sub(in.now()), shortestPause)
}

// A pruner keeps the archive within its bounds, beside the run.
type pruner struct {
	in   *Inbox
	last time.Time
	busy sync.WaitGroup
	one  sync.Mutex
}

const pruneEvery = time.Hour

// maybe prunes if an hour has passed or a tenth of the bound was archived since.
func (p *pruner) maybe() {
	in, now := p.in, p.in.now()
	in.mu.Lock()
	due := now.Sub(p.last) >= pruneEvery || in.kept >= in.cfg.KeepBytes/10
	in.mu.Unlock()
	if !due || !p.one.TryLock() {
		return
	}
	p.last = now
	in.mu.Lock()
	in.kept = 0
	in.mu.Unlock()
	p.busy.Go(func() {
		defer p.one.Unlock()
		n, err := in.box.Prune(now, in.cfg.KeepAge, in.cfg.KeepBytes)
		if err != nil {
			in.log.Warn("cannot prune the archive", "error", err)
		} else if n > 0 {
			in.log.Info("pruned the archive", "files", n)
		}
	})
}

func (p *pruner) wait() { p.busy.Wait() }
