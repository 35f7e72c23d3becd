package jetstream

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/commit"
	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/journal/generation"
)

// A store is pages as messages of streams, one stream for each generation. They
// are written through the embedded server and read from its files.
type store struct {
	*embedded
	dir     string // the journal's
	history [16]byte
	log     *slog.Logger
	timeout time.Duration
	step    func(done string) error
	shelf   *shelf
	stored  atomic.Pointer[journal.Head] // behind the last page that is surely in the files
	written atomic.Int64                 // bytes of pages since the store was opened
	ended   context.Context              // when the store is closed
	end     context.CancelFunc

	// Used by the appender, and by Close behind it.
	open      *live          // the open generation
	size      int64          // of its pages in bytes, about
	began     int64          // when its first event was accepted, Unix nanoseconds
	at        block.Position // behind the last page
	doubtful  block.Position // behind the page that was put last, if it is there
	newest    uint32         // number of the newest file
	mark      mark           // as the file says, with the newest head in memory
	marked    bool           // the mark is known
	unsure    bool           // the list of generations on disk may be another one
	rollAgain int64          // before this time no generation is closed by size or age
	sealBytes int64
	sealAge   time.Duration
}

// Len implements commit.Store.
func (s *store) Len(context.Context) (uint64, error) { return s.stored.Load().Pages, nil }

// Put implements commit.Store.
func (s *store) Put(page *journal.Sealed) error {
	if err := context.Cause(s.well); err != nil {
		return fmt.Errorf("%w: %w", journal.ErrUnavailable, err)
	}
	s.settle(page.Before)
	accepted := acceptedOf(page.Bytes())
	if err := s.rollIfDue(accepted); err != nil {
		return fmt.Errorf("%w: %w", journal.ErrUnavailable, err)
	}
	s.doubtful = block.Position{Head: page.Head, Accepted: accepted + int64(page.Head.Event-page.Before.Event) - 1}
	err := s.publish(s.open, page.Head.Pages, page)
	switch {
	case errors.Is(err, journal.ErrUnavailable), errors.Is(err, journal.ErrUnknown):
		return err
	case err == nil:
		s.mark.head = page.Head
	}
	// After any other error the page is read back, and is stored if it is there.
	if err := s.follow(); err != nil {
		return fmt.Errorf("%w: %w", journal.ErrUnknown, err)
	}
	if s.size == 0 {
		s.began = accepted
	}
	s.size += int64(len(page.Bytes()))
	if err != nil {
		return err
	}
	if err := s.locate(page); err != nil {
		return fmt.Errorf("%w: %w", journal.ErrUnknown, err)
	}
	s.advance(s.doubtful)
	s.written.Add(int64(len(page.Bytes())))
	return nil
}

// settle is told where the journal ends. Behind a page that was read back, and is
// there, that is news.
func (s *store) settle(end journal.Head) {
	if end != s.at.Head && end == s.doubtful.Head {
		s.advance(s.doubtful)
	}
}

// advance is for when it is known that the journal ends at a position.
func (s *store) advance(at block.Position) {
	s.at = at
	s.stored.Store(&at.Head)
}

// acceptedOf is when the first event of a page was accepted; journal/FORMAT.md
// says where that is.
func acceptedOf(raw []byte) int64 { return int64(binary.BigEndian.Uint64(raw[52:])) }

// An ack is the stream's answer to a message.
type ack struct {
	Seq   uint64 `json:"seq"`
	Error *struct {
		Code        int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

const codeWrongSequence = 10071 // JSStreamWrongLastSequence

// publish sends page n, which must become the next message of its generation.
func (s *store) publish(l *live, n uint64, page *journal.Sealed) error {
	if !s.conn.IsConnected() {
		return fmt.Errorf("%w: not connected to the embedded server", journal.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(s.well, s.timeout)
	defer cancel()
	sequence := n - l.before.Head.Pages
	a, err := s.send(ctx, l.number, sequence-1, hex.EncodeToString(page.Head.Hash[:]), page.Bytes())
	switch {
	case err == nil && a.Error == nil && a.Seq == sequence:
		return nil
	case err == nil && a.Error == nil:
		return fmt.Errorf("%w: message %d was stored as message %d", journal.ErrUnknown, sequence, a.Seq)
	case err == nil && a.Error.Code == codeWrongSequence:
		return fmt.Errorf("somebody else wrote to the stream: %s", a.Error.Description)
	case err == nil:
		// A refusal with a reason comes before anything is written; a failure of
		// the disk gets no answer at all.
		return fmt.Errorf("%w: %s", journal.ErrUnavailable, a.Error.Description)
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: the stream does not answer", journal.ErrUnavailable)
	case s.well.Err() != nil:
		return fmt.Errorf("%w: %w", journal.ErrUnknown, context.Cause(s.well))
	case !errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", journal.ErrUnknown, err)
	}
	return s.fence(fmt.Errorf("no answer within %s", s.timeout))
}

// fence waits until the stream has dealt with everything sent before, by a
// message that it must refuse. After that reading back tells the truth; a
// message that is still on its way would make a liar of it.
func (s *store) fence(late error) error {
	ctx, cancel := context.WithTimeout(s.well, s.timeout)
	defer cancel()
	a, err := s.send(ctx, s.open.number, 1<<62, "fence", nil)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w, then %w", journal.ErrUnknown, late, err)
	case a.Error == nil || a.Error.Code != codeWrongSequence:
		return fmt.Errorf("%w: %w, then an answer that makes no sense", journal.ErrUnknown, late)
	}
	return late
}

func (e *embedded) send(ctx context.Context, generation uint32, last uint64, id string, data []byte) (a ack, err error) {
	reply, err := e.conn.RequestMsgWithContext(ctx, message(generation, last, id, data))
	if err != nil {
		return a, err
	}
	return readAck(reply.Data)
}

// message is a page to be published behind message last of its generation.
func message(generation uint32, last uint64, id string, data []byte) *nats.Msg {
	return &nats.Msg{Subject: subject(generation), Data: data, Header: nats.Header{
		"Nats-Msg-Id":                 {id},
		"Nats-Expected-Last-Sequence": {strconv.FormatUint(last, 10)},
	}}
}

func readAck(data []byte) (a ack, err error) {
	if err := json.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("read the stream's answer: %w", err)
	}
	return a, nil
}

// follow takes up the files that JetStream has begun.
func (s *store) follow() error {
	if !s.open.hasFile(s.newest + 1) {
		return nil
	}
	if err := durable.SyncFolder(s.open.msgs); err != nil {
		return err
	}
	files, err := block.Files(s.open.msgs)
	if err != nil {
		return err
	}
	s.newest = s.open.follow(files, s.at)
	return s.saveMark()
}

// locate notes where the page is that was just put: at the end of the newest
// file.
func (s *store) locate(page *journal.Sealed) error {
	b := s.open.newest()
	if b == nil {
		return errors.New("there is no file of messages")
	}
	info, err := os.Stat(b.file.Path)
	if err != nil {
		return err
	}
	size := int64(len(page.Bytes()))
	b.put(page.Head.Pages, span{uint32(info.Size() - recordSum - size), uint32(size)})
	return nil
}

func (l *live) hasFile(n uint32) bool {
	_, err := os.Lstat(filepath.Join(l.msgs, strconv.Itoa(int(n))+".blk"))
	return err == nil
}

func (s *store) saveMark() error {
	if !s.marked {
		return nil
	}
	return writeMark(s.dir, s.mark)
}

// Load implements commit.Store.
func (s *store) Load(ctx context.Context, n, last uint64) ([][]byte, error) {
	end := *s.stored.Load()
	if n > end.Pages {
		return s.ask(ctx, n)
	}
	return s.shelf.load(ctx, n, min(last, end.Pages), end)
}

// ask asks the embedded server for a page of which it is not known whether it is
// stored.
func (s *store) ask(ctx context.Context, n uint64) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	sequence := n - s.open.before.Head.Pages
	m, err := s.conn.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+generation.Stream(s.open.number), []byte(`{"seq":`+strconv.FormatUint(sequence, 10)+`}`))
	if err != nil {
		return nil, fmt.Errorf("load page %d: %w", n, err)
	}
	switch status := m.Header.Get("Status"); status {
	case "":
	case "204", "404":
		return nil, fmt.Errorf("load page %d: %w", n, commit.ErrNoPage)
	default:
		return nil, fmt.Errorf("load page %d: the stream answers %s %s", n, status, m.Header.Get("Description"))
	}
	if got := m.Header.Get("Nats-Sequence"); got != strconv.FormatUint(sequence, 10) {
		return nil, fmt.Errorf("load page %d: %w, message %s comes next", n, commit.ErrNoPage, got)
	}
	return [][]byte{m.Data}, nil
}

// Close implements commit.Store. What must be written behind it is the keeper's.
func (s *store) Close() error {
	s.end()
	s.stop()
	s.shelf.close()
	return s.saveMark()
}
