package feed

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// told is a feed that tells what it is given; an error breaks it.
type told struct{ next []any }

func (f *told) Next(ctx context.Context) (listener.Update, error) {
	if len(f.next) == 0 {
		return nil, context.Canceled
	}
	u := f.next[0]
	f.next = f.next[1:]
	if err, ok := u.(error); ok {
		return nil, err
	}
	return u.(listener.Update), nil
}

func (f *told) Close() error { return nil }

// savedAt is a feed that is kept at path, by a clock that stands at now.
func savedAt(path string, now time.Time, next ...any) *Saved {
	s := NewSaved(&told{next}, path, slog.New(slog.DiscardHandler))
	s.now = func() time.Time { return now }
	return s
}

// all reads until an error, which it returns.
func (s *Saved) all(t *testing.T) (all []listener.Update, err error) {
	t.Helper()
	for {
		u, err := s.Next(t.Context())
		if err != nil {
			return all, err
		}
		all = append(all, u)
	}
}

var errAway = fmt.Errorf("begin to read the site's feed: %w", nats.ErrNoServers)

// history is a state and what follows it, and state what there is in the end.
func history(t testing.TB) (history []any, state []listener.Update) {
	first, second, third := openUntil(t, moment.Add(48*time.Hour), 1, 7, 300), openUntil(t, moment.Add(48*time.Hour), 2, 8), openUntil(t, moment.Add(time.Minute), 3, 9)
	second.Held = true
	wave := listener.ReleaseWave{ID: task.ID{15: 2}, Wave: 1, Devices: set(t, 8), At: moment}
	ring := listener.ChangeKeys{Ring: []byte("ring 2")}
	ended := listener.EndOperation{ID: task.ID{15: 1}, Cancel: []byte("cancel"), Until: moment.Add(48 * time.Hour)}
	history = []any{listener.BlockDevice{Device: 3}, listener.BlockDevice{Device: 4}, first, third, listener.Whole{},
		second, wave, ring, listener.UnblockDevice{Device: 3}, ended, listener.BlockDevice{Device: 5}}
	return history, []listener.Update{ring, listener.BlockDevice{Device: 4}, listener.BlockDevice{Device: 5}, second, wave, ended, listener.Whole{}}
}

// sameState compares states; those who are blocked are in no order.
func sameState(got, want []listener.Update) bool {
	text := func(all []listener.Update) string {
		var blocked, rest []string
		for _, u := range all {
			if b, ok := u.(listener.BlockDevice); ok {
				blocked = append(blocked, fmt.Sprintf("%03d", b.Device))
				continue
			}
			b, err := (&Message{Update: u}).Append(nil)
			rest = append(rest, fmt.Sprintf("%x %v", b, err))
		}
		if len(blocked) == 2 && blocked[0] > blocked[1] {
			blocked[0], blocked[1] = blocked[1], blocked[0]
		}
		return strings.Join(append(blocked, rest...), "\n")
	}
	return text(got) == text(want)
}

// What was told is told again by a process that finds the site away, also if the one
// before was killed; operations that are over by then are not.
func TestSavedIsToldWithoutTheSite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "feed")
	events, want := history(t)
	if _, err := savedAt(path, moment, events...).all(t); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	again := savedAt(path, moment.Add(time.Hour), errAway, listener.BlockDevice{Device: 9}, listener.Whole{}, errAway, errAway)
	got, err := again.all(t)
	if !errors.Is(err, ErrSaved) || !sameState(got, want) {
		t.Errorf("told %v, %v", got, err)
	}
	// Then the site is there again: its feed is told from the beginning, and is what is
	// kept.
	want = []listener.Update{listener.BlockDevice{Device: 9}, listener.Whole{}}
	if got, err = again.all(t); !errors.Is(err, nats.ErrNoServers) || !reflect.DeepEqual(got, want) {
		t.Errorf("told %v, %v", got, err)
	}
	if got, err = again.all(t); !errors.Is(err, nats.ErrNoServers) || len(got) > 0 {
		t.Errorf("what is kept was told to who knows more: %v, %v", got, err)
	}
	if got, err = savedAt(path, moment.Add(time.Hour), errAway).all(t); !errors.Is(err, ErrSaved) || !reflect.DeepEqual(got, want) {
		t.Errorf("told %v, %v", got, err)
	}
}

// What is old, of another time, or damaged is not used, nor anything if the site
// answers.
func TestSavedThatIsNotUsed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "feed")
	events, _ := history(t)
	savedAt(path, moment, events...).all(t)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	alert := &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}
	damaged := bytes.Clone(good)
	damaged[recordHead+3] ^= 1
	for name, c := range map[string]struct {
		content []byte
		now     time.Time
		err     error
		used    bool
	}{
		"at its age":       {good, moment.Add(SavedFor), errAway, true},
		"too old":          {good, moment.Add(SavedFor + 1), errAway, false},
		"clock a bit back": {good, moment.Add(-time.Minute), errAway, true},
		"of the future":    {good, moment.Add(-2 * time.Hour), errAway, false},
		"site refuses":     {good, moment, alert, false},
		"port is dropped":  {good, moment, &net.OpError{Op: "dial", Err: errors.New("i/o timeout")}, true},
		"damaged":          {damaged, moment, errAway, false},
		"not whole":        {good[:recordHead+20], moment, errAway, false},
		"empty":            {nil, moment, errAway, false},
		"end is torn":      {good[:len(good)-3], moment, errAway, true},
	} {
		if err := os.WriteFile(path, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := savedAt(path, c.now, c.err).all(t)
		if used := errors.Is(err, ErrSaved); used != c.used || !used && (len(got) > 0 || !errors.Is(err, c.err)) {
			t.Errorf("%s: told %d updates, %v", name, len(got), err)
		}
	}
}

// Who hears of nothing new for long keeps what there is fresh, by saying so.
func TestSavedIsHeard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "feed")
	now := moment
	s := savedAt(path, now, listener.BlockDevice{Device: 3}, listener.Whole{}, errAway)
	s.now = func() time.Time { return now }
	for range 2 {
		if _, err := s.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	loads := func(want time.Time) {
		t.Helper()
		if _, heard, err := s.load(); err != nil || !heard.Equal(want) {
			t.Errorf("heard at %s, want %s: %v", heard, want, err)
		}
	}
	loads(moment)
	now = now.Add(3 * time.Hour)
	s.Heard()
	loads(moment.Add(3 * time.Hour))
	if _, err := s.Next(t.Context()); !errors.Is(err, nats.ErrNoServers) {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	s.Heard() // it is not
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	loads(moment.Add(3 * time.Hour))
}

// A file that cannot be written costs nothing but a start without the site, and is
// written once it can be.
func TestSavedWithoutADisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not there")
	s := savedAt(filepath.Join(dir, "feed"), moment, listener.Whole{}, listener.BlockDevice{Device: 3})
	if got, err := s.all(t); len(got) != 2 || !errors.Is(err, context.Canceled) {
		t.Fatal(got, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return moment.Add(heardEvery) }
	s.fresh = nil // as before the feed ended
	s.Heard()
	if got, _, err := s.load(); err != nil || !reflect.DeepEqual(got, []listener.Update{listener.BlockDevice{Device: 3}, listener.Whole{}}) {
		t.Error(got, err)
	}
}

// The file does not grow with what has ended.
func TestSavedIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "feed")
	next := []any{listener.Whole{}}
	for n := range 50 {
		o := openUntil(t, moment.Add(time.Hour), byte(n+1), 7)
		next = append(next, o, listener.EndOperation{ID: task.ID{15: byte(n + 1)}})
	}
	for pairs := next[1:]; len(next) < 12_000; {
		next = append(next, pairs...)
	}
	last := openUntil(t, moment.Add(time.Hour), 201, 7)
	savedAt(path, moment, append(next, last)...).all(t)
	info, err := os.Stat(path)
	if err != nil || info.Size() > leastSaved+1024 {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
	if got, err := savedAt(path, moment, errAway).all(t); !errors.Is(err, ErrSaved) || !sameState(got, []listener.Update{last, listener.Whole{}}) {
		t.Error(got, err)
	}
}

// TestSavedFormat keeps the bytes of the file.
func TestSavedFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "feed")
	savedAt(path, moment, listener.BlockDevice{Device: 3}, listener.Whole{}, listener.UnblockDevice{Device: 3}).all(t)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile(filepath.Join("testdata", "saved.v1.hex"))
	if err != nil || strings.TrimSpace(string(golden)) != hex.EncodeToString(b) {
		t.Errorf("the file is %x, %v", b, err)
	}
}

func FuzzSaved(f *testing.F) {
	path := filepath.Join(f.TempDir(), "feed")
	events, _ := history(f)
	s := savedAt(path, moment, events...)
	for range events {
		if _, err := s.Next(context.Background()); err != nil {
			f.Fatal(err)
		}
	}
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		kept, _, err := readSaved(bytes.NewReader(b))
		if (kept == nil) != (err != nil) {
			t.Errorf("%v, %v", kept, err)
		}
		if kept != nil {
			for range kept.updates(moment, nil) {
			}
		}
	})
}
