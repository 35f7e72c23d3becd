package console

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/evaluator"
)

// Paths of what is to be known about the evaluation of collections.
const (
	PathEvaluationQueues = Base + "/evaluations/queues" // GET → [EvaluationQueues]
	PathEvaluationStats  = Base + "/evaluations/stats"  // GET ?kind= &collection= &history= → [EvaluationStats]
	PathEvaluationCycles = Base + "/evaluations/cycles" // GET ?kind= &limit= → [CycleList]
	PathCollectionGraph  = Base + "/evaluations/graph"  // GET ?collection= &depth= → [CollectionGraph]
)

// EvaluationQueues is what the evaluator does and what waits for it.
type EvaluationQueues struct {
	Items []EvaluationQueue `json:"items" doc:"full, manual, single, incremental"`
	Event uint64            `json:"event" doc:"the event that names are as of"`
}

// EvaluationQueue is what one queue of the evaluator does. The counts are since the
// site started.
type EvaluationQueue struct {
	Kind           string           `json:"kind" enum:"full,manual,single,incremental"`
	Running        *EvaluationWork  `json:"running,omitempty" doc:"absent if none of it runs"`
	Waiting        []EvaluationWork `json:"waiting" doc:"in the order in which it will run"`
	Cycles         uint64           `json:"cycles" doc:"that ran"`
	Dropped        uint64           `json:"dropped" doc:"collections that were asked for while they waited already"`
	LastStarted    *time.Time       `json:"lastStarted,omitempty" doc:"the last cycle"`
	LastSeconds    float64          `json:"lastSeconds,omitempty"`
	MeanSeconds    float64          `json:"meanSeconds,omitempty" doc:"of a cycle"`
	LongestSeconds float64          `json:"longestSeconds,omitempty" doc:"of a cycle"`
}

// EvaluationWork is a cycle that runs or waits.
type EvaluationWork struct {
	Collections      []CollectionRef `json:"collections" doc:"that were asked for, at most 100; none of kind incremental, which is for all that changes concern"`
	Count            int             `json:"count" doc:"collections that it evaluates, as far as is known"`
	Dependants       bool            `json:"dependants,omitempty" doc:"and all that depend on them"`
	Cause            string          `json:"cause" enum:"schedule,request,definition,devices,time,start,cascade"`
	By               uint64          `json:"by,omitempty" doc:"the event that caused it"`
	Asked            time.Time       `json:"asked" doc:"since when it has waited"`
	Started          *time.Time      `json:"started,omitempty" doc:"absent if it waits"`
	EstimatedSeconds float64         `json:"estimatedSeconds,omitempty" doc:"how long it takes, by how long such took before; absent if there was none"`
	EstimatedEnd     *time.Time      `json:"estimatedEnd,omitempty"`
}

// EvaluationStats is how the evaluations of one kind went, by collection.
type EvaluationStats struct {
	Kind         string           `json:"kind" enum:"full,manual,single,incremental"`
	Items        []EvaluationStat `json:"items" doc:"by id; a collection that never ran in this kind is left out"`
	TotalSeconds float64          `json:"totalSeconds" doc:"what the last runs of all collections took together"`
	Event        uint64           `json:"event"`
}

// EvaluationStat is how the evaluations of one kind of one collection went.
type EvaluationStat struct {
	ID            string            `json:"id"`
	Name          string            `json:"name"`
	Runs          uint64            `json:"runs" doc:"how many there were"`
	Seconds       float64           `json:"seconds" doc:"what the last one took"`
	Share         float64           `json:"share" doc:"of totalSeconds, 0 to 1"`
	Started       time.Time         `json:"started" doc:"when the cycle of the last one began"`
	Done          time.Time         `json:"done" doc:"when the last one was in the journal; of an incremental one that is the last that changed the members"`
	Next          *time.Time        `json:"next,omitempty" doc:"when the next one is due by its own schedule; of kind full alone"`
	Members       uint64            `json:"members" doc:"after the last one"`
	Added         uint64            `json:"added" doc:"by the last one"`
	Removed       uint64            `json:"removed" doc:"by the last one"`
	MembersChange *EventMark        `json:"membersChange,omitempty" doc:"when one of this kind changed the members last"`
	Cycle         uint64            `json:"cycle" doc:"of the last one"`
	Cause         string            `json:"cause" enum:"schedule,request,definition,devices,time,start,cascade"`
	By            uint64            `json:"by,omitempty" doc:"the event that caused it"`
	Basis         uint64            `json:"basis" doc:"the event that all it read was as of"`
	Computed      uint32            `json:"computed" doc:"conditions that were computed for it"`
	Reused        uint32            `json:"reused" doc:"conditions whose answers were there already"`
	Event         uint64            `json:"event" doc:"the event that brought the result"`
	Trend         *float64          `json:"trend,omitempty" doc:"the time of the last run over the median of the runs before it; with history alone"`
	History       []EvaluationPoint `json:"history,omitempty" doc:"the last runs, newest first, at most 32; with history alone"`
}

// EvaluationPoint is one run in the history of a collection.
type EvaluationPoint struct {
	Cycle   uint64    `json:"cycle"`
	Event   uint64    `json:"event"`
	Started time.Time `json:"started"`
	Done    time.Time `json:"done"`
	Seconds float64   `json:"seconds"`
	Cause   string    `json:"cause"`
	By      uint64    `json:"by,omitempty"`
	Members uint64    `json:"members"`
	Added   uint64    `json:"added"`
	Removed uint64    `json:"removed"`
}

// CycleList is cycles of the evaluator, newest first.
type CycleList struct {
	Items []EvaluationCycle `json:"items"`
	Event uint64            `json:"event"`
}

// EvaluationCycle is one cycle of the evaluator.
type EvaluationCycle struct {
	Cycle       uint64    `json:"cycle"`
	Kind        string    `json:"kind" enum:"full,manual,single,incremental"`
	Cause       string    `json:"cause" enum:"schedule,request,definition,devices,time,start,cascade"`
	By          uint64    `json:"by,omitempty" doc:"the event that caused it"`
	Basis       uint64    `json:"basis" doc:"the event that all it read was as of"`
	Started     time.Time `json:"started"`
	Done        time.Time `json:"done"`
	Clock       time.Time `json:"clock" doc:"the time that rules with a date were evaluated for"`
	Seconds     float64   `json:"seconds"`
	Devices     uint32    `json:"devices" doc:"that were looked at"`
	Collections uint32    `json:"collections" doc:"that were evaluated"`
	Changed     uint32    `json:"changed" doc:"collections whose members changed"`
	Added       uint64    `json:"added" doc:"members, in all collections"`
	Removed     uint64    `json:"removed"`
	Event       uint64    `json:"event" doc:"the last of the events that brought its results"`
}

// CollectionGraph is collections and how they depend on one another.
type CollectionGraph struct {
	Collection string      `json:"collection,omitempty" doc:"id of the one in the middle; absent: all collections"`
	Nodes      []GraphNode `json:"nodes" doc:"by id"`
	Edges      []GraphEdge `json:"edges" doc:"by the id of the dependent one: its limit first, then what it includes, excludes and asks for"`
	Event      uint64      `json:"event"`
}

// GraphNode is a collection in a graph.
type GraphNode struct {
	ID      string `json:"id"`
	Name    string `json:"name" doc:"empty if there is no such collection"`
	Members uint64 `json:"members"`
	Above   int    `json:"above,omitempty" doc:"how many steps it is among what the one in the middle depends on"`
	Below   int    `json:"below,omitempty" doc:"how many steps it is among what depends on the one in the middle"`
}

// GraphEdge says that one collection depends on another one.
type GraphEdge struct {
	From string `json:"from" doc:"id of the one that depends"`
	To   string `json:"to" doc:"id of the one that it depends on"`
	How  string `json:"how" enum:"limit,include,exclude,query"`
}

func (c *Console) registerEvaluation(api huma.API) {
	get := func(id, path, summary string) huma.Operation { return call(http.MethodGet, id, path, summary) }
	huma.Register(api, get("listEvaluationQueues", PathEvaluationQueues, "What the evaluator does and what waits for it"), c.listEvaluationQueues)
	huma.Register(api, get("listEvaluationStats", PathEvaluationStats, "How the evaluations of each collection went"), c.listEvaluationStats)
	huma.Register(api, get("listEvaluationCycles", PathEvaluationCycles, "The last cycles of the evaluator, newest first"), c.listEvaluationCycles)
	ask := call(http.MethodPost, "askWhatIf", PathWhatIf, "What definitions would do, without doing it")
	ask.MaxBodyBytes = maxPushBody
	huma.Register(api, ask, c.whatIf)
	huma.Register(api, call(http.MethodPost, "tryQuery", PathQuery, "The devices that a query selects"), c.tryQuery)
	huma.Register(api, get("explainMember", PathCollectionExplain, "Why a device is in a collection, or is not"), c.explainMember)
	huma.Register(api, get("getCollectionGraph", PathCollectionGraph, "How collections depend on one another"), c.getCollectionGraph)
}

// An Evaluator evaluates the collections; package evaluator has one. It is safe for
// concurrent use.
type Evaluator interface {
	// Queues returns the state of the four queues and never waits for a cycle.
	Queues() []evaluator.QueueState
	// Query returns the devices that a query selects now, at most limit of them by
	// their numbers. The error wraps a [*wql.Error] if the query cannot be read.
	Query(ctx context.Context, text string, limit int) (evaluator.Answer, error)
	// Explain says why a device is in a collection now, or is not. The error wraps an
	// [*evaluator.BrokenError] if the collection cannot be evaluated.
	Explain(ctx context.Context, id string, device uint32) (*engine.Explanation, error)
}
