package main

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
)

// A tally is what was met in all rounds of a test.
type tally struct {
	mu                 sync.Mutex
	made, hit, ran     map[string]int            // by fault: how often it was made, hit what was in flight, hit what ran
	states             map[string]map[string]int // of the pairs of an operation and a device, by kind
	operations, pairs  int
	started, restarted int // executables, and those that started again because they may
	cancels, broken    int
	lateSteps          int // executables whose process began in time and came to its first step after the deadline
	latest, latestFork time.Duration
}

func newTally() *tally {
	return &tally{made: map[string]int{}, hit: map[string]int{}, ran: map[string]int{}, states: map[string]map[string]int{}}
}

func (y *tally) add(to *int, n int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	*to += n
}

func (y *tally) report(t *testing.T, took time.Duration) {
	t.Logf("%d operations, %d times to a device:", y.operations, y.pairs)
	for _, kind := range slices.Sorted(maps.Keys(y.states)) {
		t.Logf("  %s: %v", kind, y.states[kind])
	}
	t.Logf("%d starts, %d of them again as their kind may; %d cancels acknowledged", y.started, y.restarted, y.cancels)
	t.Logf("%d broke a promise: started twice, or after the deadline", y.broken)
	t.Logf("%d processes began before their deadline, and came to their first step up to %s after it (by the kernel, which is %s exact, they began at most %s after it)",
		y.lateSteps, y.latest, ticks, y.latestFork)
	for _, name := range sortedKeys(y.made) {
		t.Logf("%6d times %s: %d with something in flight, %d while it ran", y.made[name], name, y.hit[name], y.ran[name])
	}
	t.Logf("%s in all", took.Round(time.Second))
}

// A beginning is one start of an executable.
type beginning struct {
	step   time.Time // its first step
	forked time.Time // its process, by the kernel: at least ticks exact
}

// ticks is how exact the kernel tells the age of a process.
const ticks = 20 * time.Millisecond

// A truth is what the executables wrote of one operation at one agent.
type truth struct {
	starts []beginning
	ends   []time.Time
}

func (s *soldier) truth() (map[string]*truth, error) {
	all := map[string]*truth{}
	text, err := os.ReadFile(filepath.Join(s.dir, "truth"))
	if os.IsNotExist(err) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 4 {
			return nil, fmt.Errorf("truth of %s: %q", s.name, line)
		}
		r := all[words[1]]
		if r == nil {
			r = new(truth)
			all[words[1]] = r
		}
		now, err := seconds(words[3])
		if err != nil {
			return nil, err
		}
		if words[0] == "end" {
			r.ends = append(r.ends, time.UnixMicro(now))
			continue
		}
		up, err := seconds(words[4])
		if err != nil {
			return nil, err
		}
		born, err := strconv.ParseInt(words[24], 10, 64) // in hundredths since the boot, see proc(5)
		if err != nil {
			return nil, err
		}
		r.starts = append(r.starts, beginning{time.UnixMicro(now), time.UnixMicro(now - (up - born*10_000))})
	}
	return all, nil
}

func seconds(text string) (micro int64, err error) {
	f, err := strconv.ParseFloat(text, 64)
	return int64(math.Round(f * 1e6)), err
}

// A pair is one operation at one device.
type pair struct {
	*console.Operation
	s      *soldier
	state  string
	detail string
	truth
}

func (p *pair) String() string {
	return fmt.Sprintf("operation %s (%s, requested %s, to be delivered by %s) of %s is %s %q with %d starts and %d ends",
		p.Operation.Operation, p.Kind, p.Requested.Format(time.StampMilli), p.DeliverBy.Format(time.StampMilli),
		p.s.name, p.state, p.detail, len(p.starts), len(p.ends))
}

// once tells whether the executable may start once only.
func (p *pair) once() bool { return p.Kind != kindAgain }

// long tells whether the deadline never comes.
func (p *pair) long() bool { return p.DeliverBy.Sub(p.Requested) > time.Minute }

// broken says what must never be, whatever the site knows yet.
func (p *pair) broken() string {
	if p.once() && len(p.starts) > 1 {
		return "started twice"
	}
	for _, b := range p.starts {
		switch {
		case !b.forked.Add(-ticks).Before(p.DeliverBy):
			return fmt.Sprintf("started %s after its deadline", b.forked.Sub(p.DeliverBy))
		case b.step.Before(p.Requested):
			return fmt.Sprintf("started %s before its request", p.Requested.Sub(b.step))
		}
	}
	return ""
}

// wrong says why the end on record is not what the truth allows, "" if it is.
func (p *pair) wrong() string {
	killed := slices.ContainsFunc(p.s.kills, func(at time.Time) bool { return at.After(p.Requested) })
	switch p.state {
	case "succeeded":
		if len(p.ends) == 0 {
			return "it did not come to its end"
		}
		return ""
	case "failed":
		if !killed || !strings.Contains(p.detail, "interrupted") || !p.once() && p.long() && !p.Cancelled {
			return "nothing interrupted it"
		}
		return ""
	}
	// What may start again, was begun, and comes again when its deadline has passed, is
	// refused. If it was cancelled it does not come again.
	if len(p.starts) > 0 && (p.once() || !killed || p.Cancelled) {
		return "it started"
	}
	switch {
	case p.state == "expired" && !p.long():
	case p.state == "refused" && strings.Contains(p.detail, "deadline has passed") && !p.long():
	case p.state == "cancelled" && p.Cancelled:
	case p.state == "refused" && strings.Contains(p.detail, "cancelled") && p.Cancelled:
	default:
		return "it has not run, for no good reason"
	}
	return ""
}

// fetch asks the API, also while the site may be anywhere in its life.
func (l *channelLab) fetch(path string, out any) error {
	return l.api.call(l.t.Context(), http.MethodGet, path, nil, out)
}

// within waits until ok says so; what it says otherwise is why not yet. It goes on
// after a failure, so that everything that is wrong is told.
func (l *channelLab) within(limit time.Duration, ok func() string) {
	l.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		why := ok()
		if why == "" {
			return
		}
		if time.Now().After(end) {
			l.t.Errorf("not within %s: %s", limit, why)
			return
		}
	}
}

// healing is how long it may take until all is well: who was refused often waits
// long before it comes again.
const healing = 2 * time.Minute

// heal waits until everybody is connected, and has what is pushed then run at once.
func (l *channelLab) heal() {
	l.t.Helper()
	l.within(healing, func() string {
		var page console.DevicePage
		if err := l.fetch(console.PathDevices+"?limit=1000", &page); err != nil {
			return err.Error()
		}
		for _, d := range page.Items {
			if !d.Online {
				return d.Name + " is offline: " + d.Reason
			}
		}
		return ""
	})
	for i := range 3 {
		in := console.PushRequest{Kind: kindQuick, All: true, DeliverBySeconds: int64(healing / time.Second), Reason: "calm"}
		id := l.pushUntil(l.t.Context(), fmt.Sprint("calm-", i), in)
		l.within(healing, func() string {
			var o console.OperationReply
			if err := l.fetch(console.Path(console.PathOperation, id), &o); err != nil {
				return err.Error()
			}
			if int(o.States["succeeded"]) != len(l.soldiers) {
				return fmt.Sprintf("operation %s, pushed undisturbed, is at %v", id, o.States)
			}
			return ""
		})
	}
	l.within(healing, func() string {
		all, err := l.allOperations()
		if err != nil {
			return err.Error()
		}
		for _, o := range all {
			if !o.Done {
				return fmt.Sprintf("operation %s (%s, by %s) has not ended: %v", o.Operation, o.Kind, o.DeliverBy.Format(time.StampMilli), o.States)
			}
		}
		return ""
	})
}

func (l *channelLab) allOperations() (all []console.Operation, err error) {
	for before := ""; ; {
		var page console.OperationPage
		if err := l.fetch(console.PathOperations+"?limit=500&before="+before, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if before = page.Next; before == "" {
			return all, nil
		}
	}
}

// judge holds what the site knows against the truth. What is in flight still, such
// as a result that a listener has to hand on, may come yet.
func (l *channelLab) judge() {
	l.t.Helper()
	var pairs []*pair
	l.within(patience, func() (why string) {
		pairs, why = l.pairs()
		return why
	})
	for _, p := range pairs {
		if why := p.broken(); why != "" {
			l.t.Errorf("%s: %s", p, why)
		}
	}
	l.count(pairs)
	h := &history{names: map[string]int{}}
	l.check(h, true)
	requested := 0
	for name := range h.names {
		if strings.HasPrefix(name, "operation ") {
			requested++
		}
	}
	if requested != len(l.keys) {
		l.t.Errorf("%d pushes, some asked for again, made %d operations", len(l.keys), requested)
	}
	rebuildAll(l.t, l.world)
}

// pairs returns all operations at all their devices; why is the first that is not
// as it should be.
func (l *channelLab) pairs() (all []*pair, why string) {
	operations, err := l.allOperations()
	if err != nil {
		return nil, err.Error()
	}
	by := map[uint32]*soldier{}
	truths := map[uint32]map[string]*truth{}
	for _, s := range l.soldiers {
		by[s.number] = s
		if truths[s.number], err = s.truth(); err != nil {
			return nil, err.Error()
		}
	}
	for i := range operations {
		o := &operations[i]
		var page console.TargetPage
		if err := l.fetch(console.Path(console.PathOperationDevices, o.Operation)+"?limit=1000", &page); err != nil {
			return nil, err.Error()
		}
		states := map[string]uint32{}
		for _, d := range page.Items {
			states[d.State]++
			p := &pair{Operation: o, s: by[d.Device], state: d.State, detail: d.Detail}
			if r := truths[d.Device][o.Operation]; r != nil {
				p.truth = *r
			}
			all = append(all, p)
			if w := p.wrong(); w != "" && why == "" {
				why = fmt.Sprintf("%s: %s", p, w)
			}
		}
		maps.DeleteFunc(o.States, func(_ string, n uint32) bool { return n == 0 })
		if !maps.Equal(states, o.States) || uint32(len(page.Items)) != o.Targets {
			return all, fmt.Sprintf("operation %s counts %v of %d, its devices are %v", o.Operation, o.States, o.Targets, states)
		}
	}
	return all, why
}

// count takes what was met into the tally.
func (l *channelLab) count(pairs []*pair) {
	y := l.tally
	y.mu.Lock()
	defer y.mu.Unlock()
	y.operations += len(l.keys)
	y.pairs += len(pairs)
	for _, p := range pairs {
		if p.broken() != "" {
			y.broken++
		}
		name := p.state
		if p.state == "failed" {
			name = fmt.Sprintf("interrupted after %d starts and %d ends", min(1, len(p.starts)), min(1, len(p.ends)))
			if p.Cancelled {
				name = "cancelled, and " + name
			}
		}
		if y.states[p.Kind] == nil {
			y.states[p.Kind] = map[string]int{}
		}
		y.states[p.Kind][name]++
		y.started += len(p.starts)
		y.restarted += max(0, len(p.starts)-1)
		for _, b := range p.starts {
			if by := b.step.Sub(p.DeliverBy); by >= 0 {
				y.lateSteps++
				y.latest = max(y.latest, by)
				y.latestFork = max(y.latestFork, b.forked.Sub(p.DeliverBy))
			}
		}
	}
	for _, f := range l.faults {
		y.made[f.name]++
		flies, runs := false, false
		for _, p := range pairs {
			if f.victim == "" || f.victim == p.s.name {
				flies = flies || p.inFlight(&f)
				runs = runs || p.ranDuring(&f)
			}
		}
		if flies {
			y.hit[f.name]++
		}
		if runs {
			y.ran[f.name]++
		}
	}
}

// inFlight tells whether the operation was asked for, and its device had not come
// to its end, when the fault began or while it lasted.
func (p *pair) inFlight(f *happened) bool {
	over := p.DeliverBy
	switch {
	case len(p.ends) > 0:
		over = p.ends[len(p.ends)-1]
	case len(p.starts) > 0:
		over = p.starts[len(p.starts)-1].step
	case p.long(): // cancelled, or interrupted before its first step
		over = p.Requested
	}
	return p.Requested.Before(f.to) && f.from.Before(over)
}

func (p *pair) ranDuring(f *happened) bool {
	for i, b := range p.starts {
		if b.step.Before(f.to) && (i >= len(p.ends) || f.from.Before(p.ends[i])) {
			return true
		}
	}
	return false
}
