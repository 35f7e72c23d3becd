package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load/fleet"
	"github.com/bugle-fleet/bugle/cmd/bugle-sim/site"
	realsite "github.com/bugle-fleet/bugle/cmd/bugle/site"
)

const agents = 20

// helpers are what this program is if it is called like one.
var helpers = map[string]func(context.Context, io.Reader, io.Writer) error{
	"hand":  fleet.ServeHand,
	"probe": fleet.ServeProbe,
	"dies": func(_ context.Context, _ io.Reader, out io.Writer) error {
		fmt.Fprintln(out, `{"tookNs":1}`)
		return errors.New("died as the test wants it")
	},
}

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && helpers[os.Args[1]] != nil {
		if err := helpers[os.Args[1]](context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// helper is how to start one.
func helper(t *testing.T, args ...string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{self}, args...)
}

// openSite opens a site in this process.
func openSite(t *testing.T) (data string) {
	t.Helper()
	cfg := realsite.Default()
	cfg.Data, cfg.Version = t.TempDir(), "test"
	cfg.ListenTCP, cfg.ListenHTTP, cfg.ListenFeed, cfg.Console = "127.0.0.1:0", "127.0.0.1:0", "", "127.0.0.1:0"
	cfg.Log = slog.New(slog.DiscardHandler)
	s, err := realsite.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return cfg.Data
}

func quick(phases ...string) load.Options {
	return load.Options{Agents: agents, Phases: phases, Pushes: 2, Idle: 50 * time.Millisecond, Settle: 60 * time.Millisecond,
		Pause: time.Millisecond, Churn: 10, // a listener takes 10 sign-ins of a device at once, and then one a second
		Timeout: 30 * time.Second}
}

// drive opens a fleet and takes it through the phases.
func drive(t *testing.T, o load.Options, c fleet.Config) []load.Line {
	t.Helper()
	var lines []load.Line
	o.Line = func(l load.Line) { lines = append(lines, l) }
	r := load.New(o)
	c.Agents, c.Observer, c.CPU = o.Agents, r.Observer(), -1
	f, err := fleet.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	err = r.Run(t.Context(), f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return lines
}

func of(t *testing.T, lines []load.Line, phase, name string) float64 {
	t.Helper()
	for _, l := range lines {
		if v, ok := l.Figures.Of(name); ok && l.Phase == phase {
			return v
		}
	}
	t.Fatalf("no figure %s of phase %s in %v", name, phase, lines)
	return 0
}

func TestAllPhasesAgainstASite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "fleet")
	c := fleet.Config{Dir: dir, Place: site.Place{Data: openSite(t)}, KeepAlive: time.Second, ProbeCommand: helper(t, "probe"), Log: io.Discard}
	lines := drive(t, quick(), c)
	if len(lines) != 9 {
		t.Errorf("%d lines, want 9: %v", len(lines), lines)
	}
	for _, l := range lines {
		if l.Target != "bugle" {
			t.Errorf("line of %s", l.Target)
		}
		for _, name := range []string{"missing", "unsafe", "uncounted", "doubled", "astray", "lostSessions", "apiErrors"} {
			if v, ok := l.Figures.Of(name); ok && v != 0 {
				t.Errorf("%s: %s is %v", l.Phase, name, v)
			}
		}
	}
	for phase, resumed := range map[string]float64{"connect": 0, "known": 0, "resumed": agents, "storm-resumed": agents, "storm-full": 0} {
		if got := of(t, lines, phase, "resumed"); got != resumed {
			t.Errorf("%s: %v were resumed, want %v", phase, got, resumed)
		}
	}
	for _, phase := range []string{"push", "tenth"} {
		if last, counted := of(t, lines, phase, "taskLastMs"), of(t, lines, phase, "countedLastMs"); last <= 0 || counted <= 0 {
			t.Errorf("%s: last has it after %v ms, counted after %v", phase, last, counted)
		}
	}
	for _, phase := range []string{"storm-resumed", "storm-full"} {
		if half, most := of(t, lines, phase, "apiP50Ms"), of(t, lines, phase, "apiMaxMs"); half <= 0 || most < half {
			t.Errorf("%s: half of the API's answers came in %v ms, all in %v", phase, half, most)
		}
	}
	if n, files := of(t, lines, "churn", "sessionsEnd"), of(t, lines, "churn", "filesEnd"); n != agents || files < 2*agents {
		t.Errorf("%v sessions and %v files at the end of the churn", n, files)
	}
	identities := filepath.Join(dir, "identities")
	info, err := os.Stat(identities)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("file of identities: %v, %v", info, err)
	}
	before, _ := os.ReadFile(identities)

	// A later run uses the same devices, fewer if it wants fewer, also by the hands of
	// other processes.
	o := quick(load.PhasePush)
	o.Agents, o.Pushes = agents/2, 1
	c.Name, c.Hands, c.HandCommand, c.PIDs = "again", 3, helper(t, "hand"), []int{os.Getpid()}
	lines = drive(t, o, c)
	if got := of(t, lines, "push", "missing"); got != 0 || lines[0].Target != "again" {
		t.Errorf("%v missing of %s", got, lines[0].Target)
	}
	if got := of(t, lines, "resumed", "resumed"); got != agents/2 {
		t.Errorf("%v were resumed, want %d", got, agents/2)
	}
	if after, _ := os.ReadFile(identities); string(after) != string(before) {
		t.Error("the second run has other identities")
	}
}

func TestIdentitiesOfAnotherSite(t *testing.T) {
	dir := t.TempDir()
	golden, err := os.ReadFile("testdata/identities-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "identities"), golden, 0o600); err != nil {
		t.Fatal(err)
	}
	c := fleet.Config{Dir: dir, Place: site.Place{Data: openSite(t)}, Agents: 1, Observer: load.New(load.Options{Agents: 1}).Observer()}
	if f, err := fleet.Open(t.Context(), c); err == nil {
		t.Error("agents of another site are taken", f.Close())
	}
}

func TestWrongConfigs(t *testing.T) {
	o := load.New(load.Options{Agents: 1}).Observer()
	for name, c := range map[string]fleet.Config{
		"no agents":         {Dir: t.TempDir(), Observer: o},
		"no folder":         {Agents: 1, Observer: o},
		"no observer":       {Agents: 1, Dir: t.TempDir()},
		"no such addresses": {Agents: 1, Dir: t.TempDir(), Observer: o, Addresses: 1 << 20},
		"no site":           {Agents: 1, Dir: t.TempDir(), Observer: o, Place: site.Place{Data: t.TempDir()}},
		"no program":        {Agents: 1, Dir: t.TempDir(), Observer: o, Bugle: filepath.Join(t.TempDir(), "bugle"), CPU: -1},
	} {
		if f, err := fleet.Open(t.Context(), c); err == nil {
			t.Errorf("%s: opens", name)
			f.Close()
		}
	}
}

// A listener that ends a session by itself, or refuses one, is seen.
func TestALostListenerIsSeen(t *testing.T) {
	seen := &losses{lost: make(chan int, agents)}
	c := fleet.Config{Dir: t.TempDir(), Place: site.Place{Data: openSite(t)}, Agents: 1, Observer: seen, PIDs: []int{os.Getpid()}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c.TCP = []string{l.Addr().String()}
	f, err := fleet.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.SignIn(t.Context(), 0, true); err == nil {
		t.Error("an agent is signed in at a port where nobody listens")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	c.TCP = nil
	broken := c
	broken.Hands, broken.HandCommand = 1, helper(t, "-test.run", "^$") // which takes no orders
	if f, err = fleet.Open(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	if _, err := f.SignIn(t.Context(), 0, true); err == nil {
		t.Error("a hand that has ended signs in")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if f, err = fleet.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.SignIn(t.Context(), 0, true); err != nil {
		t.Fatal(err)
	}
	other, err := fleet.Open(t.Context(), c) // the same device from elsewhere: it displaces the first
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s, err := other.SignIn(t.Context(), 0, true)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-seen.lost:
	case <-time.After(30 * time.Second):
		t.Error("the loss of a session is not told")
	}
	s.Drop() // of which nothing is told
	if len(seen.lost) > 0 {
		t.Error("a session that was dropped counts as lost")
	}
}

// losses is an observer of nothing else.
type losses struct{ lost chan int }

func (l *losses) Task(int, uint64, time.Time)    {}
func (l *losses) Safe(int, uint64, time.Time)    {}
func (l *losses) Counted(uint64, int, time.Time) {}
func (l *losses) Lost(agent int, _ error)        { l.lost <- agent }
