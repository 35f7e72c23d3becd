package action

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// fakeHost is an agent as actions see it.
type fakeHost struct {
	policy string
	err    error
	sent   []Fact
	scan   ScanPolicy

	users    []string // whose policy was fetched
	logFiles []string
	topics   []string // that were reported
	uploads  []upload
	verbose  []time.Duration
}

// upload is what an action handed to the agent to send.
type upload struct {
	operation task.ID
	body      []byte
	sum       Digest
}

func (h *fakeHost) FetchPolicy(context.Context) (string, error) { return h.policy, h.err }
func (h *fakeHost) SendFacts(_ context.Context, f []Fact) error {
	h.sent = append(h.sent, f...)
	return h.err
}
func (h *fakeHost) Changes(_ context.Context, topic string, f []Fact) ([]Fact, func(), error) {
	return f, func() { h.topics = append(h.topics, topic) }, nil
}
func (h *fakeHost) Scan() ScanPolicy        { return h.scan }
func (h *fakeHost) LogFiles() []string      { return h.logFiles }
func (h *fakeHost) Verbose(d time.Duration) { h.verbose = append(h.verbose, d) }
func (h *fakeHost) FetchUserPolicy(_ context.Context, user string) (string, error) {
	h.users = append(h.users, user)
	return h.policy, h.err
}
func (h *fakeHost) Upload(_ context.Context, op task.ID, body io.ReaderAt, size int64, sum Digest) error {
	b, err := io.ReadAll(io.NewSectionReader(body, 0, size))
	h.uploads = append(h.uploads, upload{op, b, sum})
	return errors.Join(h.err, err)
}
func (h *fakeHost) request(params string) Request { return Request{Params: []byte(params), Host: h} }

// builtin returns the kinds of a machine that has none of the programs that they
// could start: no test may restart this one, or change what is installed.
func builtin(t testing.TB, cfg Config) map[string]Description {
	t.Helper()
	return newFake(t, runtime.GOOS).table(t, cfg)
}

func write(t testing.TB, path, content string) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(content))
	return Digest(sum).String()
}

func TestKinds(t *testing.T) {
	table := builtin(t, Config{})
	alone := map[string]Class{"scan.quick": Alone, "scan.full": Alone, "update.install": Intrusive, "restart": Barrier}
	once := []string{"scan.quick", "scan.full", "update.install", "restart"}
	for kind, d := range table {
		if d.Kind != kind || d.Timeout <= 0 || d.Action == nil {
			t.Errorf("%s is %+v", kind, d)
		}
		if d.Class != alone[kind] || d.AtLeastOnce == slices.Contains(once, kind) {
			t.Errorf("%s is of class %d, again %v", kind, d.Class, d.AtLeastOnce)
		}
	}
	if len(table) != 21 {
		t.Errorf("%d kinds", len(table))
	}
}

func TestParametersAreReadStrictly(t *testing.T) {
	table := builtin(t, Config{})
	bad := []string{"[]", "null", "1", `"x"`, " ", "{", `{}{}`, `{} x`, `{"x":1}`, `{"folders":["/"]}`, `{"sha256":"abc"}`, `{"sha256":[1]}`}
	named := []string{"threat.exclude", "threat.allow", "threat.override", "threat.restore", "application.evaluate", "wake"}
	for kind, d := range table {
		for _, p := range bad {
			if o := d.Action.Run(context.Background(), (&fakeHost{}).request(p)); o.State != task.Refused || !strings.HasPrefix(o.Detail, "parameters: ") {
				t.Errorf("%s with %s: %s %q", kind, p, o.State, o.Detail)
			}
		}
		for _, p := range []string{"", "{}", " {} \n"} {
			o := d.Action.Run(context.Background(), (&fakeHost{}).request(p))
			if refused := slices.Contains(named, kind); refused != (o.State == task.Refused) || o.State == task.Failed {
				t.Errorf("%s with %q: %s %q", kind, p, o.State, o.Detail)
			}
		}
	}
	for _, p := range []string{`{"sha256":["abc"]}`, `{"sha256":["` + strings.Repeat("x", 64) + `"]}`, `{"sha256":[""]}`} {
		if o := table["scan.quick"].Action.Run(context.Background(), (&fakeHost{}).request(p)); o.State != task.Refused {
			t.Errorf("scan with %s: %s", p, o.State)
		}
	}
}

func TestPolicyAction(t *testing.T) {
	d := builtin(t, Config{})["policy.machine"]
	if o := d.Action.Run(context.Background(), (&fakeHost{policy: "policy x applied"}).request("")); o != (Outcome{State: task.Succeeded, Detail: "policy x applied"}) {
		t.Errorf("%+v", o)
	}
	if o := d.Action.Run(context.Background(), (&fakeHost{err: errors.New("no")}).request("")); o.State != task.Failed || o.Detail != "no" {
		t.Errorf("%+v", o)
	}
}

func TestBuiltinScan(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	evil := write(t, filepath.Join(dir, "watch", "deep", "er", "evil.bin"), "evil")
	bad := write(t, filepath.Join(dir, "watch", "bad"), strings.Repeat("bad", 100_000))
	write(t, filepath.Join(dir, "watch", "good"), "good")
	outside := write(t, filepath.Join(dir, "outside", "file"), "outside")
	if err := errors.Join(
		os.Symlink(filepath.Join(dir, "outside"), filepath.Join(dir, "watch", "link")),
		os.Symlink(filepath.Join(dir, "outside", "file"), filepath.Join(dir, "watch", "filelink")),
		makePipe(filepath.Join(dir, "watch", "pipe"))); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Folders: []string{filepath.Join(dir, "watch")}}
	params := func(digests ...string) string { return `{"sha256":["` + strings.Join(digests, `","`) + `"]}` }
	none := strings.Repeat("0", 64)
	deep := filepath.Join(dir, "watch", "deep", "er", "evil.bin")
	for name, c := range map[string]struct {
		cfg    Config
		params string
		policy ScanPolicy
		full   bool
		want   Outcome
	}{
		"clean":         {cfg, params(none), ScanPolicy{}, false, Outcome{task.Succeeded, 0, "clean: 3 files"}},
		"links":         {cfg, params(outside), ScanPolicy{}, false, Outcome{task.Succeeded, 0, "clean: 3 files"}},
		"found":         {cfg, params(none, evil), ScanPolicy{}, false, Outcome{task.Succeeded, CodeFound, "found: " + deep + " " + evil + " (3 files)"}},
		"upper case":    {cfg, params(strings.ToUpper(evil)), ScanPolicy{}, true, Outcome{task.Succeeded, CodeFound, "found: " + deep + " " + evil + " (3 files)"}},
		"two":           {cfg, params(bad, evil), ScanPolicy{}, false, Outcome{task.Succeeded, CodeFound, "found: " + filepath.Join(dir, "watch", "bad") + " " + bad + "; " + deep + " " + evil + " (3 files)"}},
		"by policy":     {cfg, "", ScanPolicy{Folders: []string{filepath.Join(dir, "outside")}, Indicators: []Digest{mustDigest(outside)}}, false, Outcome{task.Succeeded, CodeFound, "found: " + filepath.Join(dir, "outside", "file") + " " + outside + " (1 files)"}},
		"no indicators": {cfg, "", ScanPolicy{}, false, Outcome{task.Succeeded, 0, "clean: 3 files, no indicators to compare with"}},
		"not there":     {Config{Folders: []string{filepath.Join(dir, "nowhere")}}, params(none), ScanPolicy{}, false, Outcome{task.Succeeded, 0, "clean: 0 files"}},
		"a folder that is a link": {Config{Folders: []string{filepath.Join(dir, "watch", "link")}}, params(outside), ScanPolicy{}, false,
			Outcome{task.Succeeded, CodeFound, "found: " + filepath.Join(dir, "outside", "file") + " " + outside + " (1 files)"}},
		"roots": {Config{Folders: cfg.Folders, Roots: []string{filepath.Join(dir, "outside")}}, params(outside), ScanPolicy{}, true,
			Outcome{task.Succeeded, CodeFound, "found: " + filepath.Join(dir, "outside", "file") + " " + outside + " (1 files)"}},
		"roots are not for a quick one": {Config{Folders: cfg.Folders, Roots: []string{filepath.Join(dir, "outside")}}, params(outside), ScanPolicy{}, false,
			Outcome{task.Succeeded, 0, "clean: 3 files"}},
	} {
		kind := "scan.quick"
		if c.full {
			kind = "scan.full"
		}
		got := builtin(t, c.cfg)[kind].Action.Run(context.Background(), (&fakeHost{scan: c.policy}).request(c.params))
		if got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, c.want)
		}
	}
}

func mustDigest(s string) Digest {
	d, err := ParseDigest(s)
	if err != nil {
		panic(err)
	}
	return d
}

func TestManyFindingsFitAResult(t *testing.T) {
	dir := t.TempDir()
	var sum string
	for i := range 200 {
		sum = write(t, filepath.Join(dir, fmt.Sprintf("%03d-%s", i, strings.Repeat("x", 100))), "evil")
	}
	o := builtin(t, Config{Folders: []string{dir}})["scan.quick"].Action.Run(context.Background(), (&fakeHost{}).request(`{"sha256":["`+sum+`"]}`))
	if o.Code != CodeFound || len(o.Detail) > task.MaxDetail || !strings.Contains(o.Detail, " more (200 files)") {
		t.Errorf("%d bytes: …%s", len(o.Detail), o.Detail[max(0, len(o.Detail)-80):])
	}
}

func TestScanEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "a")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, params := range []string{"", `{"sha256":["` + strings.Repeat("0", 64) + `"]}`} {
		if o := builtin(t, Config{Folders: []string{dir}})["scan.full"].Action.Run(ctx, (&fakeHost{}).request(params)); o.State != task.Failed {
			t.Errorf("%s %q", o.State, o.Detail)
		}
	}
}

func TestReadingKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "a"), strings.Repeat("a", 3<<20))
		write(t, filepath.Join(dir, "b"), strings.Repeat("b", 2<<20))
		begun := time.Now() // of the bubble: it moves only when the scan sleeps
		o := builtin(t, Config{Folders: []string{dir}, Rate: 1 << 20})["scan.quick"].Action.Run(context.Background(),
			(&fakeHost{}).request(`{"sha256":["`+strings.Repeat("0", 64)+`"]}`))
		if d := time.Since(begun); o.State != task.Succeeded || d < 4900*time.Millisecond || d > 5*time.Second {
			t.Errorf("5 MiB at 1 MiB/s took %s: %s", d, o.Detail)
		}
	})
}

func TestFacts(t *testing.T) {
	h := &fakeHost{}
	d := builtin(t, Config{Version: "1.2.3"})["discovery.collect"]
	if o := d.Action.Run(context.Background(), h.request("")); o.State != task.Succeeded || o.Detail != fmt.Sprintf("%d facts", len(h.sent)) {
		t.Fatalf("%+v", o)
	}
	got := map[string]string{}
	for _, f := range h.sent {
		if _, twice := got[f.Name]; twice || f.Value == "" || len(f.Value) > maxFactValue {
			t.Errorf("fact %+v", f)
		}
		got[f.Name] = f.Value
	}
	if got["agent.version"] != "1.2.3" {
		t.Errorf("version %q", got["agent.version"])
	}
	h.err = errors.New("gone")
	if o := d.Action.Run(context.Background(), h.request("")); o.State != task.Failed {
		t.Errorf("not sent, and %+v", o)
	}
}

func TestFactsAreFoundOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		c := factCache{find: func(context.Context) []Fact { n++; return []Fact{{"n", fmt.Sprint(n)}} }}
		ctx, cancel := context.WithCancel(context.Background())
		for range 100 {
			c.facts(ctx)
		}
		time.Sleep(factsGoodFor)
		if f := c.facts(ctx); n != 2 || f[0].Value != "2" {
			t.Errorf("found %d times: %v", n, f)
		}
		time.Sleep(factsGoodFor)
		cancel()
		c.facts(ctx) // what is cut short is not kept
		if c.facts(context.Background()); n != 4 {
			t.Errorf("found %d times", n)
		}
	})
}

func BenchmarkFacts(b *testing.B) {
	for b.Loop() {
		findFacts(context.Background())
	}
}
