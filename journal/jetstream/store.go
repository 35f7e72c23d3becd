package jetstream

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/commit"
)

const (
	streamName = "JOURNAL"
	subject    = "journal.pages"
	getSubject = "$JS.API.DIRECT.GET." + streamName
)

// A store is pages as messages of a stream: page n is message n.
type store struct {
	dir    string // the journal's
	msgs   string // where the stream's files are
	server *server.Server
	conn   *nats.Conn
	pages  uint64 // when it was opened
	unlock func()

	timeout time.Duration
	well    context.Context // done, with the cause, when the disk has failed

	// Used by the appender, and by Close behind it.
	block  int  // number of the newest file
	mark   mark // as the file says, with the newest head in memory
	marked bool // the mark is known
}

// Len implements commit.Store.
func (s *store) Len(context.Context) (uint64, error) { return s.pages, nil }

// Put implements commit.Store.
func (s *store) Put(page *journal.Sealed) error {
	if err := context.Cause(s.well); err != nil {
		return fmt.Errorf("%w: %w", journal.ErrUnavailable, err)
	}
	n := page.Head.Pages
	err := s.publish(n, n-1, hex.EncodeToString(page.Head.Hash[:]), page.Bytes())
	switch {
	case errors.Is(err, journal.ErrUnavailable), errors.Is(err, journal.ErrUnknown):
		return err
	case err == nil:
		s.mark.head = page.Head
	}
	// After any other error the page is read back, and is stored if it is there.
	if err := s.syncNewBlock(); err != nil {
		return fmt.Errorf("%w: %w", journal.ErrUnknown, err)
	}
	return err
}

// An ack is the stream's answer to a message.
type ack struct {
	Seq   uint64 `json:"seq"`
	Error *struct {
		Code        int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

const codeWrongSequence = 10071 // JSStreamWrongLastSequence

// publish sends one message that must become number n behind message last.
func (s *store) publish(n, last uint64, id string, data []byte) error {
	if !s.conn.IsConnected() {
		return fmt.Errorf("%w: not connected to the embedded server", journal.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(s.well, s.timeout)
	defer cancel()
	a, err := s.send(ctx, last, id, data)
	switch {
	case err == nil && a.Error == nil && a.Seq == n:
		return nil
	case err == nil && a.Error == nil:
		return fmt.Errorf("%w: page %d was stored as message %d", journal.ErrUnknown, n, a.Seq)
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
	a, err := s.send(ctx, 1<<62, "fence", nil)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w, then %w", journal.ErrUnknown, late, err)
	case a.Error == nil || a.Error.Code != codeWrongSequence:
		return fmt.Errorf("%w: %w, then an answer that makes no sense", journal.ErrUnknown, late)
	}
	return late
}

func (s *store) send(ctx context.Context, last uint64, id string, data []byte) (a ack, err error) {
	reply, err := s.conn.RequestMsgWithContext(ctx, &nats.Msg{Subject: subject, Data: data, Header: nats.Header{
		"Nats-Msg-Id":                 {id},
		"Nats-Expected-Last-Sequence": {strconv.FormatUint(last, 10)},
	}})
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(reply.Data, &a); err != nil {
		return a, fmt.Errorf("read the stream's answer: %w", err)
	}
	return a, nil
}

// syncNewBlock makes the names of new files durable, if there are any.
func (s *store) syncNewBlock() error {
	before := s.block
	for s.hasBlock(s.block + 1) {
		s.block++
	}
	if s.block == before {
		return nil
	}
	if err := syncDir(s.msgs); err != nil {
		return err
	}
	return s.saveMark()
}

func (s *store) hasBlock(n int) bool {
	_, err := os.Lstat(filepath.Join(s.msgs, strconv.Itoa(n)+".blk"))
	return err == nil
}

func (s *store) saveMark() error {
	if !s.marked {
		return nil
	}
	return writeMark(s.dir, s.mark)
}

// Bounds of one Load.
const (
	loadPages = 1000
	loadBytes = 4 << 20
)

// Load implements commit.Store.
func (s *store) Load(ctx context.Context, n, last uint64) ([][]byte, error) {
	if n == last {
		return s.loadOne(ctx, n)
	}
	request, err := json.Marshal(map[string]uint64{"seq": n, "batch": min(last-n+1, loadPages), "max_bytes": loadBytes})
	if err != nil {
		return nil, err
	}
	sub, err := s.conn.SubscribeSync(s.conn.NewInbox())
	if err != nil {
		return nil, fmt.Errorf("load page %d: %w", n, err)
	}
	defer sub.Unsubscribe()
	if err := s.conn.PublishRequest(getSubject, sub.Subject, request); err != nil {
		return nil, fmt.Errorf("load page %d: %w", n, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var pages [][]byte
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, fmt.Errorf("load page %d: %w", n+uint64(len(pages)), err)
		}
		page, end, err := pageOf(m, n+uint64(len(pages)))
		switch {
		case end && len(pages) > 0:
			return pages, nil
		case err != nil:
			return nil, err
		}
		pages = append(pages, page)
	}
}

func (s *store) loadOne(ctx context.Context, n uint64) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	m, err := s.conn.RequestWithContext(ctx, getSubject, []byte(`{"seq":`+strconv.FormatUint(n, 10)+`}`))
	if err != nil {
		return nil, fmt.Errorf("load page %d: %w", n, err)
	}
	page, _, err := pageOf(m, n)
	if err != nil {
		return nil, err
	}
	return [][]byte{page}, nil
}

// pageOf reads an answer that should hold page n. With end set there are no
// more; err then says that page n is not there.
func pageOf(m *nats.Msg, n uint64) (page []byte, end bool, err error) {
	switch status := m.Header.Get("Status"); status {
	case "":
	case "204", "404":
		return nil, true, fmt.Errorf("load page %d: %w", n, commit.ErrNoPage)
	default:
		return nil, false, fmt.Errorf("load page %d: the stream answers %s %s", n, status, m.Header.Get("Description"))
	}
	if seq := m.Header.Get("Nats-Sequence"); seq != strconv.FormatUint(n, 10) {
		return nil, true, fmt.Errorf("load page %d: %w, page %s comes next", n, commit.ErrNoPage, seq)
	}
	return m.Data, false, nil
}

// Close implements commit.Store.
func (s *store) Close() error { return errors.Join(s.stop(), s.saveMark(), s.release()) }
