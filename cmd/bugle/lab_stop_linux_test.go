package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/jetstream"
	"github.com/bugle-fleet/bugle/journal/journaltest/powerloss"
)

// TestStoppedSite stops the process of a site for several keep-alives and lets it
// go on: sessions live or begin anew, and nothing is lost. With LAB_CYCLES it
// stops until its agents have given it up twice, which takes minutes.
func TestStoppedSite(t *testing.T) {
	t.Parallel()
	if !alone(t) {
		return
	}
	l := quickLab(t, 7)
	pc := l.agent("pc1")
	l.until("the agent is online", func() bool { return l.online() == 1 })
	before := l.pushed()
	l.signal(l.site, syscall.SIGSTOP)
	if os.Getenv("LAB_CYCLES") == "" {
		time.Sleep(3 * time.Second) // of no answers to keep-alives: how long it stops is the test's subject
		l.signal(l.site, syscall.SIGCONT)
	} else {
		pc.awaitWithin("not connected", 3*time.Minute)
		pc.awaitWithin("not connected", 3*time.Minute) // a new connection does not come about either
		l.signal(l.site, syscall.SIGCONT)
		pc.awaitWithin("msg=connected", 3*time.Minute)
	}
	l.succeeds(before)
	l.succeeds(l.pushed())
	l.site.stop()
}

// TestStoppedAgent stops an agent until the site takes it as lost, pushes, and
// lets it go on: it runs the task, once.
func TestStoppedAgent(t *testing.T) {
	t.Parallel()
	if !alone(t) {
		return
	}
	l := quickLab(t, 8)
	pc := l.agent("pc1")
	l.until("the agent is online", func() bool { return l.online() == 1 })
	l.signal(pc, syscall.SIGSTOP)
	l.until("the site has noticed that the agent is gone", func() bool { return l.online() == 0 })
	id := l.pushed()
	l.signal(pc, syscall.SIGCONT)
	l.succeeds(id)
	checkHistory(t, l.world, []string{id}, 1)
	l.site.stop()
}

// quickLab is a site on a plain folder with the shortest keep-alive.
func quickLab(t *testing.T, test int) *lab {
	t.Helper()
	l := bareLab(t, test)
	l.launch("--keep-alive", "1s", "--snapshot-every", "1s")
	l.mustBeReady()
	l.text("policy", "set", "keepAliveSeconds=1")
	l.token = l.newToken()
	return l
}

func (l *lab) signal(p *process, s syscall.Signal) {
	l.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) pushed() string {
	l.t.Helper()
	id := tryPush(l.t, l.world)
	if id == "" {
		l.t.Fatal("the push was refused")
	}
	return id
}

func (l *lab) succeeds(id string) {
	l.t.Helper()
	l.until("operation "+id+" succeeded", func() bool { return l.show(id).States["succeeded"] == 1 })
}

// TestTwoStartsAtOnce starts two sites in one new folder at the same moment: one
// of them serves and goes on with the keys that are in the folder, the other says
// why it does not.
func TestTwoStartsAtOnce(t *testing.T) {
	t.Parallel()
	if !alone(t) {
		return
	}
	for i := range number(t, "LAB_CYCLES", 3) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			l := bareLab(t, 9)
			first := l.run(exec.Command(binary(t, "bugle"), l.serveArgs()...))
			second := l.run(exec.Command(binary(t, "bugle"), l.serveArgs()...))
			winner, loser := first, second
			l.eventuallyDone(first, second)
			if isDone(first) {
				winner, loser = second, first
			}
			l.site = winner
			if isDone(winner) {
				t.Fatalf("both have ended:\n%s\n%s", first.said(), second.said())
			}
			if code := loser.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(loser.said(), "another process runs the site") {
				t.Errorf("the second ended with %d:\n%s", code, loser.said())
			}
			l.mustBeReady()
			l.token = l.newToken()
			l.agent("pc1").stop()
			l.site.stop()
			l.launch()
			l.mustBeReady()
			if n := len(l.devices()); n != 1 {
				t.Errorf("%d devices after a new start, want 1", n)
			}
			l.agent("pc1").stop() // the device's certificate is still good
			l.site.stop()
		})
	}
}

func isDone(p *process) bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (l *lab) eventuallyDone(a, b *process) {
	l.t.Helper()
	select {
	case <-a.done:
	case <-b.done:
	case <-time.After(patience):
		l.t.Fatal("both serve")
	}
}

// TestReadOnly lets every change of a site's disk fail as on one that the system
// has made read-only: the site refuses, and with the disk as it was all is there.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	if !alone(t) {
		return
	}
	l := newLab(t, 10, powerloss.Strict, seedOf(t))
	h := &history{names: map[string]int{}}
	l.begin(h, true)
	l.write(h.epoch)
	l.acknowledged(20)
	trap := &powerloss.Trap{Op: powerloss.Any, Fail: syscall.EROFS, Times: -1}
	l.disk.Arm(trap)
	t.Logf("the site %s", l.outcome(trap, true))
	l.cut()
	l.begin(h, true)
	l.compare()
	l.report(t, h)
}

// TestStartReadOnly starts a site on a disk that is read-only: it says so.
func TestStartReadOnly(t *testing.T) {
	t.Parallel()
	if !alone(t) {
		return
	}
	l := bareLab(t, 11)
	if err := syscall.Mount("tmpfs", l.dir, "tmpfs", 0, "size=512m"); err != nil {
		t.Fatal(err)
	}
	l.launch()
	l.mustBeReady()
	l.token = l.newToken()
	l.site.stop()
	l.remount(syscall.MS_RDONLY)
	l.launch()
	if l.ready(nil) {
		t.Error("a site serves on a read-only disk")
	} else if <-l.site.done; l.site.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(l.site.said(), "read-only") {
		t.Errorf("it ended with %v:\n%s", l.site.err, l.site.said())
	}
	l.remount(0)
	l.launch()
	l.mustBeReady()
	l.agent("pc1").stop() // the token is still good
	l.killGroup()
	if err := syscall.Unmount(l.dir, 0); err != nil {
		t.Error(err)
	}
}

// remount changes the flags of the file system of the site.
func (l *lab) remount(flags uintptr) {
	l.t.Helper()
	if err := syscall.Mount("", l.dir, "", syscall.MS_REMOUNT|flags, ""); err != nil {
		l.t.Fatal(err)
	}
}

// TestClockJumps lets the clock of a journal jump both ways, hours at a time:
// events are accepted at rising times all the same, also across a new start, and
// the times come back to the clock's once it has passed them.
func TestClockJumps(t *testing.T) {
	now := time.Now()
	dir := t.TempDir()
	var j *jetstream.Journal
	open := func() {
		var err error
		j, err = jetstream.Open(t.Context(), dir, jetstream.Options{Options: journal.Options{Now: func() time.Time { return now }}})
		if err != nil {
			t.Fatal(err)
		}
	}
	open()
	var last time.Time
	for i, jump := range []time.Duration{0, time.Hour, -3 * time.Hour, time.Second, -time.Hour, 6 * time.Hour, -24 * time.Hour, 48 * time.Hour} {
		now = now.Add(jump)
		e := &event.Event{Payload: &event.FileRequeued{Name: fmt.Sprint(i)}}
		if err := j.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if !e.Accepted.After(last) {
			t.Errorf("event %d is accepted at %s, behind one at %s", e.Number, e.Accepted, last)
		}
		if now.After(last) && !e.Accepted.Equal(now.UTC()) {
			t.Errorf("event %d is accepted at %s, and the clock says %s", e.Number, e.Accepted, now)
		}
		last = e.Accepted
		if i%3 == 2 {
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			open()
		}
	}
	if err := errors.Join(readAll(t.Context(), j), j.Close()); err != nil {
		t.Error(err)
	}
}

// readAll reads a journal to its end and looks at the times.
func readAll(ctx context.Context, j *jetstream.Journal) error {
	r, err := j.Read(ctx, 1)
	if err != nil {
		return err
	}
	defer r.Close()
	last := int64(0)
	for {
		p, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range p.Records {
			if p.Records[i].Accepted <= last {
				return fmt.Errorf("event %d is not later than the one before", p.Records[i].Number)
			}
			last = p.Records[i].Accepted
		}
	}
}

// TestOfflineWhileServing asks for a check without the server in a folder that
// has one.
func TestOfflineWhileServing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, code, stderr := w.try("journal", "verify", "--offline", filepath.Join(w.data(), "journal"))
	if code != 1 || !strings.Contains(stderr, "in use") {
		t.Errorf("verify --offline beside a site: exit %d, %s", code, stderr)
	}
	if err := func() error {
		c, err := newCaller(w.data(), "https://"+w.ip+":8443")
		if err != nil {
			return err
		}
		var reply console.JournalReply
		return c.call(t.Context(), http.MethodGet, console.PathJournal, nil, &reply)
	}(); err != nil {
		t.Error(err)
	}
	w.site.stop()
	if _, err := os.Stat(filepath.Join(w.data(), "journal")); err != nil {
		t.Error(err)
	}
	w.text("journal", "verify", "--offline", filepath.Join(w.data(), "journal"))
}
