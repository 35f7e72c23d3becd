package listener

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// agentsName is how many honest agents the long tests of bad input have; one in
// twenty as many misbehave, if it is agents who do.
const agentsName = "BUGLE_LISTENER_LAB_AGENTS"

func labAgents(usual int) int {
	if n, err := strconv.Atoi(os.Getenv(agentsName)); err == nil && n > 0 {
		return n
	}
	return usual
}

// An ordeal is bad input beside many honest agents. Begin begins it; stop ends it,
// and heal says whether all is well again.
type ordeal struct {
	name  string
	begin func(s *scale) (stop func())
	heal  func(s *scale) bool // besides what holds for all; or nil
	// seen tells whether the figures show it; before are those from before it.
	seen func(now, before Stats) bool
	said []string // status messages of which one at least is said
}

// A scale is the listener and the agents of an ordeal.
type scale struct {
	*watch
	t       *testing.T
	strange int      // connections of who does not get in; half-open ones
	headers int      // with slow headers
	bad     []uint32 // devices that misbehave
	spare   int      // descriptors that are left, when they are to be few
}

var ordeals = []ordeal{
	{name: "handshakes never end", seen: func(now, before Stats) bool { return now.CutSlow > before.CutSlow },
		said: []string{tooSlow}, begin: func(s *scale) func() { return s.assault("half-open", "tcp", s.strange) }},
	{name: "slow headers", seen: func(now, before Stats) bool { return now.Refused > before.Refused },
		said: []string{tooSlow, noRequest, strconv.Itoa(int(msgSlowed))}, begin: func(s *scale) func() { return s.assault("slow headers", "https", s.headers) }},
	{name: "agents stopped", seen: func(now, before Stats) bool { return now.TooSlow > before.TooSlow },
		said: []string{strconv.Itoa(int(msgTooSlow))}, begin: (*scale).stopAgents, heal: (*scale).allAreBack},
	{name: "agents read a byte a second", seen: func(now, before Stats) bool { return now.TooSlow > before.TooSlow },
		said: []string{strconv.Itoa(int(msgTooSlow))}, begin: (*scale).letCrawl},
	{name: "descriptors are exhausted", seen: func(now, before Stats) bool { return now.Refused > before.Refused },
		said: []string{strconv.Itoa(int(msgNoFiles))}, begin: (*scale).exhaust},
}

// TestBadInput lets many misbehave beside agents that do not: these are served as
// before, newcomers are served or told to come later, the figures and the status
// messages say what happens, and all is well again once it is over.
func TestBadInput(t *testing.T) {
	agents, during := 20, 10*time.Millisecond
	setup := labSetup{Limits: Limits{PerAddress: 48, Handshakes: 48, HTTPS: 48}, SendBuffer: 16 << 10, Write: 500 * time.Millisecond}
	s := &scale{strange: 60, headers: 60, spare: 40}
	if longLab() {
		agents, during = labAgents(1000), 20*time.Second
		setup.Limits, setup.Write = Limits{PerAddress: 256}, 0
		s.strange, s.headers, s.spare = 3000, 500, mostKept+100 // of which newcomers get a hundred
	}
	l := newLabOf(t, setup)
	for i := range max(agents/20, 2) {
		s.bad = append(s.bad, uint32(1<<17+i+1))
	}
	if longLab() {
		s.watch = l.crew(muster{N: agents})
	} else {
		s.watch = l.watch(0, agents)
	}
	s.push() // warm
	for _, o := range ordeals {
		t.Run(o.name, func(t *testing.T) {
			s.t = t
			s.suffer(&o, during)
		})
	}
}

func (s *scale) suffer(o *ordeal, during time.Duration) {
	s.atRest()
	calm, idle := s.measured(during)
	quiet := s.l.order(order{}).Peak // pushes take memory, too
	before := s.atRest()
	lost := s.ended()
	stop := o.begin(s)
	guests := s.l.newcomers("127.0.2.1")
	under, busy := s.measured(during)
	visible := s.visible(o, before)
	now := s.l.order(order{})
	stop()
	came := guests()
	healed := time.Now()
	s.await("all is well", func() bool { return s.l.order(order{}).Stats.Handshakes == 0 && (o.heal == nil || o.heal(s)) })
	took := time.Since(healed)
	after, _ := s.measured(during / 2)
	later := s.l.newcomers(attacker(0), "127.0.2.1")()
	say(s.t, map[string]any{"bad input": o.name, "agents": len(s.devices), "calm": calm, "under": under, "after": after,
		"ratio of p99": 2 * under.PushP99 / (calm.PushP99 + after.PushP99), "ratio of typical p99": 2 * under.PushTypical / (calm.PushTypical + after.PushTypical), "at rest KiB": before.Resident, "calm peak KiB": quiet, "peak KiB": now.Peak,
		"listener cores": busy, "calm listener cores": idle, "seen": visible, "newcomers": came, "newcomers later": later, "well after s": took.Seconds()})
	if n := now.Peak - max(quiet, before.Resident); n > maxGrowth {
		s.t.Errorf("memory grew by %d KiB, at most %d are taken", n, maxGrowth)
	}
	if n := s.ended() - lost; n != 0 {
		s.t.Errorf("%d honest sessions ended", n)
	}
	for _, c := range slices.Concat(came, later) {
		if c.SignedIn == 0 {
			s.t.Errorf("nobody could sign in: %+v, later %+v", came, later)
		}
	}
}

// atRest lets memory settle, and its peak begin anew.
func (s *scale) atRest() account {
	a := s.l.order(order{Settle: true})
	s.l.order(order{Peak: true})
	return a
}

// visible waits until figures and status messages show the ordeal, and returns
// what they show.
func (s *scale) visible(o *ordeal, before account) (shows map[string]any) {
	var now account
	s.await("figures and status messages show it", func() bool {
		s.l.order(order{Tell: true})
		now = s.l.order(order{})
		said := slices.ContainsFunc(o.said, func(m string) bool { return now.Said[m] > before.Said[m] })
		return said && o.seen(now.Stats, before.Stats)
	})
	maps.DeleteFunc(now.Said, func(m string, n uint64) bool { return n == before.Said[m] })
	for m := range now.Said {
		now.Said[m] -= before.Said[m]
	}
	a, b := now.Stats, before.Stats
	return map[string]any{"refused": a.Refused - b.Refused, "slowed": a.Slowed - b.Slowed, "cut slow": a.CutSlow - b.CutSlow, "too slow": a.TooSlow - b.TooSlow,
		"failed drops": a.FailedDrops - b.FailedDrops, "connections": a.Connections, "handshakes": a.Handshakes, "said": now.Said}
}

func (s *scale) await(what string, ok func() bool) {
	for limit := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			a := s.l.order(order{})
			s.t.Errorf("never: %s: %+v, said %v", what, a.Stats, a.Said)
			return
		}
	}
}

func (s *scale) assault(name, port string, connections int) (stop func()) {
	end := s.l.attack(attackNamed(name, port), connections)
	return func() { end() }
}

// burden opens more for the devices that misbehave than their sockets hold.
func (s *scale) burden() (lift func()) {
	var ids []task.ID
	for range 60 {
		id, _ := s.l.open("logs.collect", 7<<10, s.bad...)
		ids = append(ids, id)
	}
	return func() {
		for _, id := range ids {
			s.l.order(order{End: id})
		}
	}
}

// stopAgents stops the process of agents that had signed in.
func (s *scale) stopAgents() (stop func()) {
	w := s.l.crew(muster{First: int(s.bad[0]) - 1, N: len(s.bad), ReadBuffer: 4 << 10, Back: true})
	if err := w.crew.process.Signal(unix.SIGSTOP); err != nil {
		s.t.Error(err)
	}
	s.t.Cleanup(func() {
		w.crew.over()
		s.await("the agents have gone", func() bool { return s.l.order(order{}).Stats.Sessions == len(s.devices) })
	})
	lift := s.burden()
	return func() {
		lift()
		if err := w.crew.process.Signal(unix.SIGCONT); err != nil {
			s.t.Error(err)
		}
	}
}

// allAreBack tells whether the agents that were stopped are signed in.
func (s *scale) allAreBack() bool {
	return s.l.order(order{}).Stats.Sessions == len(s.devices)+len(s.bad)
}

// letCrawl lets agents sign in that read a byte a second.
func (s *scale) letCrawl() (stop func()) {
	lift := s.burden()
	end := s.l.attack(-1, len(s.bad), s.bad...)
	return func() { lift(); end() }
}

// exhaust leaves the listener few descriptors, which are taken at once.
func (s *scale) exhaust() (stop func()) {
	s.l.order(order{Spare: s.spare})
	end := s.assault("half-open", "tcp", s.strange)
	return func() {
		end()
		s.t.Cleanup(func() { s.l.order(order{Spare: -1}) })
	}
}
