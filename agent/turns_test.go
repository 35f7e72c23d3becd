package agent

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/agent/action"
)

// Whatever joins and leaves, in whatever order: places are not exceeded, each
// class keeps its rule, nothing starts past a barrier that waits, and nobody
// waits for a place that is free.
func TestTurnsKeepTheirRules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		places := rapid.IntRange(1, 4).Draw(rt, "places")
		ts := newTurns(places)
		now := time.Unix(1000, 0)
		var all []*turn
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0, 1:
				x := &turn{class: action.Class(rapid.IntRange(0, 3).Draw(rt, "class"))}
				if len(all) > 0 && rapid.Bool().Draw(rt, "known") {
					x = rapid.SampledFrom(all).Draw(rt, "who")
				} else {
					all = append(all, x)
				}
				if ts.join(x, now) == nil != (x.place == atWork) {
					rt.Fatal("join says something else than what is")
				}
			case 2:
				x := &turn{class: action.Class(rapid.IntRange(0, 3).Draw(rt, "class"))}
				if len(all) > 0 && rapid.Bool().Draw(rt, "known") {
					x = rapid.SampledFrom(all).Draw(rt, "who")
				} else {
					all = append(all, x)
				}
				ts.expect(x, now.Add(time.Duration(rapid.IntRange(-1, 1).Draw(rt, "due"))*time.Minute))
			default:
				if len(all) > 0 {
					ts.leave(rapid.SampledFrom(all).Draw(rt, "who"))
				}
			}
			checkTurns(rt, ts, all, places)
		}
		for _, x := range all {
			ts.leave(x)
		}
		if ts.free != places || ts.running != 0 || ts.alone || ts.barrier || len(ts.queue)+len(ts.expected) != 0 {
			rt.Fatalf("when all have left: %+v", ts)
		}
	})
}

func checkTurns(rt *rapid.T, ts *turns, all []*turn, places int) {
	count := map[action.Class]int{}
	working := 0
	for _, x := range all {
		if x.place == atWork {
			working++
			count[x.class]++
			select {
			case <-x.granted:
			default:
				rt.Fatal("at work, and not told")
			}
		}
	}
	heavy := count[action.Alone] + count[action.Intrusive]
	if working > places || heavy > 1 || count[action.Barrier] > 0 && working > 1 || working != ts.running || ts.free != places-working {
		rt.Fatalf("%d at work on %d places: %v", working, places, count)
	}
	if len(ts.queue) == 0 || ts.free == 0 || ts.barrier {
		return
	}
	head := ts.queue[0]
	if head.class == action.Normal || head.class == action.Barrier && working == 0 || heavy == 0 && head.class != action.Barrier {
		rt.Fatalf("%d places are free, and the first of the queue waits", ts.free)
	}
}
