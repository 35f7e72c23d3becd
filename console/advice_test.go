package console_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
)

// knowsQueries is an evaluator that answers questions about queries alone.
type knowsQueries struct {
	console.Evaluator
	asked   []string
	answers func(text string) (evaluator.Answer, error)
}

func (k *knowsQueries) Query(_ context.Context, text string, _ int) (evaluator.Answer, error) {
	k.asked = append(k.asked, text)
	return k.answers(text)
}

func adviceOf(t testing.TB, r *rig, path string) console.AdviceList {
	t.Helper()
	var l console.AdviceList
	r.do("GET", r.min(path), nil).ok(&l)
	return l
}

// codes are the codes of a list with the ids of the collections, in brief.
func codes(l console.AdviceList) (all []string) {
	for _, a := range l.Items {
		ids := []string{a.Severity, a.Code}
		for _, c := range a.Collections {
			ids = append(ids, strings.TrimPrefix(c.ID, "P01"))
		}
		all = append(all, strings.Join(ids, " "))
	}
	return all
}

func (r *rig) tellQuestionable() {
	r.tell(
		collectionOf("P0100001", "Laptops", nil),
		collectionOf("P0100002", "No Chrome", func(c *event.Collection) {
			c.Limit, c.Schedule = "P0100001", "0 4 * * *"
			c.Queries = []event.CollectionQuery{{WQL: "select * from SMS_R_System inner join SMS_G_System_ADD_REMOVE_PROGRAMS on SMS_G_System_ADD_REMOVE_PROGRAMS.ResourceID = SMS_R_System.ResourceID\nwhere DisplayName not like '%Chrome%'"}}
		}),
		collectionOf("P0100003", "East", func(c *event.Collection) {
			c.Queries = []event.CollectionQuery{{Name: "site", WQL: "select * from SMS_R_System where ADSiteName = 'Eats'"}}
			c.Exclude = []string{"P0100001"}
		}),
		cycle(1, event.FullQueue, resultOf(event.RootCollection, 1, members(r.t, 1, 2, 3, 4), nil), resultOf("P0100001", 1, members(r.t, 1, 2), nil), resultOf("P0100003", 1, members(r.t, 3), nil)),
		&event.WindowChanged{Collection: "P0100001", Name: "night", After: []byte(`{"name": "night", "kind": "updates", "start": "2026-11-28T01:00", "minutes": 60, "every": {"unit": "day"}}`)},
	)
}

func TestAdvice(t *testing.T) {
	k := &knowsQueries{answers: func(text string) (evaluator.Answer, error) {
		if strings.Contains(text, "* from SMS_R_System") {
			return evaluator.Answer{Count: 2, Devices: []uint32{3, 4}}, nil
		}
		return evaluator.Answer{}, nil
	}}
	r := newEvaluationRig(t, func(_ *rig, cfg *console.Config) { cfg.Evaluator = k })
	r.tellQuestionable()
	all := adviceOf(t, r, console.PathAdvice)
	want := []string{"warning A104 00002 00001", "warning A301 00002", "warning A401 00001", "note A202 00003 00001", "note A307 00003"}
	if got := codes(all); !slices.Equal(got, want) || all.Unasked != 0 || all.Event == 0 {
		t.Errorf("got %q, want %q; %+v", got, want, all)
	}
	if q := all.Items[1].Query; q == nil || q.Line != 2 || q.Column != 7 || q.Number != 1 || !strings.Contains(q.Corrected, "not in (select") {
		t.Errorf("it is in %+v", q)
	}
	if len(k.asked) != 2 || k.asked[1] != `select SMS_R_System.ResourceID from SMS_R_System where SMS_R_System.ADSiteName = "eats"` {
		t.Errorf("asked %q", k.asked)
	}
	for path, want := range map[string][]string{
		"?severity=note":                              want[3:],
		"?collection=east":                            want[3:],
		"?collection=P0100001&severity=warning":       {want[0], want[2]},
		"?collection=No+Chrome&collection=east":       {want[0], want[1], want[3], want[4]},
		"?collection=SMS00001":                        nil,
		fmt.Sprintf("?at=%d", r.journal.Head().Event): want[:3], // nobody asks the evaluator about the past
	} {
		var l console.AdviceList
		r.do("GET", console.PathAdvice+path, nil).ok(&l)
		if got := codes(l); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	r.do("GET", console.PathAdvice+"?collection=nobody", nil).problem(http.StatusNotFound, "nobody")
	r.do("GET", console.PathAdvice+"?severity=bad", nil).problem(http.StatusUnprocessableEntity, "severity")
}

func TestAdviceWithoutAnswers(t *testing.T) {
	k := &knowsQueries{answers: func(string) (evaluator.Answer, error) { return evaluator.Answer{}, errors.New("it has ended") }}
	r := newEvaluationRig(t, func(_ *rig, cfg *console.Config) { cfg.Evaluator = k })
	r.tellQuestionable()
	all := adviceOf(t, r, console.PathAdvice)
	if got := codes(all); len(got) != 3 || all.Unasked != 2 {
		t.Errorf("got %q, %d unasked", got, all.Unasked)
	}
}

// TestAdviceKnowsOperations pushes to a collection that nothing else uses.
func TestAdviceKnowsOperations(t *testing.T) {
	r := newEvaluationRig(t, nil)
	r.tell(collectionOf("P0100001", "Fast", func(c *event.Collection) { c.Incremental = true }))
	if got := codes(adviceOf(t, r, console.PathAdvice)); !slices.Equal(got, []string{"note A107 00001"}) {
		t.Errorf("before: %q", got)
	}
	r.tell(pushed(t, "0b3c6f6e-1111-4111-8111-111111111111", "P0100001", 1, 2))
	if got := codes(adviceOf(t, r, console.PathAdvice)); len(got) > 0 {
		t.Errorf("after: %q", got)
	}
}
