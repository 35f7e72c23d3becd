package feed

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A Source is a reading of the site's feed from its beginning.
type Source interface {
	listener.Feed
	Close() error
}

// PublisherConfig is what a [Publisher] needs. Functions are called from many
// goroutines at once.
type PublisherConfig struct {
	Dir     string // of the stream; emptied at the start
	Address string // host:port to listen on

	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	ClientCAs   func() *x509.CertPool // who may vouch for listeners
	// Admit says which listener shows a certificate, which was verified, or why it
	// is not let in, such as one that was revoked.
	Admit func(*x509.Certificate) (wire.ListenerIdentity, error)

	// Source begins a reading.
	Source func() (Source, error)
	// Answered returns who has answered these operations finally: nothing of one that
	// it does not know, nil of one that is sent to nobody any more, whose end the
	// source may not tell. It spares agents to be sent again what they answered. If it
	// is nil nobody can tell.
	Answered func(told []task.ID) (map[task.ID]*task.Targets, error)

	Log *slog.Logger // default slog.Default()
}

// A Publisher writes a site's feed for listeners that run apart.
type Publisher struct {
	cfg     PublisherConfig
	address string
	nest    *nest // of the goroutine of Run
	changes int   // between two states, at least

	mu    sync.Mutex
	begin begin // of the newest state, zero if there is none
}

// A begin is where a listener starts.
type begin struct {
	generation [16]byte
	number     uint64
	sequence   uint64 // in the stream
}

// NewPublisher empties the folder and listens. Listeners learn something once
// [Publisher.Run] runs.
func NewPublisher(cfg PublisherConfig) (*Publisher, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	p := &Publisher{cfg: cfg, changes: minChanges}
	if cfg.Dir == "" || cfg.Certificate == nil || cfg.ClientCAs == nil || cfg.Admit == nil || cfg.Source == nil {
		return nil, errors.New("publish feed: folder, certificates, admission or source is missing")
	}
	// The server would only say that it does not listen, not why.
	try, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("publish feed: %w", err)
	}
	try.Close()
	if err := p.open(cfg.Address); err != nil {
		return nil, fmt.Errorf("publish feed: %w", err)
	}
	p.address = p.nest.address()
	return p, nil
}

// Address is where listeners connect, as host:port.
func (p *Publisher) Address() string { return p.address }

// Close ends the server. Run must have returned.
func (p *Publisher) Close() error {
	p.nest.close()
	return nil
}

func (p *Publisher) open(address string) error {
	if err := os.RemoveAll(p.cfg.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(p.cfg.Dir, 0o700); err != nil {
		return err
	}
	n, err := p.openNest(address)
	if err != nil {
		return err
	}
	p.nest = n
	return nil
}

const (
	backOff    = 100 * time.Millisecond
	maxBackOff = 10 * time.Second
)

// Run publishes until ctx ends, and returns nil. If the source breaks, or the
// server's disk, it begins again with an empty folder, and so do all listeners.
func (p *Publisher) Run(ctx context.Context) error {
	wait := backOff
	for {
		began := time.Now()
		err := p.generation(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > maxBackOff {
			wait = backOff
		}
		p.cfg.Log.Error("the feed of other listeners broke and begins again", "wait", wait, "error", err)
		if !sleep(ctx, wait) {
			return nil
		}
		wait = min(2*wait, maxBackOff)
		if err := p.again(); err != nil {
			p.cfg.Log.Error("the feed's server does not start", "error", err)
		}
	}
}

// again starts the server anew at the address that it had.
func (p *Publisher) again() error {
	p.setBegin(begin{})
	p.nest.close()
	return p.open(p.address)
}

// Limits of what stands between two states.
const (
	stateEvery = time.Hour
	minChanges = 10_000
)

// A writer writes one generation.
type writer struct {
	p          *Publisher
	generation [16]byte
	number     uint64
	buf        []byte

	state   *state
	changes int // since the newest begin
}

// generation publishes one reading of the source, until it breaks or ctx ends.
func (p *Publisher) generation(ctx context.Context) error {
	source, err := p.cfg.Source()
	if err != nil {
		return fmt.Errorf("begin to read: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	read := read(ctx, source)
	defer func() {
		cancel()
		for range read { // until the source is at rest
		}
		source.Close()
	}()
	w := &writer{p: p, state: newState()}
	rand.Read(w.generation[:])
	if err := w.begin(ctx); err != nil {
		return err
	}
	asked, err := p.answer(ctx)
	if err != nil {
		return err
	}
	defer asked.Unsubscribe()
	return w.run(ctx, read)
}

type reading struct {
	update listener.Update
	err    error
}

// read hands over what a source tells until its first error.
func read(ctx context.Context, source Source) <-chan reading {
	out := make(chan reading)
	go func() {
		defer close(out)
		for {
			u, err := source.Next(ctx)
			select {
			case out <- reading{u, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}

func (w *writer) run(ctx context.Context, read <-chan reading) error {
	hourly := time.NewTicker(stateEvery)
	defer hourly.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	whole := false
	for {
		select {
		case r := <-read:
			if r.err != nil {
				return fmt.Errorf("read feed: %w", r.err)
			}
			if err := w.take(ctx, r.update); err != nil {
				return err
			}
			if _, ok := r.update.(listener.Whole); ok {
				whole = true
			}
			if w.changes < max(w.p.changes, 4*w.state.size()) {
				continue
			}
		case <-hourly.C:
		case <-second.C:
			w.p.nest.door.expel(w.p.nest.server)
			continue
		case <-w.p.nest.broken.Done():
			return context.Cause(w.p.nest.broken)
		case <-ctx.Done():
			return ctx.Err()
		}
		if whole {
			if err := w.tellState(ctx); err != nil {
				return err
			}
		}
	}
}

func (w *writer) take(ctx context.Context, u listener.Update) error {
	_, err := w.write(ctx, &Message{Update: u})
	if errors.Is(err, ErrMessage) {
		w.p.cfg.Log.Error("an update is not told to other listeners", "error", err)
		return nil
	}
	w.state.apply(u)
	w.changes++
	return err
}

// write makes a message durable in the stream's sense and returns its sequence.
func (w *writer) write(ctx context.Context, m *Message) (uint64, error) {
	m.Generation, m.Number = w.generation, w.number+1
	b, err := m.Append(w.buf[:0])
	if err != nil {
		return 0, err
	}
	w.number++
	if w.buf = b; cap(b) > 1<<20 {
		w.buf = nil
	}
	ack, err := w.p.nest.api.Publish(ctx, subject, b, js.WithExpectStream(streamName))
	if err != nil {
		return 0, fmt.Errorf("publish message %d: %w", w.number, err)
	}
	return ack.Sequence, nil
}

// begin begins a state; from now on listeners start there.
func (w *writer) begin(ctx context.Context) error {
	sequence, err := w.write(ctx, &Message{Begin: true})
	if err != nil {
		return err
	}
	w.changes = 0
	w.p.setBegin(begin{w.generation, w.number, sequence})
	return nil
}

// tellState writes the state as it is behind all messages so far.
func (w *writer) tellState(ctx context.Context) error {
	var answered map[task.ID]*task.Targets
	if w.p.cfg.Answered != nil {
		var err error
		if answered, err = w.p.cfg.Answered(slices.Collect(maps.Keys(w.state.open))); err != nil {
			w.p.cfg.Log.Warn("who has answered is not known to the feed", "error", err)
		}
	}
	last := w.p.newest().sequence
	if err := w.begin(ctx); err != nil {
		return err
	}
	for u := range w.state.updates(time.Now(), answered) {
		if _, err := w.write(ctx, &Message{Update: u}); err != nil {
			return err
		}
	}
	return w.p.nest.forget(ctx, last)
}

// forget removes what stands before a sequence.
func (n *nest) forget(ctx context.Context, before uint64) error {
	s, err := n.api.Stream(ctx, streamName)
	if err == nil {
		err = s.Purge(ctx, js.WithPurgeSequence(before))
	}
	if err != nil {
		return fmt.Errorf("remove what is old from the stream: %w", err)
	}
	return nil
}

func (p *Publisher) setBegin(b begin) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begin = b
}

func (p *Publisher) newest() begin {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begin
}

// answer tells listeners where to start, each in its own inbox: what asks for an
// answer elsewhere would have the publisher write where the asker may not.
func (p *Publisher) answer(ctx context.Context) (*nats.Subscription, error) {
	n := p.nest
	return n.conn.Subscribe(beginPrefix+"*", func(m *nats.Msg) {
		name := strings.TrimPrefix(m.Subject, beginPrefix)
		if !strings.HasPrefix(m.Reply, inbox(name)+".") {
			return
		}
		at := p.newest()
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		err := n.place(ctx, name, at.sequence)
		if err != nil {
			p.cfg.Log.Warn("a listener cannot begin to read the feed", "listener", name, "error", err)
		}
		if b, err := encodePlace(at, err); err == nil {
			m.Respond(b)
		}
	})
}

const maxReason = 256

// encodePlace is the answer to who asks where to start.
func encodePlace(at begin, failed error) ([]byte, error) {
	return bounded.Encode(nil, func(w *bounded.Writer) {
		w.Array(4)
		w.Uint(version)
		reason := ""
		if failed != nil {
			reason = failed.Error()
		}
		w.String(reason, maxReason)
		w.Raw(at.generation[:])
		w.Uint(at.number)
	})
}

func decodePlace(b []byte) (at begin, err error) {
	reason := ""
	err = bounded.Decode(b, bounded.Limits{Bytes: 1 << 10, Depth: 1, Items: 16}, func(r *bounded.Reader) error {
		r.Version(version)
		reason = r.String(maxReason)
		r.Raw(at.generation[:])
		at.number = r.Uint64()
		r.End()
		return nil
	})
	switch {
	case err != nil:
		return at, fmt.Errorf("read where to start: %w", err)
	case reason != "":
		return at, errors.New(reason)
	}
	return at, nil
}

// sleep waits for d; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
