package console

import (
	"context"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-fleet/bugle/projectors/collection"
	"github.com/bugle-fleet/bugle/projectors/collection/advice"
)

// PathAdvice is what is worth a second look in collections.
const PathAdvice = Base + "/collections/advice" // GET ?collection= &severity= → [AdviceList]

// maxAdvice is how much of it an answer holds.
const maxAdvice = 10_000

// AdviceList is what is worth a second look: warnings first, then by code and name.
type AdviceList struct {
	Items   []Advice `json:"items" doc:"at most 10,000"`
	More    int      `json:"more,omitempty" doc:"how many more there are"`
	Unasked int      `json:"unasked" doc:"queries and values that the evaluator was not asked about, for it does not run or it took too long: advice that needs the answer is left out"`
	Event   uint64   `json:"event"`
}

// Advice is one thing that is worth a second look.
type Advice struct {
	Code        string          `json:"code" doc:"of a letter and a number: 1 schedules, 2 members and references, 3 queries, 4 windows"`
	Severity    string          `json:"severity" enum:"warning,note" doc:"warning: it does not do what it seems to; note: it could be better"`
	Collections []CollectionRef `json:"collections" doc:"the one that it is about first; none if it is about all"`
	Advice      string          `json:"advice" doc:"what there is, a sentence"`
	Why         string          `json:"why" doc:"why it matters, a sentence"`
	Remedy      string          `json:"remedy" doc:"what to do, a sentence"`
	Commands    []string        `json:"commands,omitempty" doc:"that do it; each as a shell takes it"`
	Query       *AdviceQuery    `json:"query,omitempty" doc:"the query rule of the first collection that it is about"`
}

// AdviceQuery is a place in a query rule.
type AdviceQuery struct {
	Number    int    `json:"number" doc:"of the rule, from 1"`
	Name      string `json:"name,omitempty"`
	Line      int    `json:"line"`
	Column    int    `json:"column" doc:"of the line, in characters from 1"`
	Corrected string `json:"corrected,omitempty" doc:"the whole query as it was probably meant"`
}

func (c *Console) registerAdvice(api huma.API) {
	huma.Register(api, call(http.MethodGet, "listAdvice", PathAdvice, "What is worth a second look in collections"), c.listAdvice)
}

type adviceInput struct {
	When
	Collection []string `query:"collection,explode" maxItems:"100" doc:"only about these, by id or name; may be repeated"`
	Severity   string   `query:"severity" enum:"warning,note" doc:"only these; default all"`
}

func (c *Console) listAdvice(ctx context.Context, in *adviceInput) (*out[AdviceList], error) {
	const doing = "look for advice about collections"
	v, err := c.readCollections(ctx, in.When)
	if err != nil {
		return nil, err
	}
	list, only := AdviceList{Items: []Advice{}}, map[string]bool{}
	g := &adviceGatherer{c: c, v: v, name: v.deviceNamer()}
	list.Event, err = v.collections.At(func(s *collection.Snapshot) error {
		for _, word := range in.Collection {
			info, err := findCollection(s, word)
			if err != nil {
				return err
			}
			only[info.ID] = true
		}
		return g.collections(s)
	})
	if err == nil {
		err = g.rest(ctx)
	}
	if err != nil {
		return nil, c.failView(ctx, doing, err)
	}
	for _, a := range advice.Advise(&g.in) {
		shown := adviceJSON(&a)
		about := func(r CollectionRef) bool { return only[r.ID] }
		switch {
		case in.Severity != "" && shown.Severity != in.Severity:
		case len(only) > 0 && !slices.ContainsFunc(shown.Collections, about):
		case len(list.Items) == maxAdvice:
			list.More++
		default:
			list.Items = append(list.Items, shown)
		}
	}
	list.Unasked = g.unasked
	return answerAt(list, list.Event)
}

func adviceJSON(a *advice.Advice) Advice {
	shown := Advice{Code: a.Code, Severity: a.Severity.String(), Collections: []CollectionRef{}, Advice: a.What, Why: a.Why, Remedy: a.Remedy, Commands: a.Commands}
	for _, r := range a.Collections {
		shown.Collections = append(shown.Collections, CollectionRef{ID: r.ID, Name: r.Name})
	}
	if r := a.Rule; r != nil {
		shown.Query = &AdviceQuery{Number: r.Number, Name: r.Name, Line: r.Line, Column: r.Column, Corrected: r.Corrected}
	}
	return shown
}
