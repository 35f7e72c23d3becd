package advice

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Interval is within which an incremental cycle should end if nobody says.
const Interval = 5 * time.Second

// incremental looks at what incremental evaluation costs and whom it serves.
func (a *adviser) incremental() {
	var all, idle []string
	used := a.used()
	for _, id := range a.order {
		if !a.byID[id].Incremental {
			continue
		}
		all = append(all, id)
		if !used[id] {
			idle = append(idle, id)
			said := a.say(unused, []string{id}, "It is incremental, but no maintenance window and no open operation uses it, nor any collection that depends on it and is used.")
			said.Commands = []string{notIncremental(a.byID[id])}
		}
	}
	a.overruns()
	a.tooMany(all, idle)
}

// used returns the collections that something uses, and those that these depend on.
func (a *adviser) used() map[string]bool {
	var left []string
	for _, id := range a.order {
		if len(a.byID[id].Uses) > 0 {
			left = append(left, id)
		}
	}
	for i := range a.Windows {
		left = append(left, a.Windows[i].Collection)
	}
	used := map[string]bool{}
	for len(left) > 0 {
		at := left[len(left)-1]
		left = left[:len(left)-1]
		if used[at] {
			continue
		}
		used[at] = true
		for _, in := range a.inputs[at] {
			left = append(left, in.id)
		}
	}
	return used
}

// notIncremental is the command that turns it off; whoever has no schedule gets one.
func notIncremental(c *Collection) string {
	words := []string{"collections", "set", c.ID, "--incremental=false"}
	if c.Schedule == "" {
		words = append(words, "--schedule", "0 4 * * *")
	}
	return command(words...)
}

func (a *adviser) interval() time.Duration { return cmp.Or(a.Interval, Interval) }

// overruns speaks of incremental cycles that took longer than their interval.
func (a *adviser) overruns() {
	var longest time.Duration
	long := 0
	for _, y := range a.Cycles {
		if y.Took > a.interval() {
			long++
			longest = max(longest, y.Took)
		}
	}
	if long == 0 {
		return
	}
	said := a.say(longCycle, nil, "%d of the last %s took longer than %s; the longest took %s.", long, counted(len(a.Cycles), "incremental cycle"), short(a.interval()), short(longest))
	said.Remedy = "See which collections they are that take long."
	said.Commands = []string{command("collections", "stats", "--kind", "incremental", "--sort", "length")}
}

// fewCycles are too few to reckon from.
const fewCycles = 5

// tooMany speaks of more incremental collections than the cycles that were measured
// have time for. It reckons from the slowest tenth of them.
func (a *adviser) tooMany(all, idle []string) {
	var per []time.Duration // and collection
	for _, y := range a.Cycles {
		if y.Collections > 0 {
			per = append(per, y.Took/time.Duration(y.Collections))
		}
	}
	if len(per) < fewCycles {
		return
	}
	slices.Sort(per)
	each := per[len(per)*9/10]
	if each <= 0 || time.Duration(len(all))*each <= a.interval() {
		return
	}
	room := int(a.interval() / each)
	said := a.say(tooMany, nil, "%s are incremental; as the last %d cycles went, %s has time for about %d.", counted(len(all), "collection"), len(per), short(a.interval()), room)
	for _, id := range a.dispensable(all, idle)[:min(len(all)-room, most)] {
		said.Commands = append(said.Commands, notIncremental(a.byID[id]))
	}
}

// dispensable orders collections by how easily they are evaluated less often: those
// that nobody uses first, then those that take long.
func (a *adviser) dispensable(all, idle []string) []string {
	ordered := slices.Clone(all)
	is := map[string]bool{}
	for _, id := range idle {
		is[id] = true
	}
	slices.SortStableFunc(ordered, func(x, y string) int {
		if is[x] != is[y] {
			if is[x] {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.byID[y].Took, a.byID[x].Took), strings.Compare(x, y))
	})
	return ordered
}
