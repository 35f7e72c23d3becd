package feed

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/listener"
)

// SavedFor is how long after the feed was heard last a [Saved] still begins with
// what is on disk. It bounds for how long a device that was blocked meanwhile is let
// in by a listener that starts while its site is away.
const SavedFor = 24 * time.Hour

const (
	heardEvery = time.Minute
	leastSaved = 1 << 20 // bytes behind the state, before it is written anew
	recordHead = 4 + 4 + 8
	clockBack  = time.Hour // by which the clock may have been set back since
)

// ErrSaved is the error of [Saved.Next] behind what was on disk: the site's own
// feed begins next.
var ErrSaved = errors.New("that was what the site said last; its feed is to be read")

// A Saved is a feed that is kept in a file, as it comes. If the site is away when it
// begins, in a process that has heard nothing of it yet, it tells what is in the file,
// as whole; from then on it is the feed again. One goroutine calls Next, and then
// Close; any one [Saved.Heard].
//
// What the site says while nobody listens is not in the file. That is what [SavedFor]
// is about. A site that answers, and does not let this listener read, is not away.
type Saved struct {
	feed Source
	path string
	log  *slog.Logger
	now  func() time.Time

	begun bool // something was told in this process
	tell  []listener.Update

	mu       sync.Mutex
	fresh    *state // that is being told, before it is whole; else nil
	kept     *state // what the file says
	file     *os.File
	number   uint64 // of the last record
	size     int64  // of the state in the file
	appended int64  // bytes behind it
	heard    time.Time
}

// NewSaved keeps what feed tells in the file at path, which nobody else may write.
func NewSaved(feed Source, path string, log *slog.Logger) *Saved {
	return &Saved{feed: feed, path: path, log: log, now: time.Now, fresh: newState()}
}

// Next implements [listener.Feed].
func (s *Saved) Next(ctx context.Context) (listener.Update, error) {
	if s.tell != nil {
		return s.nextSaved()
	}
	u, err := s.feed.Next(ctx)
	if err == nil {
		s.begun = true
		s.keep(u)
		return u, nil
	}
	if ctx.Err() != nil {
		return nil, err
	}
	s.broke()
	if s.begun || !isAway(err) {
		return nil, err
	}
	saved, heard, lerr := s.load()
	switch {
	case errors.Is(lerr, fs.ErrNotExist):
		return nil, err
	case lerr != nil:
		s.log.Warn("the site is away, and what it said last is not used", "file", s.path, "error", lerr)
		return nil, err
	}
	s.begun, s.tell = true, saved
	s.log.Warn("the site is away; agents are served by what it said last", "heard", heard, "error", err)
	return s.nextSaved()
}

func (s *Saved) nextSaved() (listener.Update, error) {
	if len(s.tell) == 0 {
		s.tell = nil
		return nil, ErrSaved
	}
	u := s.tell[0]
	s.tell = s.tell[1:]
	return u, nil
}

// isAway tells whether nobody answered.
func isAway(err error) bool {
	var op *net.OpError
	var late net.Error
	return errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &op) && op.Op == "dial" || errors.As(err, &late) && late.Timeout()
}

// keep takes in what was told. What a listener must not forget is on disk before it
// is told: who is blocked, keys, and cancels.
func (s *Saved) keep(u listener.Update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fresh != nil {
		s.fresh.apply(u)
		if _, whole := u.(listener.Whole); whole {
			s.kept, s.fresh = s.fresh, nil
			s.rewrite()
		}
		return
	}
	s.kept.apply(u)
	if s.file == nil {
		return // the disk does not take it, Heard tries again
	}
	lasting := true
	switch u := u.(type) {
	case listener.OpenOperation, listener.ReleaseWave:
		lasting = false
	case listener.EndOperation:
		lasting = len(u.Cancel) > 0
	}
	n, err := s.record(s.file, u)
	if err == nil && lasting {
		err = s.file.Sync()
	}
	if s.appended += n; err != nil {
		s.lose(err)
	} else if s.appended > max(leastSaved, 2*s.size) {
		s.rewrite()
	}
}

// broke notes that the feed begins anew.
func (s *Saved) broke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fresh = newState()
}

// Heard says that the feed holds, if it does. It is called every few seconds; what
// is in the file is as old as the last call.
func (s *Saved) Heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fresh != nil || s.now().Sub(s.heard) < heardEvery {
		return
	}
	if s.file == nil {
		s.rewrite()
		return
	}
	n, err := s.record(s.file, nil)
	if s.appended += n; err != nil {
		s.lose(err)
	}
}

// rewrite replaces the file by one with the state; s.mu is held.
func (s *Saved) rewrite() {
	s.close()
	if err := s.writeState(s.path + ".new"); err != nil {
		s.lose(err)
		return
	}
	err := durable.Rename(s.path+".new", s.path)
	if err == nil {
		s.file, err = os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND, 0)
	}
	if err != nil {
		s.lose(err)
	}
}

func (s *Saved) writeState(path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<16)
	s.number, s.size, s.appended = 0, 0, 0
	for u := range s.kept.updates(s.now(), nil) {
		n, err := s.record(w, u)
		if err != nil {
			return err
		}
		s.size += n
	}
	return errors.Join(w.Flush(), f.Sync())
}

// record writes one record, that the feed was heard if u is nil; FORMAT.md has it.
func (s *Saved) record(w io.Writer, u listener.Update) (n int64, err error) {
	b := make([]byte, recordHead, 1<<10)
	if u != nil {
		s.number++
		m := Message{Number: s.number, Update: u}
		if b, err = m.Append(b); err != nil {
			return 0, err
		}
	}
	s.heard = s.now()
	binary.BigEndian.PutUint32(b, uint32(len(b)-recordHead))
	binary.BigEndian.PutUint64(b[8:], uint64(s.heard.UnixNano()))
	binary.BigEndian.PutUint32(b[4:], crc32.ChecksumIEEE(b[8:]))
	wrote, err := w.Write(b)
	return int64(wrote), err
}

// lose ends the file, for it does not hold any more what was told: it would let in
// who is blocked; s.mu is held.
func (s *Saved) lose(why error) {
	s.close()
	err := os.Remove(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	s.heard = s.now() // Heard tries again in a while
	s.log.Error("what the site says is not kept for a start without it", "file", s.path, "error", errors.Join(why, err))
}

func (s *Saved) close() {
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}

// Close hangs up. Next must not be under way.
func (s *Saved) Close() error {
	err := s.feed.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil && s.fresh == nil {
		if _, werr := s.record(s.file, nil); werr == nil {
			werr = s.file.Sync()
			err = errors.Join(err, werr)
		}
	}
	s.close()
	return err
}

// errSaved is wrapped by the errors of a file that is not used.
var errSaved = errors.New("it is damaged")

// load reads the file: the state in it, Whole at the end, and when the feed was
// heard last.
func (s *Saved) load() (all []listener.Update, heard time.Time, err error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, heard, err
	}
	defer f.Close()
	kept, heard, err := readSaved(bufio.NewReaderSize(f, 1<<16))
	if err != nil {
		return nil, heard, err
	}
	now := s.now()
	if age := now.Sub(heard); age > SavedFor || age < -clockBack {
		return nil, heard, fmt.Errorf("the site was heard last at %s, and that counts for %s", heard.Format(time.RFC3339), SavedFor)
	}
	return slices.Collect(kept.updates(now, nil)), heard, nil
}

// readSaved reads records to their end. The last one may have been cut short by a
// crash; anything else that is wrong means that something is missing.
func readSaved(r io.Reader) (kept *state, heard time.Time, err error) {
	kept = newState()
	whole, number := false, uint64(0)
	var head [recordHead]byte
	var body []byte
	for {
		if _, err = io.ReadFull(r, head[:]); err != nil {
			break
		}
		n := binary.BigEndian.Uint32(head[:])
		if n > MaxMessage {
			return nil, heard, fmt.Errorf("%w: a record of %d bytes", errSaved, n)
		}
		body = slices.Grow(body[:0], int(n))[:n]
		if _, err = io.ReadFull(r, body); err != nil {
			break
		}
		sum := crc32.Update(crc32.ChecksumIEEE(head[8:]), crc32.IEEETable, body)
		if sum != binary.BigEndian.Uint32(head[4:]) {
			return nil, heard, fmt.Errorf("%w: the checksum of a record is wrong", errSaved)
		}
		heard = time.Unix(0, int64(binary.BigEndian.Uint64(head[8:]))).UTC()
		if n == 0 {
			continue
		}
		m, err := Decode(slices.Clone(body)) // what it holds may point into it
		if err != nil {
			return nil, heard, fmt.Errorf("%w: %w", errSaved, err)
		}
		if number++; m.Number != number || m.Update == nil {
			return nil, heard, fmt.Errorf("%w: no update where number %d must be", errSaved, number)
		}
		_, end := m.Update.(listener.Whole)
		whole = whole || end
		kept.apply(m.Update)
	}
	switch {
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, heard, err
	case !whole:
		return nil, heard, fmt.Errorf("%w: the state ends early", errSaved)
	}
	return kept, heard, nil
}
