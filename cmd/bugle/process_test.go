package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must come; it is long because a
// machine under load is slow, and is never waited out when all is well.
const patience = time.Minute

var binaries struct {
	sync.Once
	dir string
	err error
}

// binariesName is the environment variable with the folder of programs that are
// built already.
const binariesName = "LAB_PROGRAMS"

// children are programs that the test's program can be instead, by the
// environment variable that says so and holds their setting.
var children = map[string]func(setting string) error{}

func TestMain(m *testing.M) {
	for name, be := range children {
		if setting := os.Getenv(name); setting != "" {
			if err := be(setting); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	code := m.Run()
	if binaries.dir != "" {
		os.RemoveAll(binaries.dir)
	}
	for i, line := range skipped.lines {
		if i == 0 {
			fmt.Printf("%d tests were skipped:\n", len(skipped.lines))
		}
		fmt.Println("  " + line)
	}
	os.Exit(code)
}

var skipped struct {
	sync.Mutex
	lines []string
}

// skip skips a test and has the reason printed at the end.
func skip(t *testing.T, reason string) {
	t.Helper()
	skipped.Lock()
	skipped.lines = append(skipped.lines, t.Name()+": "+reason)
	skipped.Unlock()
	t.Skip(reason)
}

// binary builds the programs once and returns the path of one. A test that runs
// alone takes those of the process that has started it.
func binary(t *testing.T, name string) string {
	t.Helper()
	if dir := os.Getenv(binariesName); dir != "" {
		return filepath.Join(dir, name)
	}
	binaries.Do(func() {
		if binaries.dir, binaries.err = os.MkdirTemp("", "bugle-bin-"); binaries.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", binaries.dir, module+"/cmd/bugle", module+"/cmd/bugle-agent").CombinedOutput()
		if err != nil {
			binaries.err = fmt.Errorf("build programs: %w\n%s", err, out)
		}
	})
	if binaries.err != nil {
		t.Fatal(binaries.err)
	}
	return filepath.Join(binaries.dir, name)
}

// A process is a program that runs until the test ends it. What it writes to
// stderr is shown if the test fails.
type process struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	lines chan string // of stderr, closed at its end
	done  chan struct{}
	err   error

	mu  sync.Mutex
	log bytes.Buffer
}

func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.Command(binary(t, name), args...), lines: make(chan string, 10_000), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "BUGLE_DATA=", "BUGLE_URL=")
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(stderr)
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			p.mu.Lock()
			defer p.mu.Unlock()
			t.Logf("stderr of %s %s:\n%s", name, strings.Join(args, " "), p.log.Bytes())
		}
	})
	return p
}

func (p *process) read(stderr io.Reader) {
	s := bufio.NewScanner(stderr)
	for s.Scan() {
		p.mu.Lock()
		fmt.Fprintln(&p.log, s.Text())
		p.mu.Unlock()
		select {
		case p.lines <- s.Text():
		default:
		}
	}
	close(p.lines)
	p.err = p.cmd.Wait()
	close(p.done)
}

// await waits for a line of stderr that holds text.
func (p *process) await(text string) {
	p.t.Helper()
	p.awaitWithin(text, patience)
}

func (p *process) awaitWithin(text string, most time.Duration) {
	p.t.Helper()
	limit := time.After(most)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("%s ended before it said %q", p.name, text)
			}
			if strings.Contains(line, text) {
				return
			}
		case <-limit:
			p.t.Fatalf("%s did not say %q within %s", p.name, text, most)
		}
	}
}

// kill is kill -9, and waits for the end.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// stop is SIGTERM; it fails the test if the program does not end well.
func (p *process) stop() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%s did not end within %s of SIGTERM", p.name, patience)
	}
	if p.err != nil {
		p.t.Fatalf("%s ended with %v", p.name, p.err)
	}
}

// A world is one site and its agents in processes of their own, on a loopback
// address of their own, so that ports are free and stay so when the site is
// started again.
type world struct {
	t     *testing.T
	dir   string
	ip    string
	site  *process
	token string
}

var worlds struct {
	sync.Mutex
	n int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldIn(t, t.TempDir())
}

func newWorldIn(t *testing.T, dir string) *world {
	t.Helper()
	worlds.Lock()
	worlds.n++
	n := worlds.n
	worlds.Unlock()
	pid := os.Getpid()
	w := &world{t: t, dir: dir, ip: fmt.Sprintf("127.%d.%d.%d", 100+n%100, pid>>8&0xff, 1+pid%250)}
	w.serve()
	w.token = w.text("token", "create", "--uses", "100", "-o", "json")
	var reply struct{ Token string }
	if err := json.Unmarshal([]byte(w.token), &reply); err != nil || reply.Token == "" {
		t.Fatalf("token create printed %q: %v", w.token, err)
	}
	w.token = reply.Token
	return w
}

func (w *world) data() string { return filepath.Join(w.dir, "site") }

// serve starts the site, again if it was stopped.
func (w *world) serve() {
	w.t.Helper()
	w.site = start(w.t, "bugle", "serve", "--data", w.data(), "--hosts", w.ip,
		"--listen-tcp", w.ip+":10123", "--listen-http", w.ip+":10443", "--listen-feed", w.ip+":10124", "--console", w.ip+":8443")
	w.site.await("site is ready")
}

// agent starts an agent; it joins if it has not.
func (w *world) agent(name string) *process {
	w.t.Helper()
	p := start(w.t, "bugle-agent", "run", "--dir", filepath.Join(w.dir, name), "--name", name,
		"--site", w.ip+":10443", "--token", w.token, "--scanner", "builtin")
	p.await("connected")
	return p
}

// try runs a command of the administrator.
func (w *world) try(args ...string) (stdout string, code int, stderr string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, binary(w.t, "bugle"), args...)
	c.Env = append(os.Environ(), "BUGLE_DATA="+w.data(), "BUGLE_URL=")
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatalf("run bugle %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), c.ProcessState.ExitCode(), errs.String()
}

// text runs a command that must succeed.
func (w *world) text(args ...string) string {
	w.t.Helper()
	out, code, stderr := w.try(args...)
	if code != 0 {
		w.t.Fatalf("bugle %s: exit %d\n%s%s", strings.Join(args, " "), code, out, stderr)
	}
	return out
}

// object runs a command with -o json and decodes what it prints.
func (w *world) object(v any, args ...string) {
	w.t.Helper()
	out := w.text(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		w.t.Fatalf("bugle %s printed no JSON: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// until asks again until ok says so: for what shows only in a view.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for limit := time.Now().Add(patience); !ok(); {
		if time.Now().After(limit) {
			w.t.Fatalf("not within %s: %s", patience, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

type operationStatus struct {
	Operation string
	Targets   int
	States    map[string]int
	Released  int
}

func (w *world) show(id string) (o operationStatus) {
	w.t.Helper()
	w.object(&o, "ops", "show", id)
	return o
}

type deviceStatus struct {
	ID, Name, Reason string
	Number           int
	Online           bool
}

func (w *world) devices() (all []deviceStatus) {
	w.t.Helper()
	w.object(&all, "devices", "list")
	return all
}

func (w *world) online() (n int) {
	w.t.Helper()
	for _, d := range w.devices() {
		if d.Online {
			n++
		}
	}
	return n
}
