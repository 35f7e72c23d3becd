package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/journaltest/powerloss"
)

// LAB_CYCLES is how often each of these tests ends the site; the default is for
// every change. For the figures:
//
//	LAB_CYCLES=100 go test ./cmd/bugle -run 'TestPowerLoss' -v -timeout 60m
//	LAB_CYCLES=1000 go test ./cmd/bugle -run 'TestKilledAtPoints' -v -timeout 60m

// TestPowerLossOrdered cuts the power under a site that is written to, at chance
// moments and at chosen calls; names persist with the fsync of a file.
func TestPowerLossOrdered(t *testing.T) {
	t.Parallel()
	if alone(t) {
		campaigns(t, 1, powerloss.Ordered, number(t, "LAB_CYCLES", 8), (*lab).cut)
	}
}

// TestPowerLossStrict is the same where names persist with the fsync of their
// folder only.
func TestPowerLossStrict(t *testing.T) {
	t.Parallel()
	if alone(t) {
		campaigns(t, 2, powerloss.Strict, number(t, "LAB_CYCLES", 8), (*lab).cut)
	}
}

// TestKilledAtPoints kills the process with SIGKILL instead, so that nothing that
// was written is lost.
func TestKilledAtPoints(t *testing.T) {
	t.Parallel()
	if alone(t) {
		campaigns(t, 3, powerloss.Strict, number(t, "LAB_CYCLES", 12), (*lab).kill)
	}
}

// perSite is how often one site is ended before the next begins from nothing, so
// that its history does not get too long to be read over and over.
const perSite = 100

// campaigns ends sites so many times in all. In a long run every aim must have
// been met.
func campaigns(t *testing.T, test int, mode powerloss.Mode, cycles int, end func(*lab)) {
	t.Helper()
	began, total, seed := time.Now(), map[string]int{}, seedOf(t)
	aims := slices.Clone(allAims)
	rand.New(rand.NewPCG(seed, 7)).Shuffle(len(aims), func(i, j int) { aims[i], aims[j] = aims[j], aims[i] })
	for done := 0; done < cycles && !t.Failed(); done += perSite {
		t.Run(fmt.Sprint("from ", done), func(t *testing.T) {
			l := newLab(t, test, mode, seed+uint64(done))
			l.campaign(aims, min(perSite, cycles-done), func() { end(l) })
			for name, n := range l.moments {
				total[name] += n
			}
		})
	}
	for _, name := range sortedKeys(total) {
		t.Logf("%6d times %s", total[name], name)
	}
	t.Logf("%d cycles, %s each", cycles, (time.Since(began) / time.Duration(cycles)).Round(time.Millisecond))
	for i := range aims {
		if cycles > 6*len(aims) && total["at: "+aims[i].name] == 0 {
			t.Errorf("never met: %s", aims[i].name)
		}
	}
}

// TestPowerLossAtBirth cuts the power at any call of the first start of a site,
// and then right after the first thing that was acknowledged.
func TestPowerLossAtBirth(t *testing.T) {
	t.Parallel()
	if !alone(t) {
		return
	}
	seed := seedOf(t)
	for i := range number(t, "LAB_CYCLES", 6) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			l := emptyLab(t, 4, powerloss.Mode(i%2), seed+uint64(i))
			trap := &powerloss.Trap{Op: powerloss.Any, Skip: l.random.IntN(260)}
			l.disk.Arm(trap)
			l.launch()
			l.ready(l.disk.Stopped())
			t.Logf("cut: %d, at call %d", l.disk.Hits(trap), trap.Skip)
			l.cut()
			l.launch()
			l.mustBeReady()
			l.learn()
			if err := l.makeToken(t.Context()); err != nil {
				t.Fatal(err)
			}
			l.cut()
			l.launch()
			l.mustBeReady()
			l.check(&history{names: map[string]int{}}, true)
		})
	}
}

// An aim is a call at which the site is ended.
type aim struct {
	name     string
	op       powerloss.Op
	path     string
	after    bool
	skip     int      // at most so many calls go by first
	operator []string // what an operator must do for it to come
	bulk     bool     // much must be written for it to come
	start    bool     // it comes while the site starts
	stop     bool     // it comes while the site stops in good order
}

var rebuild = []string{"views", "rebuild", "status"}

// allAims are the moments that matter, before and after the call that makes them.
var allAims = []aim{
	{name: "page written, not synced", op: powerloss.Write, path: "journal/jetstream/*/streams/*/msgs/*.blk", after: true, skip: 60},
	{name: "page about to be synced", op: powerloss.Sync, path: "journal/jetstream/*/streams/*/msgs/*.blk", skip: 60},
	{name: "page synced, not acknowledged", op: powerloss.Sync, path: "journal/jetstream/*/streams/*/msgs/*.blk", after: true, skip: 60},
	{name: "block file begun", op: powerloss.Create, path: "journal/jetstream/*/streams/*/msgs/*.blk", after: true, bulk: true},
	{name: "block file's name about to be kept", op: powerloss.SyncFolder, path: "journal/jetstream/*/streams/*/msgs", bulk: true},
	{name: "journal's mark about to be renamed", op: powerloss.Rename, path: "journal/history", bulk: true},
	{name: "journal's mark renamed", op: powerloss.Rename, path: "journal/history", after: true, bulk: true},
	{name: "file made, not synced", op: powerloss.Write, path: "inboxes/bgb.box/tmp/*", after: true, skip: 20},
	{name: "file dropped, name not kept", op: powerloss.Rename, path: "inboxes/bgb.box/*", after: true, skip: 20},
	{name: "file about to be claimed", op: powerloss.Rename, path: "inboxes/bgb.box/work/*", skip: 20},
	{name: "file claimed", op: powerloss.Rename, path: "inboxes/bgb.box/work/*", after: true, skip: 20},
	{name: "file about to be archived", op: powerloss.Rename, path: "inboxes/bgb.box/archive/*/*", skip: 20},
	{name: "file archived", op: powerloss.Rename, path: "inboxes/bgb.box/archive/*/*", after: true, skip: 20},
	{name: "view about to be committed", op: powerloss.Sync, path: "views/*/*/*.mem", skip: 60},
	{name: "view committed", op: powerloss.Sync, path: "views/*/*/*.mem", after: true, skip: 60},
	{name: "CURRENT about to be renamed", op: powerloss.Rename, path: "views/*/CURRENT", operator: rebuild},
	{name: "CURRENT renamed", op: powerloss.Rename, path: "views/*/CURRENT", after: true, operator: rebuild},
	{name: "CURRENT's name kept", op: powerloss.SyncFolder, path: "views/*", after: true, operator: rebuild},
	{name: "view's files made", op: powerloss.Create, path: "views/*/*/*", after: true, skip: 20, operator: rebuild},
	{name: "checkpoint about to be renamed", op: powerloss.Rename, path: "journal/tree/checkpoint"},
	{name: "checkpoint renamed", op: powerloss.Rename, path: "journal/tree/checkpoint", after: true},
	{name: "hash of the tree written", op: powerloss.Write, path: "journal/tree/hashes", after: true, skip: 3},
	{name: "list of generations about to be renamed", op: powerloss.Rename, path: "journal/generations", bulk: true},
	{name: "list of generations renamed", op: powerloss.Rename, path: "journal/generations", after: true, bulk: true},
	{name: "archive written in part", op: powerloss.Write, path: "journal/archive/*", after: true, bulk: true, skip: 2},
	{name: "archive about to be synced", op: powerloss.Sync, path: "journal/archive/*", bulk: true},
	{name: "archive about to get its name", op: powerloss.Rename, path: "journal/archive/*", bulk: true},
	{name: "archive has its name", op: powerloss.Rename, path: "journal/archive/*", after: true, bulk: true},
	{name: "archived generation about to be removed", op: powerloss.Remove, path: "journal/jetstream/*/streams/*/msgs/*.blk", bulk: true},
	{name: "archived generation's file removed", op: powerloss.Remove, path: "journal/jetstream/*/streams/*/msgs/*.blk", after: true, bulk: true},
	{name: "saved folds about to be renamed", op: powerloss.Rename, path: "journal/state", stop: true},
	{name: "saved folds renamed", op: powerloss.Rename, path: "journal/state", after: true, stop: true},
	{name: "any call of a start", op: powerloss.Any, skip: 80, start: true},
	{name: "any call of a stop", op: powerloss.Any, skip: 20, stop: true},
}

// campaign ends the site again and again, half of the time at a chance moment and
// else at one of the aims in their turn, and checks after each new start.
func (l *lab) campaign(aims []aim, cycles int, end func()) {
	h := &history{names: map[string]int{}}
	began := time.Now()
	next := 0
	for l.cycles = 1; l.cycles <= cycles; l.cycles++ {
		whole := l.cycles%10 == 0 || l.cycles == 1
		if l.random.IntN(2) == 0 {
			l.begin(h, whole)
			l.write(h.epoch)
			l.afterSome(60)
			l.aim = "a chance moment"
			l.moments["at a chance moment"]++
		} else {
			l.takeAim(h, &aims[next%len(aims)], whole)
			next++
		}
		end()
	}
	l.begin(h, true)
	l.site.stop()
	l.site = nil
	l.report(l.t, h)
	each := func(d time.Duration) time.Duration { return (d / time.Duration(cycles)).Round(time.Millisecond) }
	l.t.Logf("%s a cycle, of these %s to start, %s to read, %s to rebuild", each(time.Since(began)), each(l.starting), each(l.checking), each(l.comparing))
}

// begin starts the site and checks everything.
func (l *lab) begin(h *history, whole bool) {
	l.t.Helper()
	clock := time.Now()
	lap := func(sum *time.Duration) {
		*sum += time.Since(clock)
		clock = time.Now()
	}
	l.launch()
	l.mustBeReady()
	lap(&l.starting)
	l.check(h, whole)
	lap(&l.checking)
	if whole || l.cycles%3 == 0 {
		l.compare()
		lap(&l.comparing)
	}
}

// takeAim lets the site run until it meets the aim, or clearly does not.
func (l *lab) takeAim(h *history, a *aim, whole bool) {
	l.t.Helper()
	trap := &powerloss.Trap{Op: a.op, Path: a.path, After: a.after, Skip: l.random.IntN(a.skip + 1)}
	if a.start {
		l.disk.Arm(trap)
		l.launch()
		l.ready(l.disk.Stopped())
		l.met(a, trap)
		return
	}
	l.begin(h, whole)
	if !a.stop {
		l.disk.Arm(trap)
	}
	l.bulk = a.bulk
	l.write(h.epoch, a.operator...)
	if a.stop {
		l.acknowledged(20)
		l.disk.Arm(trap)
		l.site.cmd.Process.Signal(syscall.SIGTERM)
	}
	select {
	case <-l.disk.Stopped():
	case <-l.site.done:
		if !a.stop {
			l.t.Fatalf("cycle %d, %s: the site has ended by itself: %v\n%s", l.cycles, a.name, l.site.err, l.site.said())
		}
	case <-time.After(missedAfter):
	}
	l.met(a, trap)
}

// missedAfter is how long a site runs that does not meet an aim.
const missedAfter = 15 * time.Second

func (l *lab) met(a *aim, trap *powerloss.Trap) {
	l.aim = a.name
	if l.disk.Hits(trap) > 0 {
		l.moments["at: "+a.name]++
	} else {
		l.moments["missed: "+a.name]++
	}
}

// afterSome waits until at most so many things more were acknowledged, and then
// for some moment.
func (l *lab) afterSome(most int) {
	l.t.Helper()
	l.acknowledged(1 + l.random.IntN(most))
	time.Sleep(time.Duration(l.random.IntN(5000)) * time.Microsecond) // where the end falls is the test's subject
}

// acknowledged waits until so many things more were acknowledged, or the power goes.
func (l *lab) acknowledged(enough int) {
	l.t.Helper()
	before, _ := l.records.count()
	limit := time.After(patience)
	for {
		n, more := l.records.count()
		if n-before >= enough {
			return
		}
		select {
		case <-more:
		case <-l.disk.Stopped():
			return
		case <-l.site.done:
			l.t.Fatalf("cycle %d: the site has ended by itself: %v\n%s", l.cycles, l.site.err, l.site.said())
		case <-limit:
			l.t.Fatalf("cycle %d: nothing is acknowledged any more: %v", l.cycles, l.writers.refusals())
		}
	}
}
