package tree

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

const origin = "bugle.P01/00112233445566778899aabbccddeeff"

// key is a key made of one byte, always the same.
func key(b byte) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	for i := range seed {
		seed[i] = b
	}
	return ed25519.NewKeyFromSeed(seed)
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// body is an event as the journal keeps it.
func body(token string) []byte {
	e := &event.Event{Key: "key of " + token, Actor: event.Actor{Issuer: "local", Subject: "test"}, Payload: &event.TokenCreated{Token: token, Uses: 1}}
	b, err := e.Append(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// A draft is a page that is not chained yet.
type draft struct {
	accepted int64
	bodies   [][]byte
}

// A history is a journal whose pages the test makes.
type history struct {
	mu      sync.Mutex
	pages   []*journal.Sealed
	changed chan struct{}
	closed  bool
}

func newHistory(drafts ...draft) *history {
	h := &history{changed: make(chan struct{})}
	h.add(drafts...)
	return h
}

func (h *history) add(drafts ...draft) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range drafts {
		var b journal.PageBuilder
		for _, body := range d.bodies {
			b.Add(body)
		}
		h.pages = append(h.pages, b.Seal(h.head(), d.accepted))
	}
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *history) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *history) head() journal.Head {
	if len(h.pages) == 0 {
		return journal.Head{}
	}
	return h.pages[len(h.pages)-1].Head
}

func (h *history) Head() journal.Head {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.head()
}

func (h *history) reader(from uint64, follow bool) (journal.Reader, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if from > h.head().Event+1 {
		return nil, journal.ErrAhead
	}
	at := sort.Search(len(h.pages), func(i int) bool { return h.pages[i].Head.Event >= from })
	return &historyReader{h: h, follow: follow, next: at}, nil
}

func (h *history) Read(_ context.Context, from uint64) (journal.Reader, error) {
	return h.reader(from, false)
}

func (h *history) Follow(_ context.Context, from uint64) (journal.Reader, error) {
	return h.reader(from, true)
}

type historyReader struct {
	h      *history
	next   int
	follow bool
}

func (r *historyReader) Next(ctx context.Context) (*journal.Page, error) {
	for {
		r.h.mu.Lock()
		n, changed, closed := len(r.h.pages), r.h.changed, r.h.closed
		if r.next < n && !closed {
			p := r.h.pages[r.next].Page()
			r.next++
			r.h.mu.Unlock()
			return p, ctx.Err()
		}
		r.h.mu.Unlock()
		switch {
		case closed:
			return nil, journal.ErrClosed
		case !r.follow:
			return nil, io.EOF
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *historyReader) Close() error { return nil }

// drafts makes n pages of 1, 2, 3, 4, 5, 1, 2 … events.
func drafts(n int) []draft {
	var all []draft
	for i := range n {
		d := draft{accepted: int64(1_700_000_000_000_000_000 + i*1000)}
		for k := range i%5 + 1 {
			d.bodies = append(d.bodies, body(fmt.Sprintf("token-%d-%d", i, k)))
		}
		all = append(all, d)
	}
	return all
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func options(j Journal) Options {
	return Options{Journal: j, Origin: origin, Key: key(1), Log: quiet(), Every: time.Millisecond,
		Now: func() time.Time { return time.Unix(1_700_000_100, 999) }}
}

func open(t testing.TB, dir string, opts Options) *Tree {
	t.Helper()
	tr, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

// start runs a tree; stop ends it and returns the error of Run.
func start(tr *Tree) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	return sync.OnceValue(func() error {
		cancel()
		return <-done
	})
}

// catchUp runs a tree until all of the journal is signed.
func catchUp(t testing.TB, tr *Tree) {
	t.Helper()
	stop := start(tr)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := tr.Wait(ctx, tr.opts.Journal.Head().Event); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// built is a tree over n pages that was signed and closed again, and its
// checkpoint.
func built(t testing.TB, n int) (dir string, h *history, c Checkpoint) {
	t.Helper()
	dir, h = t.TempDir(), newHistory(drafts(n)...)
	tr := open(t, dir, options(h))
	catchUp(t, tr)
	_, c = tr.Checkpoint()
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, h, c
}
