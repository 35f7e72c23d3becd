package listener

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
)

// A spool collects rows and drops them as files, one file at a time: the rows
// that come while a file is being written are the next file. What a file promises to
// the senders of its rows happens in durable, once it is.
type spool[R any] struct {
	gather    time.Duration // that the first row of a file waits for company
	busy      func() bool   // whether others, who come first, wait for the processors; or nil
	perFile   int           // rows
	maxRows   int           // that are held, the file under way included
	maxBytes  int
	pack      func([]R) box.Contents
	durable   func([]R, []sender) // or nil
	files     *files
	mu        sync.Mutex
	waiting   []*load[R]
	waits     int        // rows
	spare     []*load[R] // empty, with the room that they took
	rows      int        // held
	bytes     int
	full      chan struct{} // closed when a file has made room
	wake      chan struct{} // one slot: waiting has changed
	stopped   chan struct{} // no more rows come
	stopsOnce sync.Once
}

type item[R any] struct {
	row  R
	size int // in bytes, about
	at   time.Time
	from *session // that is told when the row is durable, or nil
	id   uint64   // by which its agent knows it, if the row does not say
}

// A load is what becomes one file.
type load[R any] struct {
	rows     []R
	senders  []sender // of each row
	size     int
	from, to time.Time // sessions read the clock before they offer a row, so rows may be a little out of order
}

// A sender is told when its row is durable.
type sender struct {
	session *session // or nil
	id      uint64
}

func newSpool[R any](f *files, gather time.Duration, perFile, maxRows, maxBytes int, pack func([]R) box.Contents, durable func([]R, []sender)) *spool[R] {
	return &spool[R]{gather: gather, perFile: perFile, maxRows: maxRows, maxBytes: maxBytes, pack: pack, durable: durable, files: f,
		full: make(chan struct{}), wake: make(chan struct{}, 1), stopped: make(chan struct{})}
}

// offer takes a row if there is room; if not, the channel it returns is closed
// once there is some.
func (s *spool[R]) offer(it item[R]) (full <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rows > 0 && (s.rows >= s.maxRows || s.bytes+it.size > s.maxBytes) {
		return s.full
	}
	s.rows++
	s.bytes += it.size
	s.loadFor(it.size).add(&it)
	if s.waits++; s.waits == 1 || s.waits == s.perFile {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// loadFor is the last load, or a new one if that has no room for so many bytes.
func (s *spool[R]) loadFor(size int) *load[R] {
	if n := len(s.waiting); n > 0 {
		last := s.waiting[n-1]
		if len(last.rows) < s.perFile && last.size+size <= fileBytes {
			return last
		}
	}
	l := new(load[R])
	if n := len(s.spare); n > 0 {
		l, s.spare = s.spare[n-1], s.spare[:n-1]
	}
	s.waiting = append(s.waiting, l)
	return l
}

func (l *load[R]) add(it *item[R]) {
	if len(l.rows) == 0 || it.at.Before(l.from) {
		l.from = it.at
	}
	if len(l.rows) == 0 || it.at.After(l.to) {
		l.to = it.at
	}
	l.rows = append(l.rows, it.row)
	l.senders = append(l.senders, sender{it.from, it.id})
	l.size += it.size
}

// put waits for room; false means that gone was closed first and the row was not
// taken.
func (s *spool[R]) put(it item[R], gone <-chan struct{}) bool {
	for {
		full := s.offer(it)
		if full == nil {
			return true
		}
		select {
		case <-full:
		case <-gone:
			return false
		}
	}
}

// held is how many rows wait, the file under way included.
func (s *spool[R]) held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows
}

// stop says that no more rows come; run ends when the last file is durable.
func (s *spool[R]) stop() { s.stopsOnce.Do(func() { close(s.stopped) }) }

// run drops files until the spool is stopped and empty. It fails only when ctx
// ends, with rows that are not on disk.
func (s *spool[R]) run(ctx context.Context) error {
	for s.await() {
		l := s.take()
		rows := slices.Clone(l.rows) // whoever drops them may keep them
		if err := s.files.drop(ctx, s.pack(rows), l.from, l.to); err != nil {
			return err
		}
		if s.durable != nil {
			s.durable(l.rows, l.senders)
		}
		s.free(l)
	}
	return nil
}

// await waits until there is a file to write; false means there will be none.
func (s *spool[R]) await() bool {
	for {
		n, wait := s.due(time.Now())
		if n > 0 && wait <= 0 {
			return true
		}
		var timer <-chan time.Time
		if n > 0 {
			t := time.NewTimer(wait)
			defer t.Stop()
			timer = t.C
		}
		select {
		case <-timer:
		case <-s.wake:
		case <-s.stopped:
			n, _ := s.due(time.Now())
			return n > 0
		}
	}
}

func (s *spool[R]) due(now time.Time) (n int, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = s.waits
	if n > 0 && n < s.perFile {
		wait = s.waiting[0].from.Add(s.gather).Sub(now)
	}
	if n > 0 && wait <= 0 && s.busy != nil && now.Sub(s.waiting[0].from) < s.gather+mostHeld && s.busy() {
		wait = heldStep
	}
	return n, wait
}

// A file waits at most so much longer while the tasks of a push are being sent, or many
// agents sign in; that is looked at in steps. The work that a file makes, from the disk
// to the views, would have its share of the processors, and the last agents their task
// later.
const (
	mostHeld = 250 * time.Millisecond
	heldStep = 5 * time.Millisecond
	manyWait = 200 // sessions that wait for their turn
)

func (s *spool[R]) take() *load[R] {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.waiting[0]
	s.waiting = slices.Delete(s.waiting, 0, 1)
	s.waits -= len(l.rows)
	return l
}

// roomFiles is for how many files' rows the room is kept that they took: more is seldom
// needed again.
const roomFiles = 8

// free forgets the rows of a file that is done.
func (s *spool[R]) free(l *load[R]) {
	rows, size := len(l.rows), l.size
	l.reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows -= rows
	s.bytes -= size
	if len(s.spare) < roomFiles {
		s.spare = append(s.spare, l)
	}
	close(s.full)
	s.full = make(chan struct{})
}

// reset forgets the rows and keeps their room, which is not much: a load has no more
// rows than a file.
func (l *load[R]) reset() {
	clear(l.rows)
	clear(l.senders)
	*l = load[R]{rows: l.rows[:0], senders: l.senders[:0]}
}

// files drops files, again and again until each is durable, and says so when
// that begins to fail and when it works again.
type files struct {
	write   func(c box.Contents, from, to time.Time) error
	log     *slog.Logger
	message func(n messageNumber, device uint32, text string)

	dropped, failed atomic.Uint64
	last            atomic.Int64 // when a file was dropped last, Unix nanoseconds
	failing         atomic.Bool
}

const (
	dropBackOff    = 50 * time.Millisecond
	maxDropBackOff = 5 * time.Second
)

// drop returns once c is durable, or with an error when ctx ends first.
func (f *files) drop(ctx context.Context, c box.Contents, from, to time.Time) error {
	for wait := dropBackOff; ; wait = min(2*wait, maxDropBackOff) {
		err := f.write(c, from, to)
		f.note(c, err)
		if err == nil {
			return nil
		}
		if !sleep(ctx, wait) {
			return fmt.Errorf("drop %d records: %w", c.Len(), err)
		}
	}
}

func (f *files) note(c box.Contents, err error) {
	if err != nil {
		f.failed.Add(1)
		if !f.failing.Swap(true) {
			f.log.Error("files cannot be dropped; results are not acknowledged until they can", "records", c.Len(), "err", err)
			f.message(msgDropFails, 0, err.Error())
		}
		return
	}
	f.dropped.Add(1)
	f.last.Store(time.Now().UnixNano())
	if f.failing.Swap(false) {
		f.log.Info("files can be dropped again")
		f.message(msgDropWorks, 0, "files can be dropped again")
	}
}
