package console

import (
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-fleet/bugle/console/definitions"
)

// Paths of collections and of the classes of inventory.
const (
	PathCollections         = Base + "/collections"                      // GET ?definitions= → [CollectionList]; POST [ApplyRequest] → [ApplyReply]
	PathCollection          = Base + "/collections/{collection}"         // GET, by id or name → [CollectionReply]; DELETE → [ApplyReply]
	PathCollectionMembers   = Base + "/collections/{collection}/members" // GET ?after= &limit= → [MemberPage]
	PathCollectionsEvaluate = Base + "/collections/evaluate"             // POST [EvaluateRequest] → [EvaluateReply]
	PathDeviceCollections   = Base + "/devices/{device}/collections"     // GET → [DeviceCollections]
	PathClasses             = Base + "/classes"                          // GET → [ClassList]; POST [ClassesRequest] → [ApplyReply]
)

// CollectionInfo is one collection without its rules and members.
type CollectionInfo struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	Comment     string         `json:"comment,omitempty"`
	Limit       string         `json:"limit,omitempty" doc:"id of the limiting collection; absent for the root"`
	LimitName   string         `json:"limitName,omitempty"`
	Members     uint64         `json:"members" doc:"how many"`
	Direct      uint64         `json:"direct" doc:"direct members, in the limiting collection or not"`
	Queries     int            `json:"queries" doc:"query rules"`
	Include     int            `json:"include" doc:"include rules"`
	Exclude     int            `json:"exclude" doc:"exclude rules"`
	Schedule    string         `json:"schedule,omitempty"`
	Incremental bool           `json:"incremental"`
	Evaluated   *EvaluationRun `json:"evaluated,omitempty" doc:"the last evaluation; absent if there was none"`
	Changed     *EventMark     `json:"changed,omitempty" doc:"when its members changed last"`
	Created     *EventMark     `json:"created,omitempty" doc:"absent for the root"`
	Defined     *EventMark     `json:"defined,omitempty" doc:"the event that defined it as it is; absent for the root"`
}

// EventMark is an event and when it was accepted.
type EventMark struct {
	Event uint64    `json:"event"`
	At    time.Time `json:"at"`
}

// EvaluationRun is one evaluation of one collection.
type EvaluationRun struct {
	Queue   string    `json:"queue" enum:"full,manual,single,incremental"`
	Cause   string    `json:"cause" enum:"schedule,request,definition,devices,time,start,cascade"`
	By      uint64    `json:"by,omitempty" doc:"the event that caused it"`
	Basis   uint64    `json:"basis" doc:"the event that all it read was as of"`
	Event   uint64    `json:"event" doc:"the event that brought the result"`
	Done    time.Time `json:"done"`
	TookMS  float64   `json:"tookMs" doc:"what this collection alone took, in milliseconds"`
	Members uint64    `json:"members" doc:"after it"`
	Added   uint64    `json:"added"`
	Removed uint64    `json:"removed"`
}

// CollectionList is all collections by name, the root first.
type CollectionList struct {
	Items       []CollectionInfo         `json:"items"`
	Definitions []definitions.Collection `json:"definitions,omitempty" doc:"how each but the root is defined, as apply takes it; only if it is asked for"`
	Event       uint64                   `json:"event"`
}

// CollectionRef names a collection.
type CollectionRef struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	How  string `json:"how,omitempty" doc:"how one depends on the other: is limited by, includes, excludes, asks in a query for"`
}

// CollectionReply is one collection with all of its definition.
type CollectionReply struct {
	CollectionInfo
	Definition definitions.Collection `json:"definition" doc:"as apply takes it"`
	Inputs     []CollectionRef        `json:"inputs" doc:"what it depends on directly"`
	Dependants []CollectionRef        `json:"dependants" doc:"what depends on it directly"`
	Event      uint64                 `json:"event"`
}

// Member is a device in a collection.
type Member struct {
	Device uint32 `json:"device"`
	Name   string `json:"name"`
	ID     string `json:"id,omitempty"`
	Online bool   `json:"online"`
}

// MemberPage is devices in a collection by rising number.
type MemberPage struct {
	Collection string   `json:"collection" doc:"its id"`
	Name       string   `json:"name"`
	Items      []Member `json:"items"`
	Next       uint32   `json:"next,omitempty" doc:"pass it as after to go on; absent on the last page"`
	Total      uint64   `json:"total"`
	Event      uint64   `json:"event"`
}

// DeviceCollections is the collections that a device is in, by name.
type DeviceCollections struct {
	Device uint32           `json:"device"`
	Name   string           `json:"name"`
	Items  []CollectionInfo `json:"items"`
	Event  uint64           `json:"event"`
}

// ApplyRequest asks for definitions: all or none of it is done.
type ApplyRequest struct {
	definitions.Document
	Delete    []string `json:"delete,omitempty" maxItems:"1000" doc:"collections that go, by name or id; refused if another one needs them"`
	Reason    string   `json:"reason,omitempty" maxLength:"4096" doc:"why, for the history"`
	Force     bool     `json:"force,omitempty" doc:"do it however many devices it moves"`
	DryRun    bool     `json:"dryRun,omitempty" doc:"answer what would change, and do nothing"`
	IfVersion *uint64  `json:"ifVersion,omitempty" doc:"do it only if the definitions are still those of this version"`
}

// ApplyReply is what became of definitions, or would become.
type ApplyReply struct {
	Changes   []DefinitionChange `json:"changes" doc:"in the order in which they were made"`
	Unchanged int                `json:"unchanged" doc:"how many things are as they should be already"`
	Impact    *Impact            `json:"impact,omitempty" doc:"whom it moves; absent if it changes and deletes no collection that there was, and after it was done"`
	Version   uint64             `json:"version" doc:"the event that changed a definition last"`
	DryRun    bool               `json:"dryRun,omitempty"`
	Event     uint64             `json:"event" doc:"the last event that it became; 0 if nothing was to be done"`
}

// DefinitionChange is what became of one collection, class or window.
type DefinitionChange struct {
	Action string                   `json:"action" enum:"create,change,delete"`
	Of     string                   `json:"of" enum:"class,collection,window"`
	ID     string                   `json:"id,omitempty" doc:"of the collection, also of a window's; after a dry run, that a new one would get"`
	Name   string                   `json:"name"`
	Diff   []definitions.Difference `json:"diff,omitempty"`
	Event  uint64                   `json:"event,omitempty"`
}

// Impact is whom a change of collections moves.
type Impact struct {
	Collections []CollectionImpact `json:"collections" doc:"those whose members change, the changed ones and their dependants, at most 100"`
	More        int                `json:"more,omitempty" doc:"how many more there are"`
	Devices     uint64             `json:"devices" doc:"devices that enter or leave at least one of them"`
	Force       bool               `json:"force" doc:"it is only done if force is given"`
	Why         []string           `json:"why,omitempty" doc:"why, in sentences"`
}

// CollectionImpact is whom a change moves in one collection.
type CollectionImpact struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Before  uint64 `json:"before" doc:"members"`
	After   uint64 `json:"after"`
	Entered uint64 `json:"entered"`
	Left    uint64 `json:"left"`
}

// EvaluateRequest asks for evaluations now.
type EvaluateRequest struct {
	Collections []string `json:"collections" minItems:"1" maxItems:"1000" doc:"by name or id"`
	Dependants  bool     `json:"dependants,omitempty" doc:"and of all that depend on them"`
	Reason      string   `json:"reason,omitempty" maxLength:"4096" doc:"why, for the history"`
}

// EvaluateReply is a request for evaluations that is durable.
type EvaluateReply struct {
	Collections []CollectionRef `json:"collections"`
	Event       uint64          `json:"event"`
}

// ClassesRequest defines classes of inventory, or more properties of some.
type ClassesRequest struct {
	Classes []definitions.Class `json:"classes" minItems:"1" maxItems:"64"`
	Reason  string              `json:"reason,omitempty" maxLength:"4096" doc:"why, for the history"`
	DryRun  bool                `json:"dryRun,omitempty" doc:"answer what would change, and do nothing"`
}

// ClassList is all classes that queries can name, with their properties.
type ClassList struct {
	Items []definitions.Class `json:"items"`
	Event uint64              `json:"event"`
}

// DefinitionProblem is a [Problem] with all that does not hold in a request for
// definitions.
type DefinitionProblem struct {
	Problem
	Refused []definitions.Error `json:"errors,omitempty" doc:"what does not hold, each with its place, at most 50"`
}

func (c *Console) registerCollections(api huma.API) {
	get := func(id, path, summary string) huma.Operation { return call(http.MethodGet, id, path, summary) }
	apply := call(http.MethodPost, "applyDefinitions", PathCollections, "Make, change and delete collections, classes and windows, all or none")
	apply.MaxBodyBytes = maxPushBody
	huma.Register(api, get("listCollections", PathCollections, "All collections with the number of their members"), c.listCollections)
	huma.Register(api, apply, c.applyDefinitions)
	huma.Register(api, get("getCollection", PathCollection, "A collection with its definition"), c.getCollection)
	huma.Register(api, call(http.MethodDelete, "deleteCollection", PathCollection, "Delete a collection that no other one needs"), c.deleteCollection)
	huma.Register(api, get("listMembers", PathCollectionMembers, "The devices in a collection, by rising number"), c.listMembers)
	huma.Register(api, call(http.MethodPost, "evaluateCollections", PathCollectionsEvaluate, "Evaluate collections now"), c.evaluateCollections)
	huma.Register(api, get("listDeviceCollections", PathDeviceCollections, "The collections that a device is in"), c.listDeviceCollections)
	huma.Register(api, get("listClasses", PathClasses, "The classes and properties that queries can name"), c.listClasses)
	huma.Register(api, call(http.MethodPost, "defineClasses", PathClasses, "Define classes of inventory, or more properties of some"), c.defineClasses)
}
