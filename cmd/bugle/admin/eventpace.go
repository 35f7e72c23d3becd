package admin

import (
	"fmt"
	"io"
	"time"
)

// An eventPace shows on stderr how many events were read, how fast, and how long the
// rest takes: on a terminal in one line that is drawn anew, elsewhere in a line now
// and then. It is for one goroutine.
type eventPace struct {
	w        io.Writer
	quiet    bool
	terminal bool
	now      func() time.Time
	what     string // "verified"

	begun, drawn time.Time
	dirty        bool // a line on the terminal has no end yet
}

func (s *session) eventPace(what string) *eventPace {
	now := s.time()
	return &eventPace{w: s.err, quiet: s.Quiet, terminal: s.isTerminal(s.err), now: s.time, what: what, begun: now, drawn: now}
}

// show shows that so many events were read, of total or, if that is 0, of nobody
// knows how many.
func (p *eventPace) show(done, total uint64) {
	if p.quiet {
		return
	}
	every := drawPlain
	if p.terminal {
		every = drawTerminal
	}
	now := p.now()
	if now.Sub(p.drawn) < every {
		return
	}
	p.drawn = now
	line := p.line(done, total, now.Sub(p.begun))
	if !p.terminal {
		fmt.Fprintln(p.w, line)
		return
	}
	fmt.Fprint(p.w, "\r"+line+"\x1b[K")
	p.dirty = true
}

func (p *eventPace) line(done, total uint64, took time.Duration) string {
	rate := float64(done) / max(took.Seconds(), 0.001)
	if total < done {
		return fmt.Sprintf("%s %d events, %.0f/s", p.what, done, rate)
	}
	left := time.Duration(float64(total-done) / max(rate, 1) * float64(time.Second))
	return fmt.Sprintf("%s %d of %d events, %.0f/s, %s left", p.what, done, total, rate, left.Round(time.Second))
}

// end ends the line on the terminal.
func (p *eventPace) end() {
	if p.dirty {
		fmt.Fprintln(p.w)
	}
	p.dirty = false
}
