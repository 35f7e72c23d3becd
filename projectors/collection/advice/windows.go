package advice

import (
	"time"

	"github.com/bugle-fleet/bugle/agent/window"
)

// windows looks at the maintenance windows of collections. Local ones are reckoned
// in UTC: only lengths and days matter here, which zones change little.
func (a *adviser) windows() {
	of := map[string]window.List{}
	for _, w := range a.Windows {
		of[w.Collection] = append(of[w.Collection], w.Window)
	}
	for i := range a.Windows {
		w := &a.Windows[i]
		if a.byID[w.Collection] == nil {
			continue
		}
		enabled := w.Window
		enabled.Enabled = true
		next, ok := window.List{enabled}.Next(a.Now, time.UTC)
		switch {
		case !ok:
			a.over(w)
		case !w.Enabled:
			said := a.say(disabled, []string{w.Collection}, "Its window %q is disabled.", w.Name)
			said.Commands = []string{command("windows", "set", w.Collection, w.Name, "--disabled=false")}
		default:
			a.tooShort(w, of[w.Collection], next)
		}
	}
}

func (a *adviser) over(w *Window) {
	was := ""
	if !w.Enabled {
		was = ", and disabled"
	}
	said := a.say(over, []string{w.Collection}, "Its window %q is over%s: it never opens again.", w.Name, was)
	said.Commands = []string{command("windows", "delete", w.Collection, w.Name)}
}

// tooShort speaks of a window that is too short for work of the default length, or
// for work that waits; those of the collection that it becomes one with count.
func (a *adviser) tooShort(w *Window, with window.List, next window.Span) {
	length := w.Length
	if s, ok := with.For(w.Kind).Next(next.Open, time.UTC); ok && !s.Open.After(next.Open) {
		length = max(length, s.Length())
	}
	what, run := "work of the default length", time.Duration(window.DefaultRun)
	if w.Kind == window.Updates {
		what = "any update of the default length"
	}
	members, _ := a.membersOf(w.Collection)
	for _, work := range a.Work {
		if work.Run > run && counts(with, w.Kind, work.Kind) && work.Devices != nil && orNone(members).Intersects(work.Devices) {
			what, run = work.What, work.Run
		}
	}
	if length > window.Need(run) {
		return
	}
	need := minutes(window.Need(run))
	said := a.say(tooShort, []string{w.Collection}, "Its window %q is open for %d min, too short for %s: that takes up to %d min and needs more than %d.",
		w.Name, minutes(length), what, minutes(run), need)
	said.Commands = []string{command("windows", "set", w.Collection, w.Name, "--minutes", decimal(min(minutes(w.Length)+need-minutes(length)+30, minutes(window.MaxLength))))}
}

// counts tells whether windows of a kind count for work of a kind.
func counts(all window.List, w, work window.Kind) bool {
	for i := range all {
		if all[i].Kind == work && all[i].Enabled {
			return w == work
		}
	}
	return w == window.General
}

func minutes(d time.Duration) int { return int(d / time.Minute) }
