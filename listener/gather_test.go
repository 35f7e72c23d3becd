package listener

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A countingDriver counts how often it was told that something waits.
type countingDriver struct{ signals int }

func (d *countingDriver) signal()          { d.signals++ }
func (d *countingDriver) put([]byte) error { return nil }
func (d *countingDriver) over(bool)        {}

func idleListener(t testing.TB) *Listener {
	t.Helper()
	p := newPKI(t)
	l, err := New(Config{Site: "P01", Name: "IDLE", Certificate: always(p.server), ClientCAs: p.clientCAs, Log: quiet(), Feed: make(script),
		Drop:   func(box.Contents, time.Time, time.Time) error { return nil },
		Beacon: func([16]byte) ([]byte, error) { return nil, nil },
		Policy: func(uint32, string) (Policy, error) { return Policy{}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestAcknowledgeProperty acknowledges batches of results of some sessions, of which
// some have ended: each of the others has its answers in order, and its driver knows.
func TestAcknowledgeProperty(t *testing.T) {
	l := idleListener(t)
	rapid.Check(t, func(t *rapid.T) {
		sessions := make([]*session, 4)
		for i := range sessions {
			sessions[i] = sessionOf(l, uint32(i+1))
			sessions[i].driver = new(countingDriver)
		}
		want := make(map[*session][]string)
		t.Repeat(map[string]func(*rapid.T){
			"batch": func(t *rapid.T) {
				var rows []box.ResultRow
				var senders []sender
				for range rapid.IntRange(0, 20).Draw(t, "rows") {
					s := rapid.SampledFrom(sessions).Draw(t, "session")
					r := task.Result{Operation: task.ID{rapid.Byte().Draw(t, "op") % 3}, Device: s.device,
						Attempt: rapid.Uint8Range(1, 2).Draw(t, "attempt"), State: rapid.SampledFrom([]task.State{task.Running, task.Succeeded}).Draw(t, "state")}
					var from sender
					if rapid.IntRange(0, 3).Draw(t, "asks") > 0 {
						from.session = s
						if !s.hasEnded() {
							want[s] = append(want[s], fmt.Sprint(r.Operation, r.Attempt, r.State))
						}
					}
					rows, senders = append(rows, box.ResultRow{Result: r}), append(senders, from)
				}
				l.acknowledge(rows, senders)
			},
			"end": func(t *rapid.T) {
				s := rapid.SampledFrom(sessions).Draw(t, "session")
				if s.end(reasonClosed, nil) {
					delete(want, s) // nothing but its last words is still said
				}
			},
			"take": func(t *rapid.T) {
				s := rapid.SampledFrom(sessions).Draw(t, "session")
				frames, _, _, _ := s.take(nil)
				if d := s.driver.(*countingDriver); len(frames) > 0 && d.signals == 0 {
					t.Fatalf("device %d is not told of %d frames", s.device, len(frames))
				} else {
					d.signals = 0
				}
				var got []string
				for _, f := range frames {
					m, n, err := wire.Next(f)
					ack, ok := m.(*wire.ResultAck)
					if err != nil || n != len(f) || !ok {
						t.Fatalf("got %T, %v", m, err)
					}
					got = append(got, fmt.Sprint(ack.Operation, ack.Attempt, ack.State))
				}
				if !slices.Equal(got, want[s]) {
					t.Fatalf("device %d is answered %v, want %v", s.device, got, want[s])
				}
				delete(want, s)
				if s.waiting.queue != nil || s.waiting.frame != nil {
					t.Fatalf("device %d keeps an empty queue", s.device)
				}
			},
		})
	})
}

// A readyDriver writes at once when it is told that something waits.
type readyDriver struct {
	countingDriver
	s     *session
	wrote int
}

func (d *readyDriver) signal() {
	frames, _, _, _ := d.s.take(nil)
	d.wrote += len(frames)
}

// TestFileOfOneSession answers a whole file of results that are all of one session,
// which come together when the disk was slow: it reads, and must not be cut as if it
// did not.
func TestFileOfOneSession(t *testing.T) {
	l := idleListener(t)
	s := sessionOf(l, 7)
	d := &readyDriver{s: s}
	s.driver = d
	rows, senders := make([]box.ResultRow, fileRows), make([]sender, fileRows)
	for i := range rows {
		rows[i].Result = task.Result{Operation: task.ID{byte(i), byte(i >> 8)}, Device: 7, Attempt: 1, State: task.Succeeded}
		senders[i].session = s
	}
	l.acknowledge(rows, senders)
	if s.hasEnded() || d.wrote != fileRows {
		t.Errorf("the session has ended: %v, %d answers were written", s.hasEnded(), d.wrote)
	}
}

// TestPacerProperty compares a pacer with a bucket of tokens.
func TestPacerProperty(t *testing.T) {
	l := idleListener(t)
	every := apart(l.cfg.Limits.MessageRate)
	most := every * time.Duration(l.cfg.Limits.MessageBurst)
	rapid.Check(t, func(t *rapid.T) {
		s := sessionOf(l, 1)
		now, credit := l.made, most
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			pause := time.Duration(rapid.Int64Range(0, int64(3*every)).Draw(t, "pause"))
			if rapid.IntRange(0, 20).Draw(t, "long") == 0 {
				pause *= 1000
			}
			now = now.Add(pause)
			credit = min(most, credit+pause)
			many := 1
			if rapid.IntRange(0, 5).Draw(t, "many") == 0 {
				many = 3000
			}
			for range many {
				wait := s.wait(now)
				if want := max(0, every-credit); wait != want {
					t.Fatalf("waits %v, want %v", wait, want)
				}
				if wait == 0 {
					s.count(now)
					credit -= every
				}
			}
		}
	})
}

// A keepingDriver keeps what is written, each write by itself.
type keepingDriver struct {
	countingDriver
	writes []string // the types of the messages in each
}

func (d *keepingDriver) put(b []byte) error {
	var types []string
	for len(b) > 0 {
		m, n, err := wire.Next(b)
		if err != nil || n == 0 {
			return fmt.Errorf("%d bytes are no frame: %w", len(b), err)
		}
		types, b = append(types, m.Type().String()), b[n:]
	}
	d.writes = append(d.writes, strings.Join(types, " "))
	return nil
}

// TestTaskBehindWelcome writes to who returns in as few pieces as can be: what it has
// missed comes with the welcome, unless much is before it, or keys that it must take
// first, or it is not due any more.
func TestTaskBehindWelcome(t *testing.T) {
	l := idleListener(t)
	p := newPKI(t)
	openUntil := func(end time.Time) *operation {
		u := p.operationAt(end.Add(-time.Hour), end, 7)
		tk, err := u.Signed.Task()
		if err != nil {
			t.Fatal(err)
		}
		op := newOperation(tk, u)
		op.all = true
		return op
	}
	long := make([]byte, writeChunk/2)
	for name, c := range map[string]struct {
		before func(*session)
		op     *operation
		want   []string
	}{
		"one task":       {nil, openUntil(time.Now().Add(time.Minute)), []string{"welcome task"}},
		"not due":        {nil, openUntil(time.Now().Add(-time.Minute)), []string{"welcome"}},
		"much before it": {func(s *session) { s.reply(&wire.Policy{ETag: "1", Part: 1, Of: 1, Chunk: long}) }, openUntil(time.Now().Add(time.Minute)), []string{"welcome policy", "task"}},
		"keys first":     {func(s *session) { s.keyrings([][]byte{s.encode(&wire.Keyring{Signed: []byte{1}})}) }, openUntil(time.Now().Add(time.Minute)), []string{"welcome", "keyring", "task"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := sessionOf(l, 7)
			d := new(keepingDriver)
			s.driver = d
			s.welcome(&wire.Welcome{Version: wire.Version, Listener: "IDLE", KeepAlive: time.Minute})
			if c.before != nil {
				c.before(s)
			}
			s.deliver(c.op, nil)
			for more := true; more; {
				var err error
				if more, _, err = s.writeNext(); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(d.writes, c.want) {
				t.Errorf("%q is written, want %q", d.writes, c.want)
			}
		})
	}
}

// sessionOf is a session of a device that has no driver yet.
func sessionOf(l *Listener, device uint32) *session {
	s := new(session)
	s.set(l, nil, carrierTCP, device, "")
	return s
}
