package pacing_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/console/pacing"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func TestWavesFollowResults(t *testing.T) {
	s := newSite(t)
	s.online.AddRange(1, 8) // 1 to 7
	id := s.push(1, 10, event.Pacing{Waves: []uint32{2, 3}, Spread: time.Minute})
	s.after(59 * time.Second)
	s.waves(t, 0) // not-before is a minute off
	s.after(time.Second)
	first := s.waves(t, 1)[0]
	if first.Wave != 1 || first.Last || first.Count != 2 || first.Spread != time.Minute || !slices.Equal(first.Online, first.Devices) {
		t.Errorf("first wave is %+v", first)
	}
	one := set(first.Devices).ToArray()
	if one[1] > 7 {
		t.Errorf("wave %v is not of those that are online", one)
	}
	s.report(id, task.Succeeded, one...)
	s.after(59 * time.Second)
	s.waves(t, 1) // all have ended, but it is spread over a minute
	s.after(time.Second)
	second := s.waves(t, 2)[1]
	s.report(id, task.Succeeded, set(second.Devices).ToArray()[:2]...)
	s.after(time.Minute + 14*time.Minute + 59*time.Second)
	s.waves(t, 2) // spread, run timeout and patience are not over
	s.after(time.Second)
	third := s.waves(t, 3)[2]
	if !third.Last || third.Count != 5 || set(third.Online).GetCardinality() != 2 || third.Wave != 3 {
		t.Errorf("last wave is %+v", third)
	}
	all := set(first.Devices)
	all.Or(set(second.Devices))
	all.Or(set(third.Devices))
	if all.GetCardinality() != 10 {
		t.Errorf("the waves hold %v", all)
	}
	s.after(10 * time.Hour)
	s.waves(t, 3)
}

// A wave of which nobody was online holds nobody up.
func TestWavesOfTheAbsent(t *testing.T) {
	s := newSite(t)
	s.push(1, 9, event.Pacing{Waves: []uint32{3, 3}, Rate: 1})
	s.after(time.Minute)
	s.waves(t, 1)
	s.after(2 * time.Second)
	s.waves(t, 1) // three devices at one a second
	s.after(time.Second)
	s.waves(t, 2)
	s.after(3 * time.Second)
	if last := s.waves(t, 3)[2]; !last.Last || last.Spread != 3*time.Second {
		t.Errorf("last wave is %+v", last)
	}
}

func TestNothingGoesAfterTheDeadline(t *testing.T) {
	s := newSite(t)
	s.online.Add(1)
	s.push(1, 2, event.Pacing{Waves: []uint32{1}})
	s.after(24 * time.Hour)
	s.waves(t, 0)
}

func TestStopOnFailure(t *testing.T) {
	s := newSite(t)
	s.online.AddRange(1, 101)
	id := s.push(1, 100, event.Pacing{Waves: []uint32{20}, StopOnFailure: 20})
	s.after(time.Minute)
	wave := set(s.waves(t, 1)[0].Devices).ToArray()
	s.report(id, task.Failed, wave[:9]...)
	s.after(time.Second)
	if _, stopped := s.said(); len(stopped) != 0 {
		t.Fatal("stopped after nine ends")
	}
	s.report(id, task.Succeeded, wave[9])
	s.after(time.Second)
	s.after(time.Second)
	_, stopped := s.said()
	if len(stopped) != 1 {
		t.Fatalf("stopped %d times", len(stopped))
	}
	p := stopped[0]
	if p.Operation != id || p.Wave != 1 || p.Failed != 9 || p.Final != 10 || p.Limit != 20 || !strings.Contains(p.Reason, "90%") {
		t.Errorf("stopped: %+v", p)
	}
	if c, err := task.VerifyCancel(p.Cancel, "P01", publicKey()); err != nil || c.Operation != id {
		t.Errorf("cancel is %+v, %v", c, err)
	}
	s.report(id, task.Failed, wave[10:]...)
	s.after(10 * time.Hour)
	s.waves(t, 1)
}

// The share must be above the limit, timed-out counts, refused and not applicable
// are ends, and who has begun everything cannot be stopped.
func TestWhatIsFailure(t *testing.T) {
	for name, c := range map[string]struct {
		failed, timedOut, refused, fine, targets int
		stops                                    bool
	}{
		"at the limit":   {1, 1, 4, 4, 20, false},
		"above it":       {2, 1, 4, 3, 20, true},
		"timed out":      {0, 3, 0, 7, 20, true},
		"refused":        {0, 0, 10, 0, 20, false},
		"nobody is left": {5, 5, 0, 0, 10, false},
	} {
		s := newSite(t)
		id := s.push(1, uint32(c.targets), event.Pacing{StopOnFailure: 20})
		s.after(time.Minute)
		next := uint32(1)
		for state, n := range map[task.State]int{task.Failed: c.failed, task.TimedOut: c.timedOut, task.Refused: c.refused, task.NotApplicable: c.fine} {
			for range n {
				s.report(id, state, next)
				next++
			}
		}
		s.after(time.Second)
		if _, stopped := s.said(); len(stopped) == 1 != c.stops {
			t.Errorf("%s: stopped %d times", name, len(stopped))
		}
	}
}

// What was appended and is not in the view yet is said once, whether the process
// goes on or begins anew.
func TestOnceThoughTheViewIsBehind(t *testing.T) {
	for name, then := range map[string]func(s *site){
		"the view lags":      func(*site) {},
		"a crash":            func(s *site) { s.crash() },
		"a crash and a lag":  func(s *site) { stale := s.view.shown; s.crash(); s.view.shown = stale },
		"a cancel overtakes": func(s *site) { s.view.behind = true },
	} {
		s := newSite(t)
		s.online.Add(1)
		id := s.push(1, 4, event.Pacing{Waves: []uint32{1}})
		if name == "a cancel overtakes" {
			if err := s.journal.Append(t.Context(), &event.Event{Payload: &event.OperationCancelled{Operation: id}}); err != nil {
				t.Fatal(err)
			}
			then(s)
			s.after(time.Minute)
			s.waves(t, 0)
			continue
		}
		s.view.behind = true
		s.after(time.Minute)
		then(s)
		s.view.behind = true
		s.after(time.Second)
		s.after(time.Second)
		if got := s.waves(t, 1); got[0].Wave != 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestFaultsOfTheJournal(t *testing.T) {
	for _, fault := range []journaltest.Fault{journaltest.NotStored, journaltest.Lost, journaltest.LostButStored} {
		s := newSite(t)
		s.push(1, 4, event.Pacing{Waves: []uint32{1}})
		s.journal.Inject(fault)
		s.clock = s.clock.Add(time.Minute)
		if err := s.runner.Round(t.Context()); err == nil {
			t.Error("no error")
		}
		s.crash()
		s.online.Add(1)
		s.round()
		s.round()
		if fault != journaltest.LostButStored {
			s.waves(t, 1)
		} else if got := s.waves(t, 2); got[1].Wave != 2 { // nobody was online: the next one followed
			t.Errorf("after a release that was stored: %+v", got)
		}
	}
}

// TestRun lets the runner look by itself.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.now = time.Now
		s.view.lastErr = errors.New("view is being built")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		s.push(1, 3, event.Pacing{Waves: []uint32{1}, Spread: time.Minute})
		go func() { ended <- s.runner.Run(ctx) }()
		time.Sleep(5 * time.Minute)
		s.waves(t, 0)
		s.view.mu.Lock()
		s.view.lastErr = nil
		s.view.mu.Unlock()
		time.Sleep(2 * time.Second)
		s.waves(t, 1)
		time.Sleep(time.Minute)
		s.waves(t, 2)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.journal.Close()
	})
}

// TestPacingProperty drives runners through random fleets, results, cancels, lags
// and crashes, and checks what they say against the rules.
func TestPacingProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newRules(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"time passes": func(rt *rapid.T) {
				d := rapid.SampledFrom([]time.Duration{time.Second, 30 * time.Second, 2 * time.Minute, 16 * time.Minute, 5 * time.Hour}).Draw(rt, "time")
				m.site.clock = m.site.clock.Add(d)
				m.look(rt)
			},
			"results come": func(rt *rapid.T) {
				out := m.released.ToArray()
				if len(out) == 0 {
					return
				}
				state := rapid.SampledFrom([]task.State{task.Succeeded, task.Succeeded, task.Failed, task.TimedOut, task.Refused}).Draw(rt, "state")
				m.report(state, rapid.SliceOfDistinct(rapid.SampledFrom(out), func(d uint32) uint32 { return d }).Draw(rt, "devices"))
			},
			"devices come and go": func(rt *rapid.T) {
				m.site.online = roaring.BitmapOf(rapid.SliceOf(rapid.Uint32Range(1, m.count+5)).Draw(rt, "online")...)
			},
			"view lags": func(rt *rapid.T) { m.site.view.behind = rapid.Bool().Draw(rt, "lags") },
			"site crashes": func(*rapid.T) {
				m.site.crash()
				m.site.online = roaring.BitmapOf(1, 2, 3)
			},
			"cancel": func(rt *rapid.T) {
				if rapid.IntRange(0, 9).Draw(rt, "cancels") == 0 && !m.over {
					m.over = true
					if err := m.site.journal.Append(context.Background(), &event.Event{Payload: &event.OperationCancelled{Operation: m.id}}); err != nil {
						rt.Fatal(err)
					}
				}
			},
			"": func(rt *rapid.T) { m.check(rt) },
		})
		m.site.journal.Close()
	})
}

// rules are what must hold of what a runner says of one operation.
type rules struct {
	site     *site
	id       task.ID
	count    uint32
	pacing   event.Pacing
	released *roaring.Bitmap
	ended    map[uint32]task.State
	waves    []wave
	begin    time.Time
	over     bool
}

type wave struct {
	at     time.Time
	spread time.Duration
	online *roaring.Bitmap
	last   bool
}

func newRules(rt *rapid.T) *rules {
	m := &rules{site: newSite(rt), released: roaring.New(), ended: map[uint32]task.State{}}
	m.count = rapid.Uint32Range(1, 40).Draw(rt, "targets")
	m.pacing = event.Pacing{Waves: rapid.SliceOfN(rapid.Uint32Range(1, 15), 0, 5).Draw(rt, "waves"),
		Spread: rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(rt, "spread"),
		Rate:   rapid.SampledFrom([]uint32{0, 1}).Draw(rt, "rate"), StopOnFailure: rapid.SampledFrom([]uint8{0, 20}).Draw(rt, "stop")}
	if m.pacing.IsZero() {
		m.pacing.Rate = 3
	}
	m.id = m.site.push(1, m.count, m.pacing)
	m.begin = start.Add(time.Minute)
	return m
}

// look lets the runner look once, with the view as it is.
func (m *rules) look(rt *rapid.T) {
	if err := m.site.runner.Round(context.Background()); err != nil {
		rt.Fatal(err)
	}
	m.check(rt)
}

func (m *rules) report(state task.State, devices []uint32) {
	p := new(event.ResultsReported)
	for _, d := range devices {
		if m.ended[d] == task.NoState {
			m.ended[d] = state
		}
		p.Rows = append(p.Rows, event.ResultRow{Result: task.Result{Operation: m.id, Device: d, State: state, At: m.site.clock}})
	}
	if len(devices) > 0 {
		m.site.append(p)
	}
}

// check compares what the runner has said since with the rules.
func (m *rules) check(rt *rapid.T) {
	released, stopped := m.site.said()
	for _, p := range released[len(m.waves):] {
		m.wave(rt, p)
	}
	if len(stopped) == 0 {
		return
	}
	p := stopped[0]
	failed := uint32(0)
	for _, s := range m.ended {
		if s == task.Failed || s == task.TimedOut {
			failed++
		}
	}
	if len(stopped) > 1 || m.pacing.StopOnFailure == 0 || p.Final < pacing.MinFinal || p.Failed*100 <= uint32(p.Limit)*p.Final ||
		p.Failed > failed || int(p.Final) > len(m.ended) {
		rt.Fatalf("stopped %d times: %+v, of %d ends %d are failures", len(stopped), p, len(m.ended), failed)
	}
	m.over = true
}

func (m *rules) wave(rt *rapid.T, p *event.OperationReleased) {
	n, now, devices := len(m.waves), m.site.clock, set(p.Devices)
	if m.over || int(p.Wave) != n+1 || now.Before(m.begin) || devices.IsEmpty() || devices.Intersects(m.released) || devices.Maximum() > m.count ||
		uint64(p.Count) != devices.GetCardinality() {
		rt.Fatalf("at %s, after %d waves (over: %v), wave %+v of %v", now, n, m.over, p, devices)
	}
	sizes := pacing.Sizes(&m.pacing, m.count)
	if p.Count != sizes[n] || p.Last != (n == len(sizes)-1) || p.Spread != pacing.SpreadOf(&m.pacing, p.Count) {
		rt.Fatalf("wave %+v, sizes are %v", p, sizes)
	}
	if n > 0 {
		before := &m.waves[n-1]
		settled := true
		for _, d := range before.online.ToArray() {
			settled = settled && m.ended[d] != task.NoState
		}
		waited := now.Sub(before.at.Add(before.spread))
		if before.last || waited < 0 || !settled && waited < 10*time.Minute+pacing.Patience {
			rt.Fatalf("wave %+v follows after %s, all had ended: %v", p, waited, settled)
		}
	}
	m.released.Or(devices)
	m.waves = append(m.waves, wave{now, p.Spread, set(p.Online), p.Last})
}
