package inbox

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal"
)

// Bounds of what is claimed together.
const (
	batchFiles = 512
	batchBytes = 16 << 20 // and one file more

	maxComplaints = 1024 // entries of which it is remembered that they cannot be claimed
)

// An item is an entry of the box between its claim and its end: archived, put
// aside, or gone.
type item struct {
	entry  string
	label  string   // what entry is called in events; the same unless it is strange
	name   box.Name // zero if entry is no name of a file
	again  bool     // it was claimed by an earlier run
	size   int
	digest [32]byte // of all its bytes, zero if it could not be read

	events []sized // what the file becomes
	todo   []sized // those that the journal has not
	partly bool    // the journal has some of them
	bad    int     // of events, about single records
	reason string  // why the whole file is put aside, or empty
	alarm  uint32  // the number of the status message that goes with it, or 0
	aside  uint64  // the last event that said so of an earlier one like it
	retry  error   // why it could not be read this time
	gone   bool
	told   bool // this run appended something of it
}

// claim moves entries into work, in their order, until a bound is reached. It
// returns how many of the candidates it dealt with.
func (in *Inbox) claim(candidates []*item) (claimed []*item, done int) {
	bytes := 0
	for _, it := range candidates {
		if len(claimed) == batchFiles || bytes >= batchBytes {
			break
		}
		done++
		if !it.again {
			if err := in.box.Claim(it.entry); err != nil {
				in.unclaimed(it, err)
				continue
			}
		}
		it.size = in.box.Size(it.entry)
		bytes += it.size
		claimed = append(claimed, it)
	}
	return claimed, done
}

// unclaimed is about an entry that cannot be moved; it stays where it is, and
// the others go on.
func (in *Inbox) unclaimed(it *item, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		return // an event and a scan told of the same file
	}
	if !in.complained[it.label] {
		if len(in.complained) == maxComplaints {
			clear(in.complained)
		}
		in.complained[it.label] = true
		in.log.Warn("cannot claim a file, it is left where it is", "file", it.label, "error", err)
	}
}

// load reads, checks and translates claimed files, on all processors if they are
// many.
func (in *Inbox) load(items []*item) {
	workers := min(runtime.GOMAXPROCS(0), (len(items)+3)/4)
	if workers <= 1 {
		for _, it := range items {
			in.loadOne(it)
		}
		return
	}
	var next atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(items)); i = next.Add(1) - 1 {
				in.loadOne(items[i])
			}
		})
	}
	all.Wait()
}

func (in *Inbox) loadOne(it *item) {
	err := in.read(it)
	switch {
	case err == nil:
		return
	case errors.Is(err, fs.ErrNotExist):
		it.gone = true
		return
	case transient(err):
		it.retry = err
		return
	}
	it.reason = err.Error()
	if !it.again {
		it.aside = in.cfg.Ledger.asideAt(it.label, it.digest)
	}
}

// read fills in what the file becomes. An error is the reason why it is put
// aside, unless it is transient.
func (in *Inbox) read(it *item) error {
	if it.name == (box.Name{}) {
		_, err := box.ParseName(it.entry)
		return err
	}
	raw, err := in.box.Read(it.entry)
	if err != nil {
		return err
	}
	it.size, it.digest = len(raw), sha256.Sum256(raw)
	f, err := box.Decode(raw, in.cfg.ListenerKey)
	if err != nil {
		return err
	}
	if f.Name != it.name {
		return fmt.Errorf("the file says of itself that it is %s", f.Name)
	}
	if f.Site != in.cfg.Site {
		return fmt.Errorf("the file is of site %q, this is site %q", f.Site, in.cfg.Site)
	}
	it.events, it.bad, err = translate(f, in.cfg.ResultKey, in.scope(f.Name))
	return err
}

// settle brings claimed items to their end. What the journal has, it asks the
// ledger, before and after every append: so what is stored twice is never told
// twice, and nothing is archived that is not stored. While the journal or the
// disk does not take anything, it waits; only ctx, or an error that no waiting
// mends, ends it early, and then the items are still in work.
func (in *Inbox) settle(ctx context.Context, items []*item) error {
	wait := backoff{}
	for {
		left, moved := in.finish(items)
		if len(left) == 0 {
			in.working()
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		err := moved
		if err == nil {
			err = in.append(ctx, left)
		}
		switch outcome(err) {
		case goOn:
			if err := in.confirm(left); err != nil {
				return err
			}
		case waitAndRetry:
			in.stalled(err)
			in.survey() // for the stats alone: how much waits meanwhile
			if err := wait.sleep(ctx); err != nil {
				return err
			}
		case poison:
			if err := in.poisoned(ctx, left, err); err != nil {
				return err
			}
			left = nil
		case fatal:
			return err
		}
		items = left
	}
}

// finish ends every item of which the journal has all there is to say, and
// returns the others with what is still to be appended for each.
func (in *Inbox) finish(items []*item) (left []*item, err error) {
	for _, it := range items {
		done, e := in.finishOne(it)
		if e != nil {
			err = fmt.Errorf("%w: %w", errBox, e)
		}
		if !done {
			left = append(left, it)
		}
	}
	return left, err
}

func (in *Inbox) finishOne(it *item) (done bool, err error) {
	if it.retry != nil {
		it.retry = nil
		if in.loadOne(it); it.retry != nil {
			return false, it.retry
		}
	}
	if it.gone {
		return true, nil
	}
	if it.reason == "" {
		switch v, have := in.cfg.Ledger.judge(it.name, it.digest, len(it.events)); v {
		case unseen:
			it.pending(have)
			return false, nil
		case seen:
			return in.archive(it)
		case conflict:
			in.doubt(it, "the journal has another file with this number", MessageConflict)
		case tooOld:
			in.doubt(it, "its number is too low to tell whether the journal has it", MessageConflict)
		}
	}
	if in.cfg.Ledger.asideAt(it.label, it.digest) > it.aside {
		return in.putAside(it)
	}
	return false, nil
}

// doubt turns an item that was read well into a bad one.
func (in *Inbox) doubt(it *item, reason string, alarm uint32) {
	it.reason, it.alarm = reason, alarm
	if !it.again {
		it.aside = in.cfg.Ledger.asideAt(it.label, it.digest)
	}
}

func (in *Inbox) archive(it *item) (done bool, err error) {
	err = in.box.Archive(it.entry, it.size, in.now())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	in.ended(it)
	return true, nil
}

func (in *Inbox) putAside(it *item) (done bool, err error) {
	name, err := in.box.Quarantine(it.entry, it.reason)
	switch {
	case name == "" && !errors.Is(err, fs.ErrNotExist):
		return false, err
	case err != nil:
		in.log.Warn("a bad file is put aside without its reason", "file", it.label, "reason", it.reason, "error", err)
	default:
		in.log.Warn("a bad file is put aside", "file", name, "reason", it.reason)
	}
	in.ended(it)
	return true, nil
}

// poisoned finds the one item that the journal refuses, and puts it aside.
func (in *Inbox) poisoned(ctx context.Context, items []*item, refused error) error {
	if len(items) == 1 {
		it := items[0]
		if it.reason != "" {
			return fmt.Errorf("put %s aside: %w", it.label, refused)
		}
		in.doubt(it, refused.Error(), MessageRefused)
		return in.settle(ctx, items)
	}
	for i := range items {
		if err := in.settle(ctx, items[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// errBox is wrapped by the errors of the box's disk, which may mend.
var errBox = errors.New("box is not available")

// An action is what follows from the outcome of a step.
type action int

const (
	goOn action = iota
	waitAndRetry
	poison
	fatal
)

// outcome decides what follows from err, for everything that the inbox does with
// claimed files.
func outcome(err error) action {
	switch {
	case err == nil:
		return goOn
	case errors.Is(err, journal.ErrRefused):
		return poison
	case errors.Is(err, journal.ErrUnavailable), errors.Is(err, journal.ErrUnknown), errors.Is(err, errBox):
		return waitAndRetry
	}
	return fatal
}

// transient tells whether an error of reading a file says something of this
// machine, and nothing of the file.
func transient(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// backoff is the wait between two tries.
type backoff struct{ last time.Duration }

const (
	firstWait = 50 * time.Millisecond
	lastWait  = 5 * time.Second
)

func (b *backoff) sleep(ctx context.Context) error {
	b.last = min(max(2*b.last, firstWait), lastWait)
	t := time.NewTimer(b.last)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// pending leaves in todo the events that the journal has not.
func (it *item) pending(have []bool) {
	it.todo, it.partly = it.events, have != nil
	if !it.partly {
		return
	}
	it.todo = nil
	for _, e := range it.events {
		if !have[e.Source.Part-1] {
			it.todo = append(it.todo, e)
		}
	}
}
