package console

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// PathQuery tries a query.
const PathQuery = Base + "/evaluations/query" // POST [QueryRequest] → [QueryReply]

// QueryRequest tries a query.
type QueryRequest struct {
	Query string `json:"query" minLength:"1" maxLength:"32768" doc:"WQL, as the query rule of a collection has it"`
	Limit int    `json:"limit,omitempty" minimum:"0" maximum:"10000" doc:"how many devices to name; default 20"`
}

// QueryReply is what a query selects.
type QueryReply struct {
	Query   string   `json:"query" doc:"as it was understood"`
	Count   uint64   `json:"count" doc:"devices that it selects"`
	Items   []Member `json:"items" doc:"the first of them, by number"`
	Seconds float64  `json:"seconds" doc:"what the evaluation took"`
	Event   uint64   `json:"event" doc:"the event that names are as of"`
}

type queryInput struct {
	Body QueryRequest
}

func (c *Console) tryQuery(ctx context.Context, in *queryInput) (*out[QueryReply], error) {
	if c.cfg.Definitions == nil || c.cfg.Evaluator == nil {
		return nil, errNoCollections
	}
	state := c.cfg.Definitions.Now()
	q, err := wql.Parse(in.Body.Query, state.Schema())
	if err != nil {
		return nil, refusedQuery(err)
	}
	for _, id := range q.Uses {
		if _, ok := state.Get(id); !ok {
			return nil, refusedQuery(placeOf(in.Body.Query, id))
		}
	}
	found, err := c.cfg.Evaluator.Query(ctx, in.Body.Query, cmp.Or(in.Body.Limit, 20))
	if _, ok := errors.AsType[*wql.Error](err); ok {
		return nil, refusedQuery(err) // the classes changed meanwhile
	}
	if err != nil {
		return nil, c.failEvaluator(ctx, "try the query", err)
	}
	v := c.now()
	reply := QueryReply{Query: q.String(), Count: uint64(found.Count), Items: []Member{}, Seconds: found.Took.Seconds(), Event: v.event}
	for _, d := range found.Devices {
		m, err := v.member(d)
		if err != nil {
			return nil, c.failView(ctx, "name the devices", err)
		}
		reply.Items = append(reply.Items, m)
	}
	return answerAt(reply, reply.Event)
}

// failEvaluator is fail for errors of the evaluator.
func (c *Console) failEvaluator(ctx context.Context, doing string, err error) error {
	if errors.Is(err, evaluator.ErrStopped) {
		return problem(http.StatusServiceUnavailable, "The evaluator does not run", "Cannot %s: %s.", doing, err)
	}
	return c.failView(ctx, doing, err)
}

// refusedQuery is the problem with a query, with its place.
func refusedQuery(err error) error {
	refused := definitions.Error{Path: "query", Message: err.Error()}
	if e, ok := errors.AsType[*wql.Error](err); ok {
		refused.Line, refused.Column, refused.Message = e.Line, e.Column, strings.TrimSuffix(e.Message, ".")
	}
	return &DefinitionProblem{Problem: Problem{Status: http.StatusUnprocessableEntity, Title: "The query cannot be evaluated",
		Detail: strings.TrimPrefix(refused.Error(), "query: ") + "."}, Refused: []definitions.Error{refused}}
}

// placeOf says that a query names a collection that is not there.
func placeOf(query, id string) error {
	at := max(strings.Index(strings.ToUpper(query), strings.ToUpper(id)), 0)
	before := query[:min(at, len(query))]
	line := strings.LastIndexByte(before, '\n') + 1
	return &wql.Error{Pos: wql.Pos(at), Line: 1 + strings.Count(before, "\n"), Column: 1 + len([]rune(before[line:])),
		Message: "there is no collection with the id " + id}
}
