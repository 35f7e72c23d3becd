package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/journaltest/powerloss"
)

// A fault is a call that fails with an error, once, a few times, or for ever.
type fault struct {
	name  string
	op    powerloss.Op
	path  string
	skip  int
	fail  syscall.Errno
	times int
}

var faults = []fault{
	{"sync of a page", powerloss.Sync, "journal/jetstream/*/streams/*/msgs/*.blk", 10, syscall.EIO, 1},
	{"every write of a page", powerloss.Write, "journal/jetstream/*/streams/*/msgs/*.blk", 10, syscall.ENOSPC, -1},
	{"write of a page", powerloss.Write, "journal/jetstream/*/streams/*/msgs/*.blk", 10, syscall.EIO, 1},
	{"sync of a view", powerloss.Sync, "views/*/*/*.mem", 5, syscall.EIO, 1},
	{"every sync of views", powerloss.Sync, "views/*/*/*.mem", 5, syscall.EIO, -1},
	{"claims of files", powerloss.Rename, "inboxes/bgb.box/work/*", 3, syscall.EIO, 3},
	{"archiving of files", powerloss.Rename, "inboxes/bgb.box/archive/*/*", 3, syscall.EIO, 3},
	{"checkpoints", powerloss.Rename, "journal/tree/checkpoint", 0, syscall.ENOSPC, 2},
	{"hashes of the tree", powerloss.Write, "journal/tree/hashes", 0, syscall.EIO, 2},
}

// TestFailingDisk lets calls of a site fail, and then takes the power away, since
// only that shows what a failed sync has left behind. The site ends with an
// error, or refuses, or goes on; in every case all that was acknowledged is there
// at the next start.
func TestFailingDisk(t *testing.T) {
	t.Parallel()
	if !alone(t) {
		return
	}
	l := newLab(t, 5, powerloss.Strict, seedOf(t))
	h := &history{names: map[string]int{}}
	for i := range faults {
		l.cycles++
		f := &faults[i]
		l.begin(h, false)
		trap := &powerloss.Trap{Op: f.op, Path: f.path, Skip: l.random.IntN(f.skip + 1), Fail: f.fail, Times: f.times}
		l.disk.Arm(trap)
		l.write(h.epoch)
		t.Logf("%s: %v: the site %s", f.name, f.fail, l.outcome(trap, os.Getenv("LAB_CYCLES") == ""))
		l.cut()
	}
	l.begin(h, true)
	l.compare()
	l.report(t, h)
}

// outcome waits until a trap was hit and what comes of it shows. If it is not in
// a hurry, it lets a site that refuses work show whether it ends or goes on.
func (l *lab) outcome(trap *powerloss.Trap, hurry bool) string {
	l.t.Helper()
	l.eventually("the call that is to fail", func() bool { return l.disk.Hits(trap) > 0 })
	before, refused := l.records.answered(), ""
	l.eventually("an end, a refusal, or answers", func() bool {
		if all := l.writers.refusals(); len(all) > 0 && refused == "" {
			refused = fmt.Sprintf("refuses (%v)", strings.TrimSpace(all[0].Error()))
			before = l.records.answered()
		}
		if refused != "" && !hurry { // those who were refused do not ask again
			_ = l.makeToken(l.t.Context())
		}
		return refused != "" && hurry || l.records.answered() > before+10 || l.over()
	})
	if !l.over() {
		if refused != "" && hurry {
			return refused
		}
		return refused + " goes on"
	}
	if code := l.site.cmd.ProcessState.ExitCode(); code != 1 {
		l.t.Fatalf("the site ended with %v\n%s", l.site.err, l.site.said())
	}
	return refused + " ends: " + lastLine(l.site.said())
}

func (l *lab) over() bool {
	select {
	case <-l.site.done:
		return true
	default:
		return false
	}
}

// eventually waits until ok says so, or fails the test with what the site says.
func (l *lab) eventually(what string, ok func() bool) {
	l.t.Helper()
	for limit := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			l.t.Fatalf("cycle %d: not within %s: %s\n%s", l.cycles, patience, what, l.site.said())
		}
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
