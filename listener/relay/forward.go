package relay

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/listener"
)

// ForwarderConfig is what a [Forwarder] needs.
type ForwarderConfig struct {
	Dir      string // of the listener's box
	Site     string
	Listener string
	Epoch    uint32
	Key      ed25519.PrivateKey
	Quota    int64 // bytes that the box may hold; default 4 GiB
	// Send hands files to the site, as [Client.Send] does.
	Send func(ctx context.Context, files []box.Raw) (taken int, err error)
	// Renumber says whether Run may end with [ErrBehind]; if not, or without it, a file
	// whose number the site has given to another is put aside.
	Renumber func() bool
	Log      *slog.Logger // default slog.Default()
}

// A Forwarder keeps a listener's files until the site has them.
type Forwarder struct {
	cfg   ForwarderConfig
	spool *box.Spool
	box   *box.Box

	// Drops hold counting together, what takes files away holds it alone: so no file
	// is gone before it was counted.
	counting sync.RWMutex
	used     atomic.Int64 // bytes in the box, the newest files that were sent left out
	count    atomic.Int64 // files that wait

	// Only files of the epoch with higher numbers may be merged: these the site may
	// have seen. Of the goroutine that sends.
	offered [box.DDR + 1]uint64
	merged  [box.DDR + 1]uint64 // the newest file after they were last merged
	failing bool                // the last attempt to send failed
	told    bool                // a round has dropped a message

	wake chan struct{}
}

// ErrNoCounter says that the box has no file of the epoch: what numbers were
// given cannot be told.
var ErrNoCounter = errors.New("the counter of the listener's files is gone")

// OpenForwarder opens the box, or makes it. Unless fresh says that nothing was
// ever written in the epoch, the error wraps [ErrNoCounter] if the box has nothing
// of it.
func OpenForwarder(cfg ForwarderConfig, fresh bool) (*Forwarder, error) {
	if cfg.Quota <= 0 {
		cfg.Quota = 4 << 30
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	b, err := box.Open(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open listener's box: %w", err)
	}
	f := &Forwarder{cfg: cfg, box: b, wake: make(chan struct{}, 1)}
	counted, err := f.survey()
	if err == nil && !counted && !fresh {
		err = ErrNoCounter
	}
	if err == nil {
		f.spool, err = box.OpenSpool(cfg.Dir, box.SpoolConfig{Site: cfg.Site, Listener: cfg.Listener, Epoch: cfg.Epoch, Key: cfg.Key})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open listener's box: %w", err), b.Close())
	}
	return f, nil
}

// survey counts what waits, and tells whether there is a file of the epoch.
func (f *Forwarder) survey() (counted bool, err error) {
	for _, list := range []func() (box.Listing, error){f.box.Scan, f.box.Work} {
		l, err := list()
		if err != nil {
			return false, err
		}
		for _, n := range l.Names {
			counted = counted || n.Listener == f.cfg.Listener && n.Epoch == f.cfg.Epoch
		}
	}
	entries, err := os.ReadDir(f.cfg.Dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		n, err := box.ParseName(e.Name())
		if err != nil {
			continue // it is not sent
		}
		f.offer(n) // by an earlier run, perhaps
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			f.used.Add(info.Size())
			f.count.Add(1)
		}
	}
	return counted, nil
}

// Close frees the box. Run must have returned.
func (f *Forwarder) Close() error { return f.box.Close() }

// ErrFull is wrapped by the error of Drop while the box holds its quota.
var ErrFull = errors.New("the box is full, for the site does not take its files")

// Drop is for listener.Config: it returns once c is durable here.
func (f *Forwarder) Drop(c box.Contents, from, to time.Time) error {
	if used := f.used.Load(); used >= f.cfg.Quota {
		return fmt.Errorf("drop file: %w: %d bytes wait", ErrFull, used)
	}
	return f.drop(c, from, to)
}

func (f *Forwarder) drop(c box.Contents, from, to time.Time) error {
	f.counting.RLock()
	defer f.counting.RUnlock()
	name, err := f.spool.Drop(c, from, to)
	if err != nil {
		return err
	}
	if info, err := os.Lstat(filepath.Join(f.cfg.Dir, name.String())); err == nil {
		f.used.Add(info.Size())
	}
	f.count.Add(1)
	select {
	case f.wake <- struct{}{}:
	default:
	}
	return nil
}

// Waiting is how many files the site has not said it has, and their bytes.
func (f *Forwarder) Waiting() (files, bytes int64) {
	return max(0, f.count.Load()), max(0, f.used.Load())
}

const (
	sendFiles  = MaxFiles
	sendBytes  = 4 << 20 // and one file more
	rescan     = time.Second
	sendAgain  = 250 * time.Millisecond
	maxAgain   = 2 * time.Second // for that long the site may be back without getting anything
	lookAnyhow = 10 * time.Second
	crowd      = 256 // files of a kind that were never sent are merged
)

// Run sends files on until ctx ends, or with [ErrBehind].
func (f *Forwarder) Run(ctx context.Context) error {
	wait := sendAgain
	for {
		more, err := f.round(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrBehind):
			return err
		case err != nil:
			if !errors.Is(err, ErrAway) {
				f.cfg.Log.Warn("the site does not take files", "listener", f.cfg.Listener, "wait", wait, "error", reason(err))
			}
			if !f.rest(ctx, wait) {
				return nil
			}
			wait = min(2*wait, maxAgain)
			continue
		}
		wait = sendAgain
		if !more && !f.await(ctx) {
			return nil
		}
	}
}

// rest waits for d; meanwhile what is dropped is merged.
func (f *Forwarder) rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-f.wake:
			f.merge()
		case <-t.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// reason is an error in words; of a refusal, what the site said.
func reason(err error) string {
	if no, ok := errors.AsType[*listener.JoinRefused](err); ok {
		return no.Title + ": " + no.Detail
	}
	return err.Error()
}

// Drain sends what waits, until nothing does, or ctx ends. Nothing may be dropped
// meanwhile.
func (f *Forwarder) Drain(ctx context.Context) error {
	for {
		more, err := f.round(ctx)
		if err != nil || !more {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (f *Forwarder) await(ctx context.Context) bool {
	t := time.NewTimer(lookAnyhow)
	defer t.Stop()
	select {
	case <-f.wake:
	case <-t.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// round sends what a look into the box finds, for a second: by then something
// more urgent may wait. more says that something is left. After a failure it sends
// what the site may have seen already, and no more: the rest can be merged until
// the site is back.
func (f *Forwarder) round(ctx context.Context) (more bool, err error) {
	f.merge()
	f.told = false
	l, err := f.box.Scan()
	if err == nil && len(l.Names) > 0 {
		// A drop under way may have put a file there that is not durable yet: were it
		// sent and then lost, its number would be given to another file.
		err = durable.SyncFolder(f.cfg.Dir)
	}
	if err != nil {
		return false, err
	}
	if len(l.Names) == 0 {
		return false, f.settle()
	}
	names, left := l.Names, l.Total > len(l.Names)
	if f.failing {
		if again := slices.DeleteFunc(slices.Clone(names), f.fresh); len(again) > 0 {
			names, left = again, true
		}
	}
	f.failing = true
	until := time.Now().Add(rescan)
	for len(names) > 0 {
		files, n, err := f.load(names)
		if err != nil {
			return false, err
		}
		if err := f.send(ctx, files); err != nil {
			return false, err
		}
		f.failing = false
		if names = names[n:]; len(names) > 0 && time.Now().After(until) {
			return true, nil
		}
	}
	return left || f.told, nil
}

// settle counts anew once nothing waits: somebody may have put files into the
// folder, or taken them out.
func (f *Forwarder) settle() error {
	f.counting.Lock()
	defer f.counting.Unlock()
	l, err := f.box.Scan()
	if err == nil && l.Total == 0 {
		f.used.Store(0)
		f.count.Store(0)
	}
	return err
}

// load reads the next files, and says how many names it has dealt with.
func (f *Forwarder) load(names []box.Name) (files []box.Raw, done int, err error) {
	for size := 0; done < len(names) && len(files) < sendFiles && size < sendBytes; done++ {
		b, err := os.ReadFile(filepath.Join(f.cfg.Dir, names[done].String()))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, 0, err
		case len(b) > box.MaxFile:
			if err := f.putAside(names[done], "the file is too large"); err != nil {
				return nil, 0, err
			}
			continue
		case len(files) > 0 && size+len(b) > box.MaxFile: // together they would be more than a request may have
			return files, done, nil
		}
		f.offer(names[done])
		files = append(files, box.Raw{Name: names[done], Data: b})
		size += len(b)
	}
	return files, done, nil
}

// send sends files until the site has all of them; one that it refuses for good
// is put aside.
func (f *Forwarder) send(ctx context.Context, files []box.Raw) error {
	for len(files) > 0 {
		taken, err := f.cfg.Send(ctx, files)
		if e := f.sent(files[:taken]); e != nil {
			return e
		}
		if files = files[taken:]; err == nil {
			continue
		}
		var no *listener.JoinRefused
		if len(files) == 0 || !errors.As(err, &no) || no.Status != http.StatusConflict && no.Status != http.StatusUnprocessableEntity {
			return err
		}
		if no.Status == http.StatusConflict && f.cfg.Renumber != nil && f.cfg.Renumber() {
			return fmt.Errorf("%w: %s", ErrBehind, files[0].Name)
		}
		if err := f.putAside(files[0].Name, reason(err)); err != nil {
			return err
		}
		files = files[1:]
	}
	return nil
}

// putAside is for a file that the site will never take as it is. The site is told
// in a file of its own, for agents may rely on what is in this one.
func (f *Forwarder) putAside(n box.Name, reason string) error {
	entry := n.String()
	f.cfg.Log.Error("a file is put aside, the site does not take it", "listener", f.cfg.Listener, "file", entry, "error", reason)
	if err := f.moveAside(entry, reason); err != nil {
		return err
	}
	if n.Kind == box.SVF {
		return nil // else a site that refuses all of them would be told without end
	}
	f.told = true
	return f.message(MessageAside, 3, fmt.Sprintf("%s is put aside: %s. It holds what agents were told is safe. "+
		"Once the cause is gone, move it from box/bad back to box in the listener's folder; it is sent within seconds", entry, reason))
}

func (f *Forwarder) moveAside(entry, reason string) error {
	f.counting.Lock()
	defer f.counting.Unlock()
	if err := f.box.Claim(entry); err != nil {
		return err
	}
	size := f.box.Size(entry)
	if _, err := f.box.Quarantine(entry, reason); err != nil {
		return err
	}
	f.used.Add(-int64(size))
	f.count.Add(-1)
	return nil
}

// sent removes files that the site has, all but the newest of each sequence,
// which goes to work in place of the one that is there.
func (f *Forwarder) sent(files []box.Raw) error {
	if len(files) == 0 {
		return nil
	}
	f.counting.Lock()
	defer f.counting.Unlock()
	newest := make(map[box.Kind]box.Name)
	for i := range files {
		n := files[i].Name
		if last, ok := newest[n.Kind]; !ok || last.Compare(n) < 0 {
			newest[n.Kind] = n
		}
	}
	if err := f.keepNumbers(newest); err != nil {
		return err
	}
	for i := range files {
		n := files[i].Name
		f.used.Add(-int64(len(files[i].Data)))
		f.count.Add(-1)
		if n == newest[n.Kind] {
			continue
		}
		if err := os.Remove(filepath.Join(f.cfg.Dir, n.String())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// keepNumbers moves files to work, durably, and then removes those of their
// kinds that were there.
func (f *Forwarder) keepNumbers(newest map[box.Kind]box.Name) error {
	l, err := f.box.Work()
	if err != nil {
		return err
	}
	for _, n := range newest {
		if err := f.box.Claim(n.String()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	work := filepath.Join(f.cfg.Dir, "work")
	if err := errors.Join(durable.SyncFolder(work), durable.SyncFolder(f.cfg.Dir)); err != nil {
		return err
	}
	for _, old := range l.Names {
		if n, ok := newest[old.Kind]; ok && old.Compare(n) < 0 {
			if err := os.Remove(filepath.Join(work, old.String())); err != nil {
				return err
			}
		}
	}
	return nil
}
