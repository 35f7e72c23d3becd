package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/journaltest/powerloss"
)

// An injection is a system call that strace kills or fails: of each thread the
// first one that comes.
type injection struct {
	name    string
	call    string // system calls, separated by commas
	action  string // of strace
	pages   bool   // on the journal's block files only
	start   bool   // while the site starts
	whether bool   // the site may go on as if nothing were
}

// Kills and errors of the real system's calls, on the real file system. What the
// powerloss disk does by its model, this does without one.
var injections = []injection{
	{name: "killed at a sync of a page", call: "fsync", action: "signal=KILL", pages: true},
	{name: "killed at a write of a page", call: "pwrite64,write", action: "signal=KILL", pages: true},
	{name: "killed at any sync", call: "fsync,fdatasync", action: "signal=KILL"},
	{name: "killed at a sync of a mapping", call: "msync", action: "signal=KILL"},
	{name: "killed at a rename", call: "rename,renameat,renameat2", action: "signal=KILL"},
	{name: "killed at a rename of a start", call: "rename,renameat,renameat2", action: "signal=KILL", start: true},
	{name: "killed at a truncation of a start", call: "ftruncate", action: "signal=KILL", start: true},
	{name: "killed at a removal of a start", call: "unlink,unlinkat", action: "signal=KILL", start: true},
	{name: "killed at a sync of a start", call: "fsync,msync", action: "signal=KILL", start: true},
	{name: "sync of a page fails", call: "fsync", action: "error=EIO", pages: true},
	{name: "write of a page finds no room", call: "pwrite64,write", action: "error=ENOSPC", pages: true},
	{name: "sync of a mapping fails", call: "msync", action: "error=EIO", whether: true},
}

// TestStrace ends a site at chosen system calls, or lets them fail, and starts it
// again. LAB_CYCLES says how many times in all, the default is each once.
func TestStrace(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("strace"); err != nil {
		skip(t, "needs strace: "+err.Error())
	}
	if !alone(t) {
		return
	}
	l := plainLab(t, 6)
	h := &history{names: map[string]int{}}
	for l.cycles = 1; l.cycles <= number(t, "LAB_CYCLES", len(injections)); l.cycles++ {
		in := &injections[(l.cycles-1)%len(injections)]
		l.begin(h, l.cycles%len(injections) == 0)
		if in.start {
			l.site.stop()
			l.straceStart(in)
			if !l.ready(nil) {
				<-l.site.done
			}
			l.note(in, l.over())
		} else {
			l.write(h.epoch)
			l.afterSome(60)
			l.straceNow(in)
		}
		l.killGroup()
	}
	l.begin(h, true)
	l.compare()
	l.killGroup()
	l.report(t, h)
	for _, name := range sortedKeys(l.moments) {
		t.Logf("%6d times %s", l.moments[name], name)
	}
}

func (l *lab) note(in *injection, met bool) {
	if met {
		l.moments["at: "+in.name]++
	} else {
		l.moments["missed: "+in.name]++
	}
}

// bareLab is a lab with a new folder on the file system of the temporary folder.
func bareLab(t *testing.T, test int) *lab {
	t.Helper()
	seed := seedOf(t)
	t.Logf("seed %d", seed)
	l := &lab{world: &world{t: t, dir: t.TempDir(), ip: address(t, test)}, watch: new(watch), records: newRecords(),
		random: rand.New(rand.NewPCG(seed, 3)), moments: map[string]int{},
		disk: powerloss.New(powerloss.Options{})} // which nobody mounts: its power never goes
	t.Cleanup(func() {
		if l.site != nil {
			said := l.site
			l.killGroup()
			if t.Failed() {
				t.Logf("stderr of the site:\n%s", said.said())
			}
		}
	})
	return l
}

// plainLab is such a lab with a device that has joined.
func plainLab(t *testing.T, test int) *lab {
	t.Helper()
	l := bareLab(t, test)
	l.launch()
	l.mustBeReady()
	l.token = l.newToken()
	l.agent("pc1").stop()
	l.learn()
	l.site.stop()
	return l
}

func (l *lab) strace(in *injection, args ...string) *exec.Cmd {
	all := []string{"-f", "-qqq", "-o", l.straceLog(), "-e", "trace=" + in.call, "-e", fmt.Sprintf("inject=%s:%s:when=1", in.call, in.action)}
	if in.pages {
		for _, file := range l.blockFiles() {
			all = append(all, "-P", file)
		}
	}
	return exec.Command("strace", append(all, args...)...)
}

func (l *lab) straceLog() string { return filepath.Join(l.dir, "strace.log") }

// straceStart starts the site under strace.
func (l *lab) straceStart(in *injection) {
	l.t.Helper()
	cmd := l.strace(in, append([]string{"--seccomp-bpf", binary(l.t, "bugle")}, l.serveArgs()...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	l.site = l.run(cmd)
}

// straceNow attaches strace to the site that runs, and waits until the site is
// gone, or strace says that it made a call fail and the site refuses work, or goes
// on as it may.
func (l *lab) straceNow(in *injection) {
	l.t.Helper()
	cmd := l.strace(in, "-p", fmt.Sprint(l.site.cmd.Process.Pid))
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	kills := strings.Contains(in.action, "KILL")
	limit := time.Now().Add(missedAfter)
	l.eventually("an end or a refusal", func() bool {
		return l.over() || !kills && len(l.writers.refusals()) > 0 || in.whether && l.injected() || time.Now().After(limit)
	})
	l.note(in, l.over() || l.injected())
	l.site.cmd.Process.Kill()
	cmd.Wait() // it ends with the process that it watches
}

// blockFiles are the journal's newest files, and the next.
func (l *lab) blockFiles() (all []string) {
	l.t.Helper()
	all, err := filepath.Glob(filepath.Join(l.data(), "journal", "jetstream", "$G", "streams", "*", "msgs", "*.blk"))
	if err != nil || len(all) == 0 {
		l.t.Fatalf("the journal has no files: %v", err)
	}
	return append(all, filepath.Join(filepath.Dir(all[0]), fmt.Sprint(len(all)+1, ".blk")))
}

// injected tells whether strace has made a call fail.
func (l *lab) injected() bool {
	b, err := os.ReadFile(l.straceLog())
	return err == nil && strings.Contains(string(b), "(INJECTED)")
}

// killGroup kills a site together with what started it.
func (l *lab) killGroup() {
	syscall.Kill(-l.site.cmd.Process.Pid, syscall.SIGKILL)
	l.site.cmd.Process.Kill()
	<-l.site.done
	l.site = nil
	l.stopWriting()
}
