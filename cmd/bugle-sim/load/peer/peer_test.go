package peer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
)

// TestMain lets the test's program be the servers too, as bugle-sim is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == commandName {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		c := ServerCommand()
		c.SetArgs(os.Args[2:])
		if err := c.ExecuteContext(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// patience bounds every wait of the tests.
const patience = 30 * time.Second

// A diary is an observer that writes down how often each thing was told.
type diary struct {
	mu      sync.Mutex
	tasks   map[uint64]map[int]int // by task and agent
	safe    map[uint64]map[int]int
	counted map[uint64]int
	last    map[uint64]time.Time // when an agent had a task last
	lost    map[int]error
	changed chan struct{} // has room for one: something was written down
}

func newDiary() *diary {
	return &diary{tasks: map[uint64]map[int]int{}, safe: map[uint64]map[int]int{}, counted: map[uint64]int{},
		last: map[uint64]time.Time{}, lost: map[int]error{}, changed: make(chan struct{}, 1)}
}

func (d *diary) note(what func()) {
	d.mu.Lock()
	what()
	d.mu.Unlock()
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

func note(of map[uint64]map[int]int, number uint64, agent int) {
	if of[number] == nil {
		of[number] = map[int]int{}
	}
	of[number][agent]++
}

func (d *diary) Task(agent int, number uint64, at time.Time) {
	d.note(func() { note(d.tasks, number, agent); d.last[number] = at })
}
func (d *diary) Safe(agent int, number uint64, _ time.Time) {
	d.note(func() { note(d.safe, number, agent) })
}
func (d *diary) Counted(number uint64, agents int, _ time.Time) {
	d.note(func() { d.counted[number] += agents })
}
func (d *diary) Lost(agent int, err error) { d.note(func() { d.lost[agent] = err }) }

// wait returns once the diary says what is wanted.
func (d *diary) wait(t testing.TB, what string, holds func() bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		d.mu.Lock()
		ok := holds()
		d.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-d.changed:
		case <-limit:
			d.mu.Lock()
			defer d.mu.Unlock()
			t.Fatalf("%s: tasks %v, safe %v, counted %v, lost %v", what, d.tasks, d.safe, d.counted, d.lost)
		}
	}
}

// everywhere waits until some agents have a task, know their answers to be safe, and
// are counted.
func (d *diary) everywhere(t testing.TB, number uint64, agents []int) {
	t.Helper()
	d.wait(t, fmt.Sprintf("task %d for %d agents", number, len(agents)), func() bool {
		return len(d.tasks[number]) >= len(agents) && len(d.safe[number]) >= len(agents) && d.counted[number] >= len(agents)
	})
}

// once fails unless exactly these agents had the task, once each.
func (d *diary) once(t testing.TB, number uint64, agents []int) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if had := slices.Sorted(maps.Keys(d.tasks[number])); !slices.Equal(had, agents) {
		t.Errorf("task %d: agents %v had it, want %v", number, had, agents)
	}
	for agent, n := range d.tasks[number] {
		if n != 1 {
			t.Errorf("task %d: agent %d had it %d times", number, agent, n)
		}
	}
	if d.counted[number] != len(agents) {
		t.Errorf("task %d: %d agents were counted, want %d", number, d.counted[number], len(agents))
	}
}

// A stage is a peer with agents.
type stage struct {
	*diary
	*target
	all      []int
	sessions []load.Session
}

// open opens a peer, and skips the test if it is not installed.
func open(t testing.TB, name string, agents, cpu int) *stage {
	t.Helper()
	return openIn(t, t.TempDir(), name, agents, cpu)
}

func openIn(t testing.TB, dir, name string, agents, cpu int) *stage {
	t.Helper()
	d := newDiary()
	opened, err := Open(t.Context(), name, Config{Agents: agents, Observer: d, CPU: cpu, Dir: dir, Addresses: addresses()})
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil && !t.Failed() {
			t.Error(err)
		}
	})
	s := &stage{diary: d, target: opened.(*target), sessions: make([]load.Session, agents)}
	for i := range agents {
		s.all = append(s.all, i)
	}
	return s
}

// addresses is how many loopback addresses there are for certain.
func addresses() int {
	if runtime.GOOS == "linux" {
		return 4
	}
	return 1
}

// signIn signs all in.
func (s *stage) signIn(t testing.TB, full bool) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(64)
	for i := range s.sessions {
		g.Go(func() (err error) {
			s.sessions[i], err = s.SignIn(t.Context(), i, full)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func (s *stage) drop() {
	for _, one := range s.sessions {
		one.Drop()
	}
}

func (s *stage) push(t testing.TB, agents []int) uint64 {
	t.Helper()
	number, err := s.Push(t.Context(), agents)
	if err != nil {
		t.Fatal(err)
	}
	return number
}

// each runs a test with each peer.
func each(t *testing.T, run func(t *testing.T, name string)) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) { run(t, name) })
	}
}

const fleet = 50

func TestPushDropReturn(t *testing.T) { each(t, pushDropReturn) }

func pushDropReturn(t *testing.T, name string) {
	s := open(t, name, fleet, -1)
	tenth := []int{0, 10, 20, 30, 40}
	s.signIn(t, true)
	for i, one := range s.sessions {
		if one.Resumed() {
			t.Errorf("agent %d resumed a session that it never had", i)
		}
	}
	first := s.push(t, nil)
	s.everywhere(t, first, s.all)
	second := s.push(t, tenth)
	s.everywhere(t, second, tenth)

	s.drop()
	missed := s.push(t, nil)
	s.signIn(t, false)
	for i, one := range s.sessions {
		if !one.Resumed() {
			t.Errorf("agent %d did not resume its session", i)
		}
	}
	s.everywhere(t, missed, s.all)

	s.drop()
	some := s.push(t, tenth)
	s.signIn(t, true)
	for i, one := range s.sessions {
		if one.Resumed() {
			t.Errorf("agent %d resumed though it was to shake hands in full", i)
		}
	}
	s.everywhere(t, some, tenth)

	last := s.push(t, nil)
	s.everywhere(t, last, s.all)
	for number, agents := range map[uint64][]int{first: s.all, second: tenth, missed: s.all, some: tenth, last: s.all} {
		s.once(t, number, agents)
	}
	if len(s.lost) != 0 {
		t.Errorf("lost: %v", s.lost)
	}
}

// TestUnsafeAnswerIsRepeated is an agent that does not know whether the server has its
// answer.
func TestUnsafeAnswerIsRepeated(t *testing.T) { each(t, unsafeAnswerIsRepeated) }

func unsafeAnswerIsRepeated(t *testing.T, name string) {
	s := open(t, name, 1, -1)
	s.signIn(t, true)
	number := s.push(t, nil)
	s.everywhere(t, number, s.all)
	s.agents[0].leave()
	s.agents[0].unsafe = number
	s.signIn(t, false)
	s.wait(t, "answer repeated", func() bool { return s.safe[number][0] == 2 })
	s.once(t, number, s.all)
}

func TestUsage(t *testing.T) { each(t, usage) }

func usage(t *testing.T, name string) {
	s := open(t, name, 10, 0)
	s.signIn(t, true)
	u, err := s.Usage()
	if err != nil || u.RSS == 0 || u.Peak < u.RSS {
		t.Errorf("usage %+v: %v", u, err)
	}
	if err := s.ResetPeak(); err != nil {
		t.Error(err)
	}
	if s.Name() != name {
		t.Errorf("name %q", s.Name())
	}
}

// TestServerDies expects that agents and callers learn of a server that ends.
func TestServerDies(t *testing.T) { each(t, serverDies) }

func serverDies(t *testing.T, name string) {
	s := open(t, name, 5, -1)
	s.signIn(t, true)
	p, err := os.FindProcess(s.process.PID)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
	s.wait(t, "all lost", func() bool { return len(s.lost) == 5 })
	<-s.process.Ended()
	if _, err := s.SignIn(t.Context(), 0, false); err == nil || !strings.Contains(err.Error(), "the server has ended") {
		t.Errorf("sign in: %v", err)
	}
	if _, err := s.Push(t.Context(), nil); err == nil {
		t.Error("a server that has ended took a task")
	}
	if s.Close() == nil {
		t.Error("close says nothing of the server's end")
	}
	s.closed = nil // the test's end closes again
}

// TestNextRound opens a peer in the folder of an earlier one.
func TestNextRound(t *testing.T) { each(t, nextRound) }

func nextRound(t *testing.T, name string) {
	dir := t.TempDir()
	for range 2 {
		s := openIn(t, dir, name, 3, -1)
		s.signIn(t, true)
		number := s.push(t, nil)
		s.everywhere(t, number, s.all)
		s.once(t, 1, s.all)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWrongCalls(t *testing.T) {
	good := Config{Agents: 1, Observer: newDiary(), Dir: t.TempDir()}
	for what, change := range map[string]func(*Config){
		"no agent":      func(c *Config) { c.Agents = 0 },
		"agents":        func(c *Config) { c.Agents = maxAgents + 1 },
		"addresses":     func(c *Config) { c.Addresses = maxAddresses + 1 },
		"no observer":   func(c *Config) { c.Observer = nil },
		"no folder":     func(c *Config) { c.Dir = "" },
		"absent folder": func(c *Config) { c.Dir += "/absent" },
	} {
		bad := good
		change(&bad)
		if _, err := Open(t.Context(), "goroutine", bad); err == nil {
			t.Errorf("%s: opened", what)
		}
	}
	if _, err := Open(t.Context(), "carrier pigeon", good); err == nil {
		t.Error("an unknown server was opened")
	}
	s := open(t, "goroutine", 1, -1)
	if _, err := s.SignIn(t.Context(), 1, true); err == nil {
		t.Error("an agent that is not there signed in")
	}
	if _, err := s.Push(t.Context(), []int{1}); err == nil {
		t.Error("an agent that is not there was pushed to")
	}
}
