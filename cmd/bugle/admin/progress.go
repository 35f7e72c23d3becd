package admin

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/term"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Progress shows how far an operation is. On a terminal it is one line with a
// bar that is drawn anew; elsewhere it is a line for every change. It is safe
// for concurrent use, and nothing else may write to its writer before Done.
type Progress struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	colour   bool
	total    int
	last     string
	done     bool
}

// NewProgress returns the progress of an operation for total devices. NO_COLOR
// is honoured.
func NewProgress(w io.Writer, terminal bool, total int) *Progress {
	return &Progress{w: w, terminal: terminal, colour: wantsColour(terminal), total: total}
}

// Update shows how many devices are in which state; the keys are the names of
// [task.State]. It draws only if that differs from what is shown.
func (p *Progress) Update(states map[string]int) { p.update(states, "") }

// update is Update with a text in front.
func (p *Progress) update(states map[string]int, text string) {
	final := 0
	var parts []string
	if text != "" {
		parts = append(parts, text)
	}
	for _, s := range task.States {
		n := states[s.String()]
		if s.Final() {
			final += n
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", s, n))
		}
	}
	p.show(final, p.total, "device", strings.Join(parts, ", "))
}

// Done ends the line of the bar. What comes later is not shown.
func (p *Progress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal && p.last != "" && !p.done {
		fmt.Fprintln(p.w)
	}
	p.done = true
}

// clear takes the line of the bar away; the next one is drawn anew.
func (p *Progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal && p.last != "" && !p.done {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.last = ""
	}
}

// show draws done of total units and a text.
func (p *Progress) show(done, total int, unit, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := fmt.Sprintf("%d of %s done: %s", done, countOf(total, unit), text)
	if p.terminal {
		line = bar(done, total) + fmt.Sprintf(" %d/%d  %s", done, total, text)
	}
	if p.done || line == p.last {
		return
	}
	p.last = line
	if !p.terminal {
		fmt.Fprintln(p.w, strings.TrimSuffix(line, ": "))
		return
	}
	fmt.Fprint(p.w, "\r"+p.fit(line)+"\x1b[K")
}

// fit cuts line to the width of the terminal, for a line that wraps cannot be
// drawn anew, and colours the bar.
func (p *Progress) fit(line string) string {
	width := 80
	if f, ok := p.w.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			width = w
		}
	}
	if len(line) >= width {
		line = line[:width-1]
	}
	if end := strings.IndexByte(line, ']'); p.colour && end > 0 {
		line = green + line[:end+1] + uncoloured + line[end+1:]
	}
	return line
}

const barWidth = 24

func bar(done, total int) string {
	full := barWidth
	if total > 0 {
		full = min(barWidth, max(0, done*barWidth/total))
	}
	return "[" + strings.Repeat("#", full) + strings.Repeat("-", barWidth-full) + "]"
}

// stateOrder is the names of states: those that this bugle knows in their order,
// then the others by name.
func stateOrder(states map[string]uint32) []string {
	names := make([]string, 0, len(task.States))
	for _, s := range task.States {
		names = append(names, s.String())
	}
	known := len(names)
	for name := range states {
		if !slices.Contains(names[:known], name) {
			names = append(names, name)
		}
	}
	slices.Sort(names[known:])
	return names
}
