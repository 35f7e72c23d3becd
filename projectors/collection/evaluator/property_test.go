package evaluator_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
)

// A step is one thing that happens to a site.
type step struct {
	word string
	do   func(r *rig)
}

var fewIDs = []string{"P0100001", "P0100002", "P0100003", "P0100004", "P0100005", "P0100006"}

func conditions(t *rapid.T) string {
	switch rapid.IntRange(0, 9).Draw(t, "condition") {
	case 0, 6, 7:
		return fmt.Sprintf("Name like '%s%%'", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "begins"))
	case 1, 8, 9:
		return fmt.Sprintf("Name like '%%%s'", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "ends"))
	case 2:
		return fmt.Sprintf("DateDiff(hh, CreationDate, GetDate()) > %d", rapid.IntRange(0, 30).Draw(t, "hours"))
	case 3:
		return fmt.Sprintf("ResourceID in (select ResourceID from SMS_CM_RES_COLL_%s)", rapid.SampledFrom(fewIDs).Draw(t, "collection"))
	case 4:
		return "Name in (select Name from SMS_R_System where ResourceID = 1)"
	}
	return "Nonsense = 1"
}

func drawDefinition(t *rapid.T, whole bool) (string, *event.CollectionChanged) {
	id := rapid.SampledFrom(fewIDs).Draw(t, "id")
	other := func(what string) string {
		return rapid.SampledFrom(append([]string{event.RootCollection}, fewIDs...)).Draw(t, what)
	}
	options := []option{limit(other("limit"))}
	for range rapid.IntRange(0, 2).Draw(t, "queries") {
		options = append(options, where(conditions(t)))
	}
	if rapid.Bool().Draw(t, "includes") {
		options = append(options, include(other("include")))
	}
	if rapid.IntRange(0, 3).Draw(t, "excludes") == 0 {
		options = append(options, exclude(other("exclude")))
	}
	if !whole {
		switch rapid.IntRange(0, 3).Draw(t, "when") {
		case 0:
			options = append(options, manual)
		case 1:
			options = append(options, scheduled("0 */6 * * *"))
		}
	}
	d := definition(id, options...)
	return fmt.Sprintf("define %+v", *d.After), d
}

func drawStep(t *rapid.T, whole bool) step {
	device := uint32(rapid.IntRange(1, 6).Draw(t, "device"))
	switch rapid.IntRange(0, 9).Draw(t, "step") {
	case 0, 1:
		word, d := drawDefinition(t, whole)
		return step{word, func(r *rig) { r.append(d) }}
	case 2:
		id := rapid.SampledFrom(fewIDs).Draw(t, "id")
		return step{"delete " + id, func(r *rig) { r.append(gone(id)) }}
	case 3:
		if device == 1 {
			device = 2
		}
		return step{fmt.Sprint("remove ", device), func(r *rig) { r.append(&event.DeviceRemoved{Device: device}) }}
	case 4:
		ids := rapid.SliceOfN(rapid.SampledFrom(fewIDs), 1, 3).Draw(t, "ids")
		dependants := rapid.Bool().Draw(t, "dependants")
		return step{fmt.Sprint("ask for ", ids, dependants), func(r *rig) {
			r.append(&event.EvaluationRequested{Collections: ids, Dependants: dependants})
		}}
	case 5:
		d := rapid.SampledFrom([]time.Duration{time.Millisecond, 40 * time.Millisecond, 60 * time.Millisecond, time.Second, 5 * time.Hour}).Draw(t, "time")
		return step{fmt.Sprint("wait ", d), func(*rig) {
			time.Sleep(d)
			synctest.Wait()
		}}
	case 6:
		fault := rapid.SampledFrom([]journaltest.Fault{journaltest.NoFault, journaltest.Lost, journaltest.LostButStored}).Draw(t, "fault")
		return step{fmt.Sprint("crash ", fault), func(r *rig) {
			r.j.Inject(fault) // of what is appended at this moment, if anything is
			time.Sleep(55 * time.Millisecond)
			_ = r.crash()
		}}
	case 7:
		hours := rapid.IntRange(-40, 10).Draw(t, "created")
		return step{fmt.Sprint("date ", device, " ", hours), func(r *rig) { r.append(created(device, time.Now().Add(time.Duration(hours)*time.Hour))) }}
	}
	name := rapid.SampledFrom([]string{"aa", "ab", "ba", "bb"}).Draw(t, "name")
	return step{fmt.Sprint("name ", device, " ", name), func(r *rig) { r.append(named(name, device)) }}
}

// TestAnySequence takes a site through anything. Then each collection that does not
// say that it is stale is what a full evaluation of it makes of what it names; none
// that is incremental is stale; and once all were asked for, none is.
func TestAnySequence(t *testing.T) {
	for _, cascade := range []evaluator.Cascade{evaluator.CascadeNow, evaluator.CascadeScheduled} {
		rapid.Check(t, func(rt *rapid.T) {
			whole := rapid.IntRange(0, 2).Draw(rt, "only incremental ones") == 0
			var steps []step
			for range rapid.IntRange(0, 6).Draw(rt, "definitions") {
				word, d := drawDefinition(rt, whole)
				steps = append(steps, step{word, func(r *rig) { r.append(d) }})
			}
			for range rapid.IntRange(1, 30).Draw(rt, "steps") {
				steps = append(steps, drawStep(rt, whole))
			}
			var wrong []string
			in(t, evaluator.Settings{Cascade: cascade}, func(r *rig) {
				r.append(named("aa", 1))
				for _, s := range steps {
					s.do(r)
				}
				wrong = r.judged()
			})
			if len(wrong) > 0 {
				words := []string{}
				for _, s := range steps {
					words = append(words, s.word)
				}
				rt.Fatalf("after %q: %q", words, wrong)
			}
		})
	}
}

// judged lets the site come to rest and says what is wrong then.
func (r *rig) judged() (wrong []string) {
	time.Sleep(20 * time.Second)
	synctest.Wait()
	ids := []string{event.RootCollection}
	for _, d := range r.w.definitions() {
		ids = append(ids, d.ID)
	}
	for _, id := range ids {
		s := r.state(id)
		switch {
		case s.Broken != nil:
		case s.Stale && s.Incremental:
			wrong = append(wrong, fmt.Sprintf("%s is stale: %+v", id, s))
		case !s.Stale:
			wrong = append(wrong, r.differences(id)...)
		}
	}
	head := r.append(&event.EvaluationRequested{Collections: ids, Dependants: true})
	time.Sleep(20 * time.Second)
	synctest.Wait()
	var well []string
	for _, id := range ids {
		if s := r.state(id); s.Broken == nil {
			well = append(well, id)
			if s.Stale {
				wrong = append(wrong, fmt.Sprintf("%s is stale after a request: %+v", id, s))
			}
		}
	}
	wrong = append(wrong, r.differences(well...)...)
	if c := r.cycles(head); len(c) == 0 || !slices.Contains(c[0].ids, event.RootCollection) {
		wrong = append(wrong, fmt.Sprintf("the request brought %v", c))
	}
	return wrong
}
