package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/journaltest/powerloss"
)

// The laboratory runs a real site, in a process of its own, on a disk that can
// lose power, kills it in every way there is, and starts it again. Everything
// that anybody was told is done must be there then, once.

// hostName is the environment variable with the number of the process that go
// test has started, which is not that of the process a test runs alone in.
const hostName = "LAB_HOST"

// A lab is one site on one disk, and what is known of both outside of it.
type lab struct {
	*world
	disk    *powerloss.Disk
	mount   *powerloss.Mount
	watch   *watch
	records *records
	random  *rand.Rand
	api     *caller
	writers *writers // nil while nobody writes
	bulk    bool     // write large files
	cycles  int
	moments map[string]int // how often what was aimed at was met, by name

	aim    string // of this cycle
	before string // what was done to the site last

	lostNames, lostWrites         int           // by cuts
	starting, checking, comparing time.Duration // in all
}

// alone runs a test of the laboratory in a process of its own; see
// [powerloss.Alone].
func alone(t *testing.T) bool {
	t.Helper()
	switch why := powerloss.Missing(); {
	case os.Getenv(hostName) != "":
		return powerloss.Alone(t)
	case testing.Short():
		skip(t, "the laboratory runs without -short: what it tests are other processes, which the race detector does not see")
	case why != "":
		skip(t, why)
	}
	return powerloss.Alone(t, binariesName+"="+filepath.Dir(binary(t, "bugle")), fmt.Sprint(hostName, "=", os.Getpid()))
}

// newLab starts a site on an empty disk, lets a device join, and stops it in good
// order.
func newLab(t *testing.T, test int, mode powerloss.Mode, seed uint64) *lab {
	t.Helper()
	l := emptyLab(t, test, mode, seed)
	l.launch()
	l.site.await("site is ready")
	l.token = l.newToken()
	l.agent("pc1").stop()
	l.learn()
	l.site.stop()
	l.site = nil
	return l
}

func emptyLab(t *testing.T, test int, mode powerloss.Mode, seed uint64) *lab {
	t.Helper()
	t.Logf("seed %d, names %s", seed, mode)
	l := &lab{
		world: &world{t: t, dir: t.TempDir(), ip: address(t, test)},
		watch: new(watch), records: newRecords(),
		random: rand.New(rand.NewPCG(seed, 3)), moments: map[string]int{},
	}
	l.disk = powerloss.New(powerloss.Options{Mode: mode, Seed: seed, Observe: l.watch.see})
	if err := os.Mkdir(l.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	l.attach()
	t.Cleanup(l.end)
	return l
}

// seedOf is the seed of this run: a new one, unless LAB_SEED asks for one
// that was printed.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	return uint64(number(t, "LAB_SEED", int(time.Now().UnixNano())))
}

// number is a setting of the laboratory: how much to do.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// address is a loopback address that nobody else uses: by the process that go
// test has started and the number of the test in it.
func address(t *testing.T, test int) string {
	t.Helper()
	pid := number(t, hostName, os.Getpid())
	return fmt.Sprintf("127.%d.%d.%d", 200+test, pid>>8&0xff, 1+pid%250)
}

func (l *lab) attach() {
	l.t.Helper()
	m, err := l.disk.Mount(l.data())
	if err != nil {
		l.t.Fatal(err)
	}
	l.mount = m
}

func (l *lab) detach() {
	l.t.Helper()
	err := l.mount.Unmount()
	l.mount = nil
	if err != nil {
		l.t.Fatal(err)
	}
}

// end leaves nothing behind, whatever has happened.
func (l *lab) end() {
	if l.site != nil {
		l.disk.Stop()
		l.site.cmd.Process.Kill()
		l.disk.Release()
		<-l.site.done
	}
	l.stopWriting()
	if l.mount != nil {
		if err := l.mount.Unmount(); err != nil {
			l.t.Error(err)
		}
	}
	if l.t.Failed() && l.site != nil {
		l.t.Logf("cycle %d, stderr of the site:\n%s", l.cycles, l.site.said())
	}
}

// launch starts the site and does not wait until it is ready. Many are started in
// one test, so nothing is left for its end.
func (l *lab) launch(more ...string) {
	l.t.Helper()
	l.site = l.run(exec.Command(binary(l.t, "bugle"), append(l.serveArgs(), more...)...))
}

func (l *lab) serveArgs() []string {
	return []string{"serve", "--data", l.data(), "--hosts", l.ip, "--listen-tcp", l.ip + ":10123",
		"--listen-http", l.ip + ":10443", "--listen-feed", l.ip + ":10124", "--console", l.ip + ":8443",
		"--seal-bytes", fmt.Sprint(1 << 20)} // so small that generations are sealed, archived and removed all the time
}

func (w *world) run(cmd *exec.Cmd) *process {
	w.t.Helper()
	p := &process{t: w.t, name: "bugle", cmd: cmd, lines: make(chan string, 1000), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "BUGLE_DATA=", "BUGLE_URL=")
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go p.read(stderr)
	return p
}

// ready waits until the site is ready, or the power goes, or the site ends.
func (l *lab) ready(stop <-chan struct{}) bool {
	l.t.Helper()
	limit := time.After(patience)
	for {
		select {
		case line, ok := <-l.site.lines:
			if !ok {
				return false
			}
			if strings.Contains(line, "site is ready") {
				return true
			}
		case <-stop:
			return false
		case <-limit:
			l.t.Fatalf("cycle %d: the site was not ready within %s", l.cycles, patience)
		}
	}
}

// mustBeReady is for a site that nothing is done to.
func (l *lab) mustBeReady() {
	l.t.Helper()
	if !l.ready(nil) {
		<-l.site.done
		l.t.Fatalf("cycle %d: the site did not start after %s: %v\n%s", l.cycles, l.before, l.site.err, l.site.said())
	}
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// cut takes the power away from the site and gives back the disk as it is then.
func (l *lab) cut() {
	l.t.Helper()
	l.disk.Stop()
	l.watch.count(l.moments)
	l.before = "a cut at " + l.aim
	l.site.cmd.Process.Kill()
	l.disk.Release()
	<-l.site.done
	l.site = nil
	l.stopWriting()
	l.detach()
	r := l.disk.Cut()
	l.lostNames += r.NamesLost
	for _, f := range r.Files {
		if f.How != "kept" {
			l.lostWrites++
		}
	}
	l.attach()
}

// kill is kill -9: nothing that was written is lost.
func (l *lab) kill() {
	l.t.Helper()
	l.watch.count(l.moments)
	l.before = "kill -9 at " + l.aim
	l.site.cmd.Process.Kill()
	l.disk.Resume()
	<-l.site.done
	l.site = nil
	l.stopWriting()
	l.detach() // and with it what the kernel remembers of calls that did not return
	l.attach()
}

func (l *lab) newToken() string {
	l.t.Helper()
	var reply struct{ Token string }
	text := l.text("token", "create", "--uses", "100", "-o", "json")
	if err := json.Unmarshal([]byte(text), &reply); err != nil || reply.Token == "" {
		l.t.Fatalf("token create printed %q: %v", text, err)
	}
	return reply.Token
}

// A watch sees what the site does to its disk, to tell in which moment a cut
// fell.
type watch struct {
	mu    sync.Mutex
	last  map[string]int // step at which it was done last
	steps int
}

// see is called by the disk for every call.
func (w *watch) see(c powerloss.Call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == nil {
		w.last = map[string]int{}
	}
	w.steps++
	w.last[c.Op.String()+" "+part(c.Path)] = w.steps
}

// part is what a file is for.
func part(path string) string {
	switch {
	case strings.HasSuffix(path, ".blk"):
		return "page"
	case strings.HasPrefix(path, "views/"):
		return "view"
	case strings.HasPrefix(path, "inboxes/bgb.box/tmp/"):
		return "file made"
	case strings.HasPrefix(path, "inboxes/bgb.box/work/"):
		return "file claimed"
	case strings.HasPrefix(path, "inboxes/bgb.box/archive/"):
		return "file archived"
	case strings.HasPrefix(path, "inboxes/bgb.box"):
		return "file dropped"
	}
	return "else"
}

// count notes in which moments the watch stands.
func (w *watch) count(moments map[string]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	behind := func(later, earlier string) bool { return w.last[later] > w.last[earlier] }
	for name, is := range map[string]bool{
		"between a page's write and its sync":          behind("write page", "sync page"),
		"between a page's sync and a view's":           behind("sync page", "sync view"),
		"between a file's making and its dropping":     behind("create file made", "rename file dropped"),
		"between a file's dropping and its claim":      behind("rename file dropped", "rename file claimed"),
		"between a file's claim and its archive":       behind("rename file claimed", "rename file archived"),
		"between a file's new name and its being kept": behind("rename file dropped", "sync-folder file dropped"),
	} {
		if is {
			moments[name]++
		}
	}
}
