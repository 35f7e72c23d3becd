package admin

import (
	"fmt"
	"io"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle/backup"
)

// A transfer shows on stderr how many bytes were copied, how fast, and how long
// the rest takes: on a terminal in one line that is drawn anew, elsewhere in a
// line now and then.
type transfer struct {
	w        io.Writer
	quiet    bool
	terminal bool
	now      func() time.Time

	step  string
	begun time.Time // of the step
	from  int64     // bytes that were done then
	drawn time.Time
	dirty bool // a line on the terminal has no end yet
}

// How often a line is drawn.
const (
	drawTerminal = 200 * time.Millisecond
	drawPlain    = 5 * time.Second
)

func (s *session) transfer() *transfer {
	return &transfer{w: s.err, quiet: s.Quiet, terminal: s.isTerminal(s.err), now: s.time}
}

func (t *transfer) show(p backup.Progress) {
	if t.quiet {
		return
	}
	now := t.now()
	if p.Step != t.step {
		t.end()
		t.step, t.begun, t.from, t.drawn = p.Step, now, p.Done, now
		return
	}
	every := drawPlain
	if t.terminal {
		every = drawTerminal
	}
	if now.Sub(t.drawn) < every {
		return
	}
	t.drawn = now
	line := t.line(p, now)
	if !t.terminal {
		fmt.Fprintln(t.w, line)
		return
	}
	fmt.Fprint(t.w, "\r"+line+"\x1b[K")
	t.dirty = true
}

func (t *transfer) line(p backup.Progress, now time.Time) string {
	line := fmt.Sprintf("%s: %s of %s", p.Step, inBytes(p.Done), inBytes(p.Total))
	took := now.Sub(t.begun).Seconds()
	rate := float64(p.Done-t.from) / max(took, 0.001)
	if rate < 1 {
		return line
	}
	left := time.Duration(float64(p.Total-p.Done) / rate * float64(time.Second))
	return fmt.Sprintf("%s, %s/s, %s left", line, inBytes(int64(rate)), left.Round(time.Second))
}

// end ends the line on the terminal.
func (t *transfer) end() {
	if t.dirty {
		fmt.Fprintln(t.w)
	}
	t.dirty = false
}

// inBytes is a size for people.
func inBytes(n int64) string {
	const kilo = 1000
	if n < kilo {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/kilo, 0
	for value >= kilo && unit < 4 {
		value /= kilo
		unit++
	}
	return fmt.Sprintf("%.1f %cB", value, "kMGTP"[unit])
}
