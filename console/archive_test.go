package console_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/tree"
)

func (checkpoints) BuilderAt(context.Context, journal.Head) (*tree.Builder, error) {
	return nil, tree.ErrCache
}

func (checkpoints) BuilderBefore(context.Context, uint64) (*tree.Builder, error) {
	return nil, tree.ErrCache
}

func (checkpoints) CheckpointAt(context.Context, journal.Head) ([]byte, tree.Checkpoint, error) {
	return nil, tree.Checkpoint{}, tree.ErrCache
}

// unsealed is a tree that cannot sign.
type unsealed struct{ *tree.Tree }

func (unsealed) CheckpointAt(context.Context, journal.Head) ([]byte, tree.Checkpoint, error) {
	return nil, tree.Checkpoint{}, tree.ErrCache
}

var archiveHistory = [16]byte{1, 2, 3}

// newArchiveRig is a rig whose tree is one; checkpoints may change what the
// console sees of it.
func newArchiveRig(t *testing.T, checkpoints func(*tree.Tree) console.Checkpoints) *rig {
	t.Helper()
	r := newRig(t)
	tr, err := tree.Open(filepath.Join(r.dir, "tree"), tree.Options{
		Journal: r.journal, Origin: fmt.Sprintf("bugle.P01/%x", archiveHistory), Key: r.authority.HeadKey(),
		Log: slog.New(slog.DiscardHandler), Every: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- tr.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, tr.Close()); err != nil {
			t.Error(err)
		}
	})
	cfg := r.config()
	cfg.Checkpoints = checkpoints(tr)
	if r.console, err = console.New(cfg); err != nil {
		t.Fatal(err)
	}
	r.server = httptest.NewServer(r.console.Handler())
	t.Cleanup(r.server.Close)
	return r
}

func itself(tr *tree.Tree) console.Checkpoints { return tr }

// pages appends pages of so many events each.
func (r *rig) pages(counts ...int) {
	r.t.Helper()
	for _, n := range counts {
		var all []*event.Event
		for range n {
			all = append(all, &event.Event{Payload: &event.TokenRevoked{Token: "t"}})
		}
		if err := r.journal.Append(r.t.Context(), all...); err != nil {
			r.t.Fatal(err)
		}
	}
}

// archive gets an archive and checks every byte of it.
func (r *rig) archive(query string) archive.Report {
	r.t.Helper()
	got := r.do(http.MethodGet, console.PathArchive+query, nil)
	if got.status != http.StatusOK || got.header.Get("Content-Type") != console.MediaArchive {
		r.t.Fatalf("answer %d: %.200s", got.status, got.body)
	}
	s, err := archive.NewStream(bytes.NewReader(got.body))
	if err != nil {
		r.t.Fatal(err)
	}
	report, err := s.Verify(r.t.Context(), r.authority.HeadPublicKey(), nil)
	if err != nil || !report.OK || !report.Signed || report.Info.History != archiveHistory {
		r.t.Fatalf("%+v, %v", report, err)
	}
	return report
}

// The archive holds whole pages, the call's own event included, signed for
// exactly these; that it was given away is in the journal.
func TestArchive(t *testing.T) {
	r := newArchiveRig(t, itself)
	r.pages(1, 3, 2)
	report := r.archive("?reason=audit")
	if i := report.Info; i.Before != (journal.Head{}) || i.End != r.journal.Head() || i.End.Event != 7 {
		t.Errorf("archive of %+v to %+v, the journal ends with %+v", i.Before, i.End, r.journal.Head())
	}
	e := r.last()
	p, ok := e.Payload.(*event.JournalExported)
	if !ok || p.From != 1 || p.To != 6 || p.Format != "archive" || p.Reason != "audit" || e.Actor.Subject == "" {
		t.Errorf("the journal says %+v by %+v", e.Payload, e.Actor)
	}
	for query, want := range map[string][2]uint64{
		"?from=3&to=3":            {1, 4}, // the page of events 2 to 4
		"?from=5&to=5":            {4, 6}, // of 5 and 6
		"?from=1&to=2":            {0, 4}, // two pages
		"?to=1&for=backup":        {0, 1}, //
		"?from=4&to=5":            {1, 6}, //
		"?from=2&to=2&reason=why": {1, 4}, //
	} {
		if i := r.archive(query).Info; i.Before.Event != want[0] || i.End.Event != want[1] {
			t.Errorf("%s: behind event %d to event %d, want %v", query, i.Before.Event, i.End.Event, want)
		}
	}
	if head := r.journal.Head().Event; r.archive(fmt.Sprintf("?from=%d", head+1)).Info.Before.Event != head {
		t.Error("from behind the end: not what was appended by the call alone")
	}
}

func TestArchiveThatCannotBeMade(t *testing.T) {
	r := newArchiveRig(t, itself)
	r.pages(1, 3, 2)
	for query, words := range map[string]string{
		"?from=3&to=2": "before event 3",
		"?to=7":        "Event 7 is not there yet",
		"?from=8":      "Event 8 is not there yet",
		"?for=fun":     "for",
		"?from=x":      "from",
		"?until=3":     "until",
		"?from=-1":     "from",
	} {
		r.do(http.MethodGet, console.PathArchive+query, nil).problem(http.StatusUnprocessableEntity, words)
	}
	if n := r.journal.Head().Event; n != 6 {
		t.Errorf("the journal has %d events, it had 6", n)
	}
	if got := r.send("", http.MethodGet, console.PathArchive, nil); got.status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", got.status)
	}
}

// An archive that cannot be ended is broken off: nobody takes it for the whole.
func TestArchiveBreaksOff(t *testing.T) {
	r := newArchiveRig(t, func(tr *tree.Tree) console.Checkpoints { return unsealed{tr} })
	r.pages(1, 3, 2)
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.URL+console.PathArchive, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+r.token)
	p, err := r.server.Client().Do(q)
	if err == nil {
		_, err = io.Copy(io.Discard, p.Body)
		p.Body.Close()
	}
	if err == nil {
		t.Error("it came to a good end")
	}
}

// A caller who goes away frees his place, whatever is left to be sent.
func TestArchiveCallerGoesAway(t *testing.T) {
	r := newArchiveRig(t, itself)
	long := strings.Repeat("x", event.MaxText)
	for range 40 {
		var all []*event.Event
		for i := range 100 {
			// What compresses badly: more than what lies in buffers on the way.
			all = append(all, &event.Event{Payload: &event.SiteMessage{Component: "c", Severity: event.Info, Text: noise(i, long)}})
		}
		if err := r.journal.Append(t.Context(), all...); err != nil {
			t.Fatal(err)
		}
	}
	const more = 70 // than there are places
	for range more {
		ctx, cancel := context.WithCancel(t.Context())
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, r.server.URL+console.PathArchive+"?to=4000", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+r.token)
		p, err := r.server.Client().Do(q)
		if err != nil {
			t.Fatal(err)
		}
		if p.StatusCode != http.StatusOK && p.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("answer %d", p.StatusCode)
		}
		if p.StatusCode == http.StatusOK {
			if _, err := io.ReadFull(p.Body, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		p.Body.Close()
	}
	r.server.Close() // waits until all calls have ended
}

// noise is a text that no two events share.
func noise(i int, like string) string {
	b := []byte(like)
	x := uint64(i)*0x9e3779b97f4a7c15 + 1
	for k := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[k] = 'a' + byte(x%26)
	}
	return string(b)
}
