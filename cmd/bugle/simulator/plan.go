package simulator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A Step is one thing that is done to the world. Its numbers are drawn from Seed,
// so that a step does the same whichever steps are left out before it, as far as
// there is something to do it to.
type Step struct {
	Name string
	Seed uint64
}

// Plan draws n steps from a seed.
func Plan(seed uint64, n int) []Step {
	rng := rand.New(rand.NewPCG(seed, 1))
	total := 0
	for i := range steps {
		total += steps[i].weight
	}
	all := make([]Step, n)
	for i := range all {
		at := rng.IntN(total)
		for k := range steps {
			if at -= steps[k].weight; at < 0 {
				all[i] = Step{steps[k].name, rng.Uint64()}
				break
			}
		}
	}
	return all
}

// String is the step as [ParsePlan] reads it.
func (s Step) String() string { return fmt.Sprintf("%s:%x", s.Name, s.Seed) }

// ParsePlan reads steps, each a name, a colon, and a seed in hexadecimal: a plan
// that stays the same when the table of steps changes, which a seed does not.
func ParsePlan(text string) (plan []Step, err error) {
	for _, word := range strings.Fields(text) {
		name, number, _ := strings.Cut(word, ":")
		seed, err := strconv.ParseUint(number, 16, 64)
		if err != nil || !slices.ContainsFunc(steps, func(s step) bool { return s.name == name }) {
			return nil, fmt.Errorf("step %q is not one of those that there are, a colon, and a seed", word)
		}
		plan = append(plan, Step{name, seed})
	}
	return plan, nil
}

// A step is a kind of [Step].
type step struct {
	name   string
	weight int
	do     func(*world)
}

var steps = []step{
	{"push", 24, (*world).push},
	{"cancel", 3, (*world).cancel},
	{"block", 1, (*world).block},
	{"policy", 1, func(w *world) { w.admin.policy(time.Duration(1+w.below(4)) * 30 * time.Second) }},
	{"hours", 1, func(w *world) { w.pass(w.drawn(4 * time.Hour)) }},

	{"cut", 5, (*world).cut},
	{"cut-inside", 8, (*world).cutInside},
	{"stall", 3, (*world).stall},
	{"half-open", 4, (*world).halfOpen},
	{"move", 6, (*world).move},
	{"slow", 2, func(w *world) { w.eachLink(func(l *link) { l.slow(w.drawn(2 * time.Second)) }); w.hit("slow link") }},

	{"kill-agent", 3, func(w *world) { w.machine().kill(w.chance(2)) }},
	{"arm-agent", 12, (*world).armAgent},
	{"stop-agent", 2, (*world).stopAgent},
	{"sleep", 4, (*world).sleep},
	{"jump", 3, func(w *world) {
		w.machine().jump(time.Duration(w.below(360)-180) * time.Minute)
		w.hit("agent's clock set")
	}},
	{"agent-full", 2, (*world).agentFull},

	{"kill-listener", 2, func(w *world) { w.server().kill(w.chance(2)) }},
	{"arm-listener", 5, (*world).armListener},
	{"stop-listener", 1, (*world).stopListener},
	{"listener-full", 2, (*world).listenerFull},
	{"lag", 4, (*world).lag},

	{"crash-site", 3, func(w *world) { w.hit("site killed"); w.crashSite(w.drawn(time.Minute)) }},
	{"crash-both", 1, func(w *world) {
		w.hit("site killed with a listener")
		w.servers[0].kill(false)
		w.crashSite(w.drawn(time.Minute))
	}},
	{"journal-fault", 8, (*world).journalFault},
	{"hold-and-crash", 3, (*world).holdAndCrash},
	{"site-full", 2, (*world).siteFull},

	{"again", 3, (*world).again},
	{"renamed", 2, (*world).renamed},
	{"contradicted", 2, (*world).contradicted},
	{"damaged", 2, func(w *world) { s := w.server(); s.mu.Lock(); s.damage++; s.mu.Unlock() }},

	{"evil", 6, (*world).attack},
	{"keep", 4, (*world).keep},
	{"tamper", 3, (*world).tamper},
	{"rebuild", 1, (*world).rebuild},
}

func (w *world) take(s Step) {
	w.draw(s.Name, s.Seed)
	i := slices.IndexFunc(steps, func(k step) bool { return k.name == s.Name })
	if i < 0 {
		w.violated(0, "there is no step %q", s.Name)
		return
	}
	steps[i].do(w)
	most := []time.Duration{50 * time.Millisecond, 50 * time.Millisecond, 2 * time.Second, 2 * time.Second, 20 * time.Second, 2 * time.Minute}
	w.pass(w.drawn(most[w.below(len(most))]))
	w.check()
}

func (w *world) machine() *machine { return w.all[w.below(len(w.all))] }
func (w *world) server() *server   { return w.servers[w.below(len(w.servers))] }

// push asks for an operation of any kind, for some devices or for all.
func (w *world) push() {
	kinds := []string{"scan.quick", "scan.quick", "scan.full", "policy.machine", "discovery.collect"}
	valid := []time.Duration{time.Minute, time.Minute, 3 * time.Minute, 3 * time.Minute, 10 * time.Minute, 10 * time.Minute, 30 * time.Minute}
	var devices []uint32
	if w.chance(2) {
		for _, m := range w.all {
			if w.chance(2) {
				devices = append(devices, m.number)
			}
		}
	}
	var after time.Duration
	if w.chance(5) {
		after = w.drawn(5 * time.Minute)
	}
	w.admin.push(kinds[w.below(len(kinds))], devices, valid[w.below(len(valid))], after)
}

// requested are all operations, oldest first.
func (w *world) requested() (all []*order) {
	for _, o := range w.model.orders {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b *order) int { return int(int64(a.event) - int64(b.event)) })
	return all
}

// open are the operations that may still reach somebody, oldest first.
func (w *world) open() (open []*order) {
	for _, o := range w.requested() {
		if len(o.ends) == 0 && time.Now().Before(o.task.DeliverBy) {
			open = append(open, o)
		}
	}
	return open
}

func (w *world) cancel() {
	if open := w.open(); len(open) > 0 {
		w.admin.cancel(open[w.below(len(open))].task.Operation)
	}
}

func (w *world) block() {
	m := w.machine()
	if _, ok := well(&m.health); !ok {
		return
	}
	m.health.begin()
	until := w.drawn(10 * time.Minute)
	w.admin.block(m.number, true, func() {
		w.later(until, func() {
			w.admin.block(m.number, false, func() { w.later(time.Minute, func() { w.unblocked(m) }) })
		})
	})
	w.hit("device blocked")
}

// unblocked starts the agent of a device anew once the site has unblocked it: one
// that was turned away for good would take an hour to try again.
func (w *world) unblocked(m *machine) {
	at, ok := well(&w.site.health, &w.servers[0].health, &w.servers[1].health)
	if !ok || time.Since(at) < 30*time.Second { // a listener may not know it yet
		w.later(time.Minute, func() { w.unblocked(m) })
		return
	}
	m.halt()
	if err := m.start(); err != nil {
		w.violated(3, "%v", err)
	}
	m.health.end()
}

func (w *world) eachLink(do func(*link)) (m *machine) {
	m = w.machine()
	for _, l := range w.net.of(m.name) {
		do(l)
	}
	return m
}

func (w *world) cut() {
	w.eachLink((*link).reset).health.blink()
	w.hit("link cut")
}

func (w *world) cutInside() {
	m := w.machine()
	for _, l := range w.net.of(m.name) {
		l.cut(w.chance(2), w.below(700), func() {
			w.hit("link cut inside a message")
			m.health.blink()
		})
	}
}

func (w *world) stall() {
	m := w.machine()
	links := w.net.of(m.name)
	m.health.begin()
	for _, l := range links {
		l.stall(true)
		w.hit("link stalled")
	}
	w.later(w.drawn(4*time.Minute), func() {
		for _, l := range links {
			l.stall(false)
		}
		m.health.end()
	})
}

// halfOpen makes one end forget a link that the other one still believes in.
func (w *world) halfOpen() {
	near := w.chance(2)
	m := w.eachLink(func(l *link) { l.vanish(near) })
	m.health.begin()
	w.hit("link half open")
	w.later(6*time.Minute, m.health.end)
}

// move makes a machine go to the other listener.
func (w *world) move() {
	m := w.machine()
	from := w.server()
	w.net.set(m.name, from.address(), true)
	m.health.begin()
	half := w.chance(2)
	for _, l := range w.net.of(m.name) {
		if l.to == from.address() {
			w.hit("device moved to another listener")
			if half {
				l.vanish(true)
			} else {
				l.reset()
			}
		}
	}
	w.later(w.drawn(10*time.Minute), func() {
		w.net.set(m.name, from.address(), false)
		m.health.end()
	})
	if w.chance(2) { // so that the files of the two come in the other order
		w.lag()
	}
}

func (w *world) armAgent() {
	m := w.machine()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.armed[points[w.below(len(points))]] = &armed{left: w.below(2), power: w.chance(2)}
}

func (w *world) stopAgent() {
	m := w.machine()
	if _, ok := well(&m.health); !ok {
		return
	}
	m.health.begin()
	w.hit("agent stopped")
	m.halt()
	w.later(w.drawn(5*time.Minute), func() {
		if err := m.start(); err != nil {
			w.violated(3, "%v", err)
		}
		m.health.end()
	})
}

func (w *world) sleep() {
	m := w.machine()
	if !m.sleep() {
		return
	}
	w.hit("machine asleep")
	w.later(w.drawn(90*time.Minute), m.wake)
}

func (w *world) agentFull() {
	m := w.machine()
	m.health.begin()
	set := func(full bool) {
		m.mu.Lock()
		m.full = full
		m.mu.Unlock()
	}
	set(true)
	w.later(w.drawn(5*time.Minute), func() {
		set(false)
		m.health.end()
	})
}

func (w *world) armListener() {
	s := w.server()
	s.mu.Lock()
	defer s.mu.Unlock()
	at := dropping
	if w.chance(2) {
		at = dropped
	}
	s.armed[at] = w.below(4)
}

func (w *world) stopListener() {
	s := w.server()
	if _, ok := well(&s.health); !ok {
		return
	}
	s.health.begin()
	w.hit("listener stopped")
	s.halt()
	w.later(w.drawn(2*time.Minute), func() { s.revive(nil) })
}

func (w *world) listenerFull() {
	s := w.server()
	s.health.begin()
	set := func(full bool) {
		s.mu.Lock()
		s.full = full
		s.mu.Unlock()
	}
	set(true)
	w.later(w.drawn(5*time.Minute), func() {
		set(false)
		s.health.end()
	})
}

func (w *world) lag() {
	s, lag := w.server(), w.below(180)
	s.mu.Lock()
	s.lag = time.Duration(lag)*time.Second + 1
	s.mu.Unlock()
	w.later(w.drawn(10*time.Minute), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lag = 0
	})
}

var faults = map[journaltest.Fault]string{journaltest.NotStored: "page not stored", journaltest.StoredButFailed: "page stored, the store said it failed",
	journaltest.Lost: "page lost, nobody can tell", journaltest.LostButStored: "page stored, nobody can tell"}

// journalFault gives one of the next pages a fault.
func (w *world) journalFault() {
	r := w.site.now()
	if r == nil {
		return
	}
	for range w.below(3) {
		r.store.Inject(journaltest.NoFault)
	}
	f := journaltest.Fault(1 + w.below(len(faults)))
	r.store.Inject(f)
	w.hit("fault of the journal: " + faults[f])
	if w.chance(2) {
		w.push()
	}
}

// holdAndCrash kills the site while a page is being written.
func (w *world) holdAndCrash() {
	r := w.site.now()
	if r == nil {
		return
	}
	time.AfterFunc(5*time.Second, r.store.Hold()) // nobody waits for ever
	w.push()
	w.pass(w.drawn(2 * time.Second))
	w.hit("site killed while a page was being written")
	w.crashSite(w.drawn(30 * time.Second))
}

func (w *world) siteFull() {
	r := w.site.now()
	if r == nil {
		return
	}
	w.site.health.begin()
	r.journal.fill(true)
	w.hit("site's disk full")
	w.later(w.drawn(2*time.Minute), func() {
		r.journal.fill(false)
		w.site.health.end()
	})
}

// attack lets the evil agent do something.
func (w *world) attack() {
	s := w.server()
	first := &wire.SignIn{Version: wire.Version, Agent: "evil"}
	switch w.below(5) {
	case 0:
		w.hit("evil: signed in with others' operations")
		first.Open, first.Pending = w.evil.open(), 7
		w.assault(s, first, nil)
	case 1:
		w.hit("evil: others' results")
		w.assault(s, first, w.evil.forgeries(20))
	case 2:
		w.hit("evil: a flood of forged results")
		w.assault(s, first, w.evil.forgeries(1500))
	case 3:
		w.hit("evil: a listener's messages")
		w.assault(s, first, []wire.Message{&wire.KeepAlive{}, &wire.ResultAck{Operation: task.NewID(time.Now()), State: task.Succeeded}})
	case 4:
		for _, l := range w.net.of(w.machine().name) {
			w.hit("evil: recorded bytes of another's connection")
			w.evil.replay(s, l.recorded())
		}
	}
}

func (w *world) assault(s *server, first *wire.SignIn, messages []wire.Message) {
	if err := w.evil.attack(s, first, messages); err != nil {
		w.violated(0, "evil agent: %v", err)
	}
}
