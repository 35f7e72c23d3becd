package relay

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener"
)

// A receiver is what Send is given to.
type receiver struct {
	mu    sync.Mutex
	names []string
	files []box.Raw                          // those that were taken
	send  func(files []box.Raw) (int, error) // nil takes all
}

func (r *receiver) Send(_ context.Context, files []box.Raw) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n = len(files); r.send != nil {
		n, err = r.send(files)
	}
	for _, f := range files[:n] {
		r.names = append(r.names, f.Name.String())
	}
	r.files = append(r.files, files[:n]...)
	return n, err
}

// rows are the result rows that were taken, in their order.
func (r *receiver) rows(t testing.TB) (all []box.ResultRow) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.files {
		if c, ok := decode(t, &r.files[i]).Contents.(*box.Results); ok {
			all = append(all, c.Rows...)
		}
	}
	return all
}

// message is the status message with a number that was taken.
func (r *receiver) message(t testing.TB, number uint32) (m box.StatusRecord) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.files {
		if c, ok := decode(t, &r.files[i]).Contents.(*box.Status); ok && c.Records[0].Component == component && c.Records[0].Number == number {
			return c.Records[0]
		}
	}
	t.Errorf("no message %d", number)
	return m
}

func decode(t testing.TB, raw *box.Raw) *box.File {
	t.Helper()
	f, err := box.Decode(raw.Data, func(name string, _ uint32) (ed25519.PublicKey, bool) {
		return boxKey(name).Public().(ed25519.PublicKey), true
	})
	if err != nil || f.Name != raw.Name {
		t.Fatalf("%s: %v", raw.Name, err)
	}
	return f
}

func (r *receiver) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.names)
}

func openForwarder(t *testing.T, dir string, epoch uint32, r *receiver, fresh bool) *Forwarder {
	t.Helper()
	f, err := OpenForwarder(ForwarderConfig{Dir: dir, Site: "P01", Listener: "EAST01", Epoch: epoch, Key: boxKey("EAST01"),
		Send: r.Send, Log: slog.New(slog.DiscardHandler)}, fresh)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func drop(t *testing.T, f *Forwarder, all ...box.Contents) {
	t.Helper()
	for _, c := range all {
		if err := f.Drop(c, time.Unix(1, 0), time.Unix(2, 0)); err != nil {
			t.Fatal(err)
		}
	}
}

func drain(t *testing.T, f *Forwarder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	if err := f.Drain(ctx); err != nil {
		t.Fatal(err)
	}
}

func name(epoch, number int, kind string) string {
	return fmt.Sprintf("EAST01-%08d-%020d.%s", epoch, number, kind)
}

var (
	presence  = &box.Presence{Full: true}
	news      = &box.Status{Records: []box.StatusRecord{{Type: box.Stopped, At: time.Unix(1, 0)}}}
	discovery = &box.Discovery{Records: []box.DiscoveryRecord{{Device: 1, At: time.Unix(1, 0)}}}
)

// Files are sent in claim order, removed once they are taken, and their numbers
// go on after a restart, also when the site is away at the time.
func TestForwardInOrder(t *testing.T) {
	dir, r := t.TempDir(), &receiver{}
	f := openForwarder(t, dir, 1, r, true)
	drop(t, f, discovery, news, presence, results(1), results(2), news)
	if files, bytes := f.Waiting(); files != 6 || bytes == 0 {
		t.Errorf("%d files wait, %d bytes", files, bytes)
	}
	drain(t, f)
	want := []string{name(1, 1, "BTS"), name(1, 2, "BTS"), name(1, 1, "BOS"), name(1, 1, "SVF"), name(1, 2, "SVF"), name(1, 1, "DDR")}
	if got := r.got(); !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	if files, bytes := f.Waiting(); files != 0 || bytes != 0 {
		t.Errorf("%d files wait, %d bytes", files, bytes)
	}
	f.Close()

	f = openForwarder(t, dir, 1, r, false)
	drop(t, f, results(3), presence)
	f.Close()
	f = openForwarder(t, dir, 1, r, false)
	defer f.Close()
	drop(t, f, results(4))
	drain(t, f)
	want = append(want, name(1, 3, "BTS"), name(1, 4, "BTS"), name(1, 2, "BOS"))
	if got := r.got(); !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	if work, err := os.ReadDir(filepath.Join(dir, "work")); err != nil || len(work) != 4 {
		t.Errorf("%d files keep the numbers, %v", len(work), err)
	}
}

// What the site does not take is sent again, from the first that it has not.
func TestForwardAgain(t *testing.T) {
	r, tries := &receiver{}, 0
	r.send = func(files []box.Raw) (int, error) {
		if tries++; tries < 3 {
			return 1, fmt.Errorf("%w: cut off", ErrAway)
		}
		return len(files), nil
	}
	f := openForwarder(t, t.TempDir(), 1, r, true)
	defer f.Close()
	drop(t, f, results(1), results(2), results(3), results(4))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	for limit := time.Now().Add(long); len(r.got()) < 4; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("sent %q", r.got())
		}
	}
	drop(t, f, results(5)) // which wakes it
	for limit := time.Now().Add(long); len(r.got()) < 5; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("sent %q", r.got())
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	want := []string{name(1, 1, "BTS"), name(1, 2, "BTS"), name(1, 3, "BTS"), name(1, 4, "BTS"), name(1, 5, "BTS")}
	if got := r.got(); !slices.Equal(got, want) {
		t.Errorf("sent %q", got)
	}
}

// A file that is refused for good is put aside, and what is behind it goes on; a
// listener that is refused keeps everything.
func TestForwardRefused(t *testing.T) {
	r := &receiver{}
	code := http.StatusUnprocessableEntity
	r.send = func(files []box.Raw) (int, error) {
		for i := range files {
			if files[i].Name.Number == 2 {
				return i, &listener.JoinRefused{Status: code, Title: "File cannot be taken", Detail: "damaged"}
			}
		}
		return len(files), nil
	}
	dir := t.TempDir()
	f := openForwarder(t, dir, 1, r, true)
	defer f.Close()
	drop(t, f, results(1), results(2), results(3))
	drain(t, f)
	if got := r.got(); !slices.Equal(got, []string{name(1, 1, "BTS"), name(1, 3, "BTS"), name(1, 1, "SVF")}) {
		t.Errorf("sent %q", got)
	}
	if m := r.message(t, MessageAside); m.Severity != 3 || !strings.Contains(m.Text, name(1, 2, "BTS")) || !strings.Contains(m.Text, "damaged") {
		t.Errorf("the site is told %+v", m)
	}
	if files, bytes := f.Waiting(); files != 0 || bytes != 0 {
		t.Errorf("%d files wait, %d bytes", files, bytes)
	}
	if reason, err := os.ReadFile(filepath.Join(dir, "bad", name(1, 2, "BTS")+".reason")); err != nil || len(reason) == 0 {
		t.Errorf("reason %q, %v", reason, err)
	}
	// Once the cause is gone it is put back by hand.
	if err := os.Rename(filepath.Join(dir, "bad", name(1, 2, "BTS")), filepath.Join(dir, name(1, 2, "BTS"))); err != nil {
		t.Fatal(err)
	}
	refuses := r.send
	r.send = nil
	drain(t, f)
	if got := r.got(); got[len(got)-1] != name(1, 2, "BTS") {
		t.Errorf("sent %q", got)
	}
	drain(t, f)
	if files, bytes := f.Waiting(); files != 0 || bytes != 0 || f.count.Load() != 0 || f.used.Load() != 0 {
		t.Errorf("%d files wait, %d bytes", files, bytes)
	}
	r.send = refuses
	code = http.StatusForbidden
	drop(t, f, presence, presence)
	if err := f.Drain(t.Context()); status(err) != code {
		t.Errorf("drain: %v", err)
	}
	if files, _ := f.Waiting(); files != 1 {
		t.Errorf("%d files wait", files)
	}
}

// What is no file of the box does not wait for the site, and a drain does not wait
// for it.
func TestStrangeEntries(t *testing.T) {
	dir, r := t.TempDir(), &receiver{}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := openForwarder(t, dir, 1, r, true)
	defer f.Close()
	drop(t, f, results(1))
	if files, _ := f.Waiting(); files != 1 {
		t.Errorf("%d files wait", files)
	}
	drain(t, f)
	if files, bytes := f.Waiting(); files != 0 || bytes != 0 {
		t.Errorf("%d files wait, %d bytes", files, bytes)
	}
}

// Files are handed over together only as far as a request may be long.
func TestForwardLargeFiles(t *testing.T) {
	r, most := &receiver{}, 0
	r.send = func(files []box.Raw) (int, error) {
		size := 0
		for i := range files {
			size += len(appendFile(nil, &files[i]))
		}
		most = max(most, size)
		return len(files), nil
	}
	f := openForwarder(t, t.TempDir(), 1, r, true)
	defer f.Close()
	facts := make([]box.Fact, 500)
	for i := range facts {
		facts[i] = box.Fact{Name: fmt.Sprint(i), Value: strings.Repeat("x", 4000)}
	}
	large := &box.Discovery{Records: slices.Repeat([]box.DiscoveryRecord{{Device: 1, At: time.Unix(1, 0), Facts: facts}}, 7)}
	small := &box.Discovery{Records: large.Records[:1]}
	drop(t, f, small, small, large)
	drain(t, f)
	if len(r.got()) != 3 || most > maxBody {
		t.Errorf("%d files, at most %d bytes at once", len(r.got()), most)
	}
}

func TestForwardQuota(t *testing.T) {
	r := &receiver{}
	f, err := OpenForwarder(ForwarderConfig{Dir: t.TempDir(), Site: "P01", Listener: "EAST01", Epoch: 1, Key: boxKey("EAST01"), Quota: 600, Send: r.Send}, true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dropped := 0
	for ; dropped < 100; dropped++ {
		if err = f.Drop(results(1), time.Time{}, time.Time{}); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrFull) || dropped == 0 || dropped > 4 {
		t.Fatalf("%d files dropped, then %v", dropped, err)
	}
	drain(t, f)
	if len(r.got()) != dropped {
		t.Errorf("sent %q", r.got())
	}
	drop(t, f, results(1)) // there is room again
}

func TestCounterIsGone(t *testing.T) {
	dir, r := t.TempDir(), &receiver{}
	f := openForwarder(t, dir, 1, r, true)
	drop(t, f, results(1))
	f.Close()
	cfg := ForwarderConfig{Dir: dir, Site: "P01", Listener: "EAST01", Epoch: 2, Key: boxKey("EAST01"), Send: r.Send}
	if _, err := OpenForwarder(cfg, false); !errors.Is(err, ErrNoCounter) {
		t.Errorf("another epoch without a counter: %v", err)
	}
	f = openForwarder(t, dir, 2, r, true)
	defer f.Close()
	drop(t, f, results(1))
	drain(t, f)
	if got := r.got(); !slices.Equal(got, []string{name(1, 1, "BTS"), name(2, 1, "BTS")}) {
		t.Errorf("sent %q", got)
	}
	if _, err := OpenForwarder(ForwarderConfig{Dir: dir, Site: "P01", Listener: "EAST01", Epoch: 2, Key: ed25519.PrivateKey{}}, true); err == nil {
		t.Error("opened without a key")
	}
}
