package advice

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/schedule"
)

// What schedules are measured by.
const (
	// SameMinute is how many collections may be due in one minute.
	SameMinute = 10
	// ahead is how far instants are looked for, and mostInstants how many of one
	// schedule.
	ahead        = 7 * 24 * time.Hour
	mostInstants = 64
	// someInstants of two schedules tell whether one comes before the other.
	someInstants = 8
	// A tree of as many levels is deep, and an evaluation of it more often than this
	// too often.
	deepLevels = 4
	often      = time.Hour
)

// A timing is a schedule with the instants that it has next.
type timing struct {
	schedule.Schedule
	next []time.Time // within ahead, at most mostInstants; at least the first two, if there are any
}

// gap is the shortest time between two of the next instants, 0 if there is but one.
func (t *timing) gap() (shortest time.Duration) {
	for i := 1; i < min(len(t.next), someInstants); i++ {
		if d := t.next[i].Sub(t.next[i-1]); shortest == 0 || d < shortest {
			shortest = d
		}
	}
	return shortest
}

// timings reads the schedules of all collections. One that cannot be read or never
// comes again is none.
func (a *adviser) timings() map[string]*timing {
	all, byText := map[string]*timing{}, map[string]*timing{}
	for _, id := range a.order {
		c := a.byID[id]
		if c.Schedule == "" {
			continue
		}
		t, known := byText[c.Schedule]
		if !known {
			s, err := schedule.Parse(c.Schedule)
			if err != nil {
				said := a.say(noMoreTurns, []string{id}, "Its schedule cannot be read: %s", ended(err.Error()))
				said.Commands = []string{command("collections", "set", id, "--schedule", "0 4 * * *")}
				continue
			}
			t = newTiming(s, a.Now)
			byText[c.Schedule] = t
		}
		if len(t.next) == 0 {
			said := a.say(noMoreTurns, []string{id}, "Its schedule never comes again: %s.", t)
			said.Commands = []string{command("collections", "set", id, "--schedule", "0 4 * * *")}
			continue
		}
		all[id] = t
	}
	return all
}

func newTiming(s schedule.Schedule, now time.Time) *timing {
	t := &timing{Schedule: s}
	at, ok := s.Next(now)
	for ; ok && len(t.next) < mostInstants && (len(t.next) < 2 || at.Before(now.Add(ahead))); at, ok = s.Next(at) {
		t.next = append(t.next, at)
	}
	return t
}

// schedules looks at when collections are evaluated in full.
func (a *adviser) schedules() {
	due := a.timings()
	a.sameMinute(due)
	for _, id := range a.order {
		t := due[id]
		if t == nil {
			continue
		}
		a.beforeInputs(id, t, due)
		a.staleInputs(id, t, due)
		a.deepTooOften(id, t)
		a.longCycle(id, t)
	}
}

// beforeInputs speaks of a collection that is always evaluated shortly before one
// that it depends on.
func (a *adviser) beforeInputs(id string, t *timing, due map[string]*timing) {
	for i, in := range a.inputs[id] {
		other := due[in.id]
		if other == nil || a.byID[in.id].Incremental || slices.ContainsFunc(a.inputs[id][:i], func(o input) bool { return o.id == in.id }) || !before(t, other) {
			continue
		}
		next, _ := other.Next(t.next[0].Add(-1))
		said := a.say(beforeParent, []string{id, in.id}, "It is evaluated %s, always shortly before %s, which it %s, is: %s.", t, a.named(in.id), in.how, other)
		said.Remedy = "Evaluate it after what it depends on, or leave its schedule out: a full evaluation of its limiting collection takes it along."
		if later, ok := moved(t.Text(), int(next.Sub(t.next[0])/time.Minute)+a.minutesFor(in.id)); ok {
			said.Commands = []string{command("collections", "set", id, "--schedule", later)}
		} else if in.how == limitedBy {
			said.Commands = []string{command("collections", "set", id, "--schedule=")}
		}
	}
}

// minutesFor is how many minutes after a collection another one is well evaluated.
func (a *adviser) minutesFor(id string) int {
	return max(5, int(a.byID[id].FullCycle/time.Minute)+1)
}

// before tells whether other always comes sooner after an instant of t than it came
// before it.
func before(t, other *timing) bool {
	for _, at := range t.next[:min(len(t.next), someInstants)] {
		next, ok := other.Next(at.Add(-1))
		if !ok {
			return false
		}
		d := next.Sub(at)
		if last, ok := other.Next(at.Add(-d - 1)); ok && !last.After(at) {
			return false
		}
	}
	return true
}

// staleInputs speaks of a schedule whose limiting collection has none.
func (a *adviser) staleInputs(id string, t *timing, due map[string]*timing) {
	limit := limitOf(a.byID[id])
	parent := a.byID[limit]
	if limit == event.RootCollection || parent == nil || parent.Incremental {
		return
	}
	for up, n := parent, len(a.order); up != nil && n > 0; up, n = a.byID[limitOf(up)], n-1 {
		if due[up.ID] != nil {
			return // a full evaluation of that one takes the parent along
		}
	}
	said := a.say(staleParent, []string{id, limit}, "It is evaluated %s, but %s, which it is limited by, has no schedule and is not incremental.", t, a.named(limit))
	said.Commands = []string{command("collections", "set", limit, "--incremental")}
	if earlier, ok := moved(t.Text(), -5); ok {
		said.Commands = append(said.Commands, command("collections", "set", limit, "--schedule", earlier))
		said.Remedy = "Evaluate that one incrementally, or shortly before it: one of the commands is enough."
	}
}

// deepTooOften speaks of a deep tree under a collection that is evaluated in full
// more than hourly.
func (a *adviser) deepTooOften(id string, t *timing) {
	gap := t.gap()
	if gap == 0 || gap >= often {
		return
	}
	levels := a.levels(id)
	if levels < deepLevels {
		return
	}
	below := len(a.below(id, a.limited))
	said := a.say(deepTooOften, []string{id}, "It is evaluated every %s, and takes %s in %d levels along.", short(gap), counted(below, "collection"), levels)
	said.Commands = []string{command("collections", "set", id, "--incremental", "--schedule", "0 4 * * *")}
}

// longCycle speaks of a collection whose last cycle took longer than there is until
// the next.
func (a *adviser) longCycle(id string, t *timing) {
	took, gap := a.byID[id].FullCycle, t.gap()
	if gap == 0 || took <= gap {
		return
	}
	said := a.say(longCycle, []string{id}, "The last cycle that evaluated it on schedule took %s, and the next one is due after %s.", short(took), short(gap))
	said.Commands = []string{command("collections", "stats", "--cycles", "--kind", "full")}
}

// sameMinute speaks of minutes in which many collections are due. Each of these
// is in one such minute only, that of the most.
func (a *adviser) sameMinute(due map[string]*timing) {
	in := map[time.Time][]string{}
	for _, id := range a.order {
		if t := due[id]; t != nil {
			for _, at := range t.next {
				in[at] = append(in[at], id)
			}
		}
	}
	var crowded []time.Time
	for at, ids := range in {
		if len(ids) > SameMinute {
			crowded = append(crowded, at)
		}
	}
	slices.SortFunc(crowded, func(x, y time.Time) int {
		if d := len(in[y]) - len(in[x]); d != 0 {
			return d
		}
		return x.Compare(y)
	})
	said := map[string]bool{}
	for _, at := range crowded {
		ids := slices.DeleteFunc(in[at], func(id string) bool { return said[id] })
		if len(ids) <= SameMinute {
			continue
		}
		for _, id := range ids {
			said[id] = true
		}
		a.crowd(at, ids)
	}
}

// crowd proposes a time for each of the collections that are due in one minute,
// those first that others depend on.
func (a *adviser) crowd(at time.Time, ids []string) {
	slices.SortStableFunc(ids, func(x, y string) int { return a.depth[x] - a.depth[y] })
	said := a.say(sameMinute, ids, "%s are due in the same minute, next at %s.", counted(len(ids), "collection"), at.UTC().Format("2006-01-02 15:04 UTC"))
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = a.byID[id].Schedule
	}
	stays := 0
	for i, text := range staggered(texts) {
		if text == "" {
			stays++
		} else if text != texts[i] {
			said.Commands = append(said.Commands, command("collections", "set", ids[i], "--schedule", text))
		}
	}
	if stays > 0 {
		said.Remedy += fmt.Sprintf(" For %d of them no time is proposed: their schedules have no one time of day or minute.", stays)
	}
}

// short is a length of time for people.
func short(d time.Duration) string {
	switch {
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= 10*time.Minute || d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%d min", d.Round(time.Minute)/time.Minute)
	case d >= time.Second:
		return strconv.FormatFloat(d.Round(10*time.Millisecond).Seconds(), 'f', -1, 64) + " s"
	}
	return strconv.FormatFloat(float64(d.Round(10*time.Microsecond))/float64(time.Millisecond), 'f', -1, 64) + " ms"
}
