package simulator

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/journal/tree"
)

// A world is one site, its listeners, its machines, what is between them, and
// what is known of all that. One goroutine, the driver, takes the steps and runs
// what falls due; all others are the parts of the system.
type world struct {
	dir     string
	begun   time.Time
	net     *network
	site    *site
	servers []*server
	all     []*machine
	evil    *evil
	admin   *admin
	truth   *truth
	model   *model
	kept    []tree.Checkpoint // signed states of the journal, kept elsewhere

	puts atomic.Uint64

	mu   sync.Mutex
	rng  *rand.Rand
	hits map[string]int
	todo []chore // by time
	wake chan struct{}
	fail error
	said []string // what happened, for people
}

// A chore is what the driver does at a moment.
type chore struct {
	at time.Time
	do func()
}

// sizes of a world.
const machines = 5

func newWorld(dir string) *world {
	w := &world{dir: dir, begun: time.Now(), net: newNetwork(), truth: newTruth(), rng: rand.New(rand.NewPCG(0, 0)),
		hits: make(map[string]int), wake: make(chan struct{}, 1)}
	w.site, w.admin, w.model = newSite(w), newAdmin(w), newModel(w)
	w.servers = []*server{newServer(w, "LSNA", "a.sim"), newServer(w, "LSNB", "b.sim")}
	for i := range machines {
		w.all = append(w.all, newMachine(w, i))
	}
	w.evil = newEvil(w)
	return w
}

// Log is where the parts of the simulated system log to; nowhere unless somebody
// looks into a run.
var Log = slog.New(slog.DiscardHandler)

// addresses are what a joining device is told.
func (w *world) addresses() (all []string) {
	for _, s := range w.servers {
		all = append(all, s.address())
	}
	return all
}

// begin starts everything; all machines have joined then.
func (w *world) begin() error {
	if err := w.site.open(); err != nil {
		return err
	}
	for _, s := range w.servers {
		if err := s.start(); err != nil {
			return err
		}
	}
	for _, m := range append(slices.Clone(w.all), w.evil.machine) {
		if err := m.join(); err != nil {
			return err
		}
	}
	w.admin.policy(30 * time.Second) // so that nobody takes long to find out that a session is dead
	synctest.Wait()
	for _, m := range w.all {
		if err := m.start(); err != nil {
			return err
		}
	}
	return nil
}

// end stops everything, so that the bubble can end.
func (w *world) end() {
	w.mu.Lock()
	w.todo = nil
	w.mu.Unlock()
	w.evil.hangUp()
	for _, m := range w.all {
		if p := m.current(); p != nil {
			p.die(false)
			<-p.gone
		}
	}
	for _, s := range w.servers {
		if p := s.current(); p != nil {
			p.die(false)
			<-p.gone
		}
	}
	w.site.end()
	time.Sleep(time.Minute) // until the last who waits for somebody has given up
	synctest.Wait()
}

// violated says that a promise was broken, or, as promise 0, that something went
// wrong that no fault explains. Only the first counts.
func (w *world) violated(promise int, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail == nil {
		w.fail = fmt.Errorf("promise %d, after %s: %w", promise, time.Since(w.begun).Round(time.Millisecond), fmt.Errorf(format, args...))
	}
}

func (w *world) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fail
}

// hit counts that a fault met its moment.
func (w *world) hit(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hits[what]++
	w.note("  " + what)
}

// maxSaid is how many lines are kept of what happened, the newest.
const maxSaid = 400

// note adds a line to what happened; w.mu is held.
func (w *world) note(line string) {
	w.said = append(w.said, fmt.Sprintf("%14s %s", time.Since(w.begun), line))
	if len(w.said) > maxSaid {
		w.said = slices.Delete(w.said, 0, len(w.said)-maxSaid)
	}
}

// draw begins the random numbers of one step.
func (w *world) draw(what string, seed uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(what)
	w.rng = rand.New(rand.NewPCG(seed, 0))
}

// below is at random from 0 to n-1.
func (w *world) below(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

// chance is true once in n times.
func (w *world) chance(n int) bool { return w.below(n) == 0 }

// drawn is at random up to most, and small values are as likely as large ones.
func (w *world) drawn(most time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := most
	for range w.rng.IntN(8) {
		d /= 3
	}
	return time.Duration(w.rng.Int64N(int64(d) + 1))
}

// later lets the driver do something once d has passed.
func (w *world) later(d time.Duration, do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := time.Now().Add(d)
	i, _ := slices.BinarySearchFunc(w.todo, at, func(c chore, t time.Time) int {
		if c.at.After(t) {
			return 1
		}
		return -1
	})
	w.todo = slices.Insert(w.todo, i, chore{at, do})
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// due takes the next chore if its time has come, and else says how long it is
// until then, at most until end.
func (w *world) due(end time.Time) (do func(), wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if len(w.todo) > 0 {
		if c := w.todo[0]; !c.at.After(now) {
			w.todo = w.todo[1:]
			return c.do, 0
		} else if c.at.Before(end) {
			end = c.at
		}
	}
	return nil, end.Sub(now)
}

// pass lets time pass, does what falls due, and returns when everything waits.
func (w *world) pass(d time.Duration) {
	end := time.Now().Add(d)
	for {
		synctest.Wait()
		w.supervise()
		do, wait := w.due(end)
		if do != nil {
			do()
			continue
		}
		if wait <= 0 {
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-w.wake:
		}
		t.Stop()
	}
}

// supervise starts the site anew when a fault of its journal has ended it.
func (w *world) supervise() {
	r := w.site.now()
	if r == nil {
		return
	}
	if err := r.parts.failed(); err != nil {
		w.violated(0, "a part of the site ended by itself: %v", err)
	}
	select {
	case <-r.store.Failed():
		w.hit("site killed: outcome of an append unknown")
		w.crashSite(w.drawn(20 * time.Second))
	default:
	}
}

// crashSite takes the site down for a while.
func (w *world) crashSite(down time.Duration) {
	if !w.site.crash() {
		return
	}
	w.site.health.begin()
	w.site.lose(w)
	w.later(down, func() {
		if err := w.site.open(); err != nil {
			w.violated(1, "%v", err)
			return
		}
		w.site.health.end()
	})
}

// put writes bytes into the site's box under a name, as a writer does.
func (w *world) put(name string, b []byte) {
	tmp := filepath.Join(w.site.box(), "tmp", fmt.Sprint("put-", w.puts.Add(1)))
	if err := errors.Join(os.WriteFile(tmp, b, 0o600), os.Rename(tmp, filepath.Join(w.site.box(), name))); err != nil {
		w.violated(0, "put file: %v", err)
	}
}

// Health is whether a part is as it should be, and since when.
type health struct {
	mu    sync.Mutex
	ill   int
	since time.Time
}

func (h *health) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ill++
}

func (h *health) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ill--
	h.since = time.Now()
}

// blink is an illness that is over at once.
func (h *health) blink() {
	h.begin()
	h.end()
}

// well returns since when all of them are; ok is false while one is not.
func well(all ...*health) (since time.Time, ok bool) {
	for _, h := range all {
		h.mu.Lock()
		ill, at := h.ill > 0, h.since
		h.mu.Unlock()
		if ill {
			return time.Time{}, false
		}
		if at.After(since) {
			since = at
		}
	}
	return since, true
}
