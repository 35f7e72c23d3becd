package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
)

// TestMain makes this program what it is in production if it is called like a hand or
// like a server to compare with.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		main()
	}
	os.Exit(m.Run())
}

func TestLoadAgainstASite(t *testing.T) {
	f := openRealSite(t)
	table := filepath.Join(t.TempDir(), "table.md")
	lines, log := sim(t, 0, "load", "--data", f, "--agents", "6", "--phases", "push,storm", "--pushes", "1", "--pause", "1ms", "--settle", "10ms",
		"--processes", "2", "--peer", "bugle,goroutine", "--rounds", "2", "--table", table)
	var phases []string
	for _, l := range lines {
		phases = append(phases, l["target"].(string)+" "+l["phase"].(string))
		figures := l["figures"].(map[string]any)
		if missing, ok := figures["missing"]; !ok || missing != 0.0 || l["agents"] != 6.0 {
			t.Errorf("line %v", l)
		}
		_, asked := figures["apiP50Ms"]
		if want := l["target"] == "bugle" && strings.HasPrefix(l["phase"].(string), "storm"); asked != want || asked && figures["apiErrors"] != 0.0 {
			t.Errorf("the API is asked: %v, want %v: %v", asked, want, l)
		}
	}
	var want []string
	for range 2 {
		for _, target := range []string{"bugle", "goroutine"} {
			for _, phase := range []string{"connect", "known", "resumed", "push", "storm-resumed", "storm-full"} {
				want = append(want, target+" "+phase)
			}
		}
	}
	if !slices.Equal(phases, want) {
		t.Errorf("lines of %v, want %v", phases, want)
	}
	b, err := os.ReadFile(table)
	if err != nil || !strings.Contains(string(b), "| phase | figure | bugle | goroutine | bugle ÷ best |") || strings.Contains(string(b), "missing") {
		t.Errorf("table (%v):\n%s", err, b)
	}
	if !strings.Contains(log, "a process may open") {
		t.Errorf("it says %s", log)
	}
}

func TestWrongCallsOfLoad(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"--agents 0", "--agents: 0"},
		{"--rounds 0", "--rounds"},
		{"--pushes 0", "--pushes"},
		{"--phases soak", `"soak" is none of connect`},
		{"--peer redis", `"redis" is none of bugle`},
		{"--peer bugle:keys", `"bugle:keys" is none of`},
		{"--peer bugle:=x", "none of"},
		{"--in-flight 0", "--in-flight"},
		{"--jitter -1s", "--jitter"},
		{"--timeout 1ms", "--timeout"},
		{"--listeners 17", "--listeners"},
		{"--processes 65", "--processes"},
		{"--data x --bugle-flags y", "for a site that is started"},
		{"stray", "one argument too many"},
		{"--no-such-flag", "unknown flag"},
	} {
		if _, log := sim(t, codeUsage, append([]string{"load"}, strings.Fields(c.args)...)...); !strings.Contains(log, c.says) {
			t.Errorf("load %s: it says %s", c.args, log)
		}
	}
}

func TestASiteThatRunsTakesNoVariants(t *testing.T) {
	_, log := sim(t, codeMissing, "load", "--data", t.TempDir(), "--agents", "1", "--peer", "bugle:x=--y")
	if !strings.Contains(log, "takes no other flags") {
		t.Errorf("it says %s", log)
	}
}

func TestSplit(t *testing.T) {
	limit, err := openFiles()
	if err != nil {
		t.Fatal(err)
	}
	if limit > 1<<24 {
		t.Skip("there is no limit of open files here")
	}
	most := int(limit - filesOfLoad)
	for _, c := range []struct {
		agents, hands, want int
		peer                string
		ok                  bool
	}{
		{1, 0, 0, "bugle", true}, {most, 0, 0, "bugle", true}, {most + 1, 0, 2, "bugle", true}, {2*most + 1, 0, 3, "bugle:a=b", true},
		{1, 4, 4, "bugle", true}, {most + 1, 1, 1, "bugle", false}, {most + 1, 0, 0, "nats", false}, {most, 0, 0, "nats", true},
	} {
		o := &loadOptions{peers: []string{c.peer}, Options: load.Options{Agents: c.agents, Log: new(strings.Builder)}}
		o.fleet.Hands = c.hands
		if err := o.split(); (err == nil) != c.ok || c.ok && o.fleet.Hands != c.want {
			t.Errorf("%+v: %d hands, %v", c, o.fleet.Hands, err)
		}
	}
}

func TestVariant(t *testing.T) {
	for p, want := range map[string][2]string{"bugle": {"bugle", ""}, "bugle:keys=--tls-park=keys -x": {"bugle:keys", "--tls-park=keys -x"}} {
		if name, flags, ok := variant(p); !ok || name != want[0] || flags != want[1] {
			t.Errorf("%s is %q with %q (%v)", p, name, flags, ok)
		}
	}
}

func TestLoadHelpNamesEveryPhase(t *testing.T) {
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"load", "--help"}, &out, &errs); code != 0 {
		t.Fatal(errs.String())
	}
	for _, phase := range load.Phases {
		if !strings.Contains(out.String(), "  "+phase+" ") {
			t.Errorf("help does not say what %s is", phase)
		}
	}
	if strings.Contains(out.String(), handCommand) || strings.Contains(out.String(), probeCommand) {
		t.Error("help names the command of a hand, or that which asks the API")
	}
}
