package console

import (
	"time"
)

// Base is the path that every call of the API begins with.
const Base = "/api/v1"

// Paths of the API. A part in braces stands for a value; [Path] fills it in.
const (
	PathTokens           = Base + "/tokens"                   // POST [TokenRequest] → [TokenReply]; GET → [TokenList]
	PathToken            = Base + "/tokens/{id}"              // DELETE → [Written]
	PathDevices          = Base + "/devices"                  // GET ?after= &limit= &online= &name= &removed= → [DevicePage]
	PathDevice           = Base + "/devices/{device}"         // GET, by number, id or name → [DeviceReply]
	PathDeviceHistory    = Base + "/devices/{device}/history" // GET → [DeviceHistory]
	PathDeviceBlock      = Base + "/devices/{device}/block"   // POST [ReasonRequest] → [Written]
	PathDeviceUnblock    = Base + "/devices/{device}/unblock" // POST [ReasonRequest] → [Written]
	PathKinds            = Base + "/kinds"                    // GET → [KindList]
	PathOperations       = Base + "/operations"               // POST [PushRequest] → [PushReply]; GET ?before= &limit= → [OperationPage]
	PathOperation        = Base + "/operations/{id}"          // GET → [OperationReply]
	PathOperationDevices = Base + "/operations/{id}/devices"  // GET ?state= &after= &limit= → [TargetPage]
	PathOperationCancel  = Base + "/operations/{id}/cancel"   // POST [ReasonRequest] → [CancelReply]
	PathOperationRetry   = Base + "/operations/{id}/retry"    // POST [RetryRequest] → [PushReply]
	PathOperationHistory = Base + "/operations/{id}/history"  // GET ?after= &limit= → [EventPage]
	PathOperationTrace   = Base + "/operations/{id}/trace"    // GET ?device= → [TraceReply]
	PathEvents           = Base + "/events"                   // GET ?from= &to= &limit= &kind= &actor= &device= &operation= &change= → [EventPage]
	PathEventStream      = Base + "/events/stream"            // GET ?from= &to= &kind= &actor= &device= &operation=, Last-Event-ID → SSE of [Event]
	PathEvent            = Base + "/events/{number}"          // GET ?change= → [Event]
	PathJournal          = Base + "/journal"                  // GET → [JournalReply]
	PathCheckpoint       = Base + "/journal/checkpoint"       // GET → [CheckpointReply]
	PathProof            = Base + "/journal/proofs/{number}"  // GET → [ProofReply]
	PathExports          = Base + "/journal/exports"          // POST [ExportRequest] → [ExportReply]; then the events by PathEvents
	PathConsistency      = Base + "/journal/consistency"      // GET ?older=EVENTS/PAGES/ROOT → [ConsistencyReply]
	PathInbox            = Base + "/inbox"                    // GET → [InboxReply]
	PathInboxRequeue     = Base + "/inbox/{name}/requeue"     // POST → [Written]
	PathViews            = Base + "/views"                    // GET → [ViewList]
	PathViewRebuild      = Base + "/views/{name}/rebuild"     // POST, name or all → SSE of [Progress] and [RebuildReply] of each, then [Problem] if one failed
	PathViewRollback     = Base + "/views/{name}/rollback"    // POST [ReasonRequest] → SSE of [RebuildReply] or [Problem]
	PathViewDigest       = Base + "/views/{name}/digest"      // GET ?at= → [DigestReply]
	PathComponents       = Base + "/status/components"        // GET → [ComponentList]
	PathMessages         = Base + "/status/messages"          // GET ?before= &limit= → [MessagePage]
	PathCatalogue        = Base + "/status/catalogue"         // GET → [MessageCatalogue]
	PathPolicy           = Base + "/policy"                   // GET → [PolicyReply]; PUT [PolicyRequest] → [PolicyReply]
	PathUserPolicies     = Base + "/policy/users"             // GET → [UserPolicyList]
	PathUserPolicy       = Base + "/policy/users/{user}"      // GET → [UserPolicyReply]; PUT [UserPolicyRequest] → [UserPolicyReply]; DELETE → [UserPolicyReply]
	PathOpenAPI          = "/api/openapi.json"                // GET → the OpenAPI 3.1 document, without a token
	PathLive             = "/livez"                           // GET → 200 while the process runs, without a token
	PathReady            = "/readyz"                          // GET → [Readiness], 200 while the site takes work, else 503, without a token
	PathMetrics          = "/metrics"                         // GET → Prometheus text, without a token
)

// Headers and parameters that many calls share.
const (
	HeaderIdempotencyKey = "Idempotency-Key" // on writes: 1 … 64 visible ASCII characters
	HeaderLastEventID    = "Last-Event-ID"   // on PathEventStream: the last event that was seen
	HeaderEvent          = "Bugle-Event"     // on answers: the event that they are as of, or that a write became
	QueryMinEvent        = "min-event"       // on reads: wait until the views hold this event
	QueryAt              = "at"              // on reads: as of an event, an instant, or a time back from now
	QueryLatency         = "latency"         // on PathOperation: false leaves the latencies out
)

// TokenRequest asks for a join token. Zero values mean one hour and one use.
type TokenRequest struct {
	TTLSeconds int64  `json:"ttlSeconds,omitempty" minimum:"0" maximum:"31536000" doc:"how long the token is good for; default 3600"`
	Uses       uint32 `json:"uses,omitempty" minimum:"0" maximum:"1000000" doc:"how many devices may join with it; default 1"`

	Device   string   `json:"device,omitempty" maxLength:"256" doc:"number, id or name of an imported record without an agent: who joins with the token becomes it, instead of a new one"`
	Listener string   `json:"listener,omitempty" pattern:"^[A-Z0-9]{3,16}$" doc:"name of the one listener that may join with it, instead of devices"`
	Scope    []string `json:"scope,omitempty" maxItems:"100000" doc:"devices that this listener may speak for, by number, id or name; without it all"`
}

// TokenReply is the only answer that ever holds the token's secret.
type TokenReply struct {
	Token    string    `json:"token" doc:"what a device shows when it joins; it is not kept and cannot be shown again"`
	ID       string    `json:"id"`
	Uses     uint32    `json:"uses"`
	Device   uint32    `json:"device,omitempty" doc:"the imported record that who joins with it becomes"`
	Listener string    `json:"listener,omitempty" doc:"the listener that may join with it; without it devices"`
	Expires  time.Time `json:"expires"`
	Event    uint64    `json:"event"`
}

// Written is the answer of a write that has nothing else to say.
type Written struct {
	Event uint64 `json:"event" doc:"number of the event that the write became; use it as min-event to read it back"`
}

// ReasonRequest says why.
type ReasonRequest struct {
	Reason string `json:"reason,omitempty" maxLength:"4096"`
}

// Device is one device with its presence.
type Device struct {
	ID        string     `json:"id"`
	Number    uint32     `json:"number"`
	Name      string     `json:"name"`
	OS        string     `json:"os"`
	Arch      string     `json:"arch"`
	Agent     string     `json:"agent" doc:"version of the agent"`
	Online    bool       `json:"online"`
	Reason    string     `json:"reason" doc:"why it is online or not; never-seen if it never connected, no-agent if it was imported, removed if it was removed"`
	Since     *time.Time `json:"since,omitempty"`
	Listener  string     `json:"listener,omitempty"`
	Carrier   string     `json:"carrier,omitempty"`
	Blocked   bool       `json:"blocked"`
	Joined    time.Time  `json:"joined" doc:"0001-01-01T00:00:00Z if no agent has joined"`
	Imported  *time.Time `json:"imported,omitempty" doc:"when the record was imported; absent if it is from a join"`
	Removed   *time.Time `json:"removed,omitempty"`
	LastEvent uint64     `json:"lastEvent" doc:"the newest event that changed it"`
}

// DevicePage is devices by rising number.
type DevicePage struct {
	Items []Device `json:"items"`
	Next  uint32   `json:"next,omitempty" doc:"pass it as after to go on; absent on the last page"`
	Total int      `json:"total" doc:"devices of the site"`
	Event uint64   `json:"event"`
}

// DeviceReply is one device with what is known of it.
type DeviceReply struct {
	Device
	BlockReason string             `json:"blockReason,omitempty"`
	Connection  *Connection        `json:"connection,omitempty" doc:"how it said that it connects; absent if it never said so"`
	Certificate Certificate        `json:"certificate"`
	Changes     []PresenceChange   `json:"changes" doc:"its last states, newest first: the first one holds"`
	Pending     []PendingOperation `json:"pending" doc:"operations that are open for it, in the order of their requests, at most 100"`
	Facts       map[string]string  `json:"facts"`
	Removal     string             `json:"removeReason,omitempty"`
	Event       uint64             `json:"event"`

	Inventory     []InventoryClass `json:"inventory,omitempty" doc:"what is known of it by class"`
	InventoryMore int              `json:"inventoryMore,omitempty" doc:"rows that are left out, beyond 2000"`
}

// Connection is how a device connects, as it said when it last changed.
type Connection struct {
	Carrier string `json:"carrier" doc:"tcp, websocket or long-poll"`
	Why     string `json:"why,omitempty" doc:"what was wrong with better ones"`
	Since   string `json:"since,omitempty" doc:"RFC 3339"`
}

// Certificate is the newest certificate of a device.
type Certificate struct {
	Serial  string    `json:"serial" doc:"in hexadecimal"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	Event   uint64    `json:"event" doc:"the event that issued it"`
}

// PresenceChange is a state that a device was in.
type PresenceChange struct {
	At       time.Time `json:"at" doc:"since when"`
	Online   bool      `json:"online"`
	Reason   string    `json:"reason"`
	Listener string    `json:"listener"`
	Carrier  string    `json:"carrier"`
	Event    uint64    `json:"event"`
}

// DeviceHistory is the last states of a device, newest first: the first one holds.
type DeviceHistory struct {
	Device uint32           `json:"device"`
	Name   string           `json:"name"`
	Items  []PresenceChange `json:"items"`
	Event  uint64           `json:"event"`
}

// PendingOperation is an operation that is open for a device.
type PendingOperation struct {
	Operation string    `json:"operation"`
	Kind      string    `json:"kind"`
	State     string    `json:"state"`
	DeliverBy time.Time `json:"deliverBy"`
}

// KindInfo describes a kind of task.
type KindInfo struct {
	Kind              string   `json:"kind"`
	Class             string   `json:"class" enum:"normal,intrusive,barrier"`
	Contract          string   `json:"contract" enum:"channel,channel+policy" doc:"channel+policy: it stands in the policy of its devices too, and runs once, whichever comes first"`
	Parameters        []string `json:"parameters"`
	Schema            any      `json:"schema" doc:"what the parameters may be, a JSON Schema"`
	RunTimeoutSeconds int64    `json:"runTimeoutSeconds"`
	DeliverBySeconds  int64    `json:"deliverBySeconds" doc:"how long a task waits for its device unless the push says otherwise"`
	Priority          uint8    `json:"priority" doc:"order in the send queue unless the push says otherwise: 1 before 2 before 3"`
	Product           int      `json:"product,omitempty" doc:"the number that Configuration Manager gives such an operation"`
	About             string   `json:"about"`
}

// KindList is all kinds that the site can push.
type KindList struct {
	Items []KindInfo `json:"items"`
}

// PushRequest asks for an operation. All, Devices or Collection names the targets.
type PushRequest struct {
	Kind              string         `json:"kind" doc:"what to do, see /kinds"`
	Params            map[string]any `json:"params,omitempty" doc:"parameters of the kind"`
	Devices           []string       `json:"devices,omitempty" maxItems:"100000" doc:"targets by number, id or name"`
	All               bool           `json:"all,omitempty" doc:"all devices that are not blocked"`
	Collection        string         `json:"collection,omitempty" maxLength:"256" doc:"the members of this collection, by id or name, that have an agent and are not blocked"`
	MembersAt         uint64         `json:"membersAt,omitempty" minimum:"0" doc:"the event as of which the collection's members are meant; default now"`
	DeliverBySeconds  int64          `json:"deliverBySeconds,omitempty" maximum:"31536000" doc:"how long from now the task may still be started, up to a year; default by kind, from notBefore on"`
	DeliverBy         *time.Time     `json:"deliverBy,omitempty" doc:"the same as an instant"`
	NotBefore         *time.Time     `json:"notBefore,omitempty" doc:"no start before this instant; default now"`
	RunTimeoutSeconds int64          `json:"runTimeoutSeconds,omitempty" minimum:"0" maximum:"604800" doc:"how long one run may take; default by kind"`
	Reason            string         `json:"reason,omitempty" maxLength:"4096"`
	RetryOf           string         `json:"retryOf,omitempty" maxLength:"64" doc:"the operation that this one repeats, for the history"`
	DryRun            bool           `json:"dryRun,omitempty" doc:"answer whom it would be for and when it would go, and do nothing"`
	Pace
}

// PushReply is an operation that is durable, or, after a dry run, one that would
// be: then Operation and Event are empty.
type PushReply struct {
	Operation string    `json:"operation,omitempty"`
	Kind      string    `json:"kind"`
	Targets   uint32    `json:"targets"`
	Online    uint32    `json:"online" doc:"how many of the targets were online"`
	Event     uint64    `json:"event"`
	NotBefore time.Time `json:"notBefore"`
	DeliverBy time.Time `json:"deliverBy"`
	Target    string    `json:"target" doc:"whom it is for, in words: all, devices, a collection, or what a retry repeats"`
	Priority  uint8     `json:"priority" doc:"order in the send queues: 1 before 2 before 3"`
	Durable   bool      `json:"durable" doc:"it stands in the policy of its targets too"`
	RetryOf   string    `json:"retryOf,omitempty"`
	Plan      *Plan     `json:"plan,omitempty" doc:"when which wave goes; absent if all targets go at once"`
	Warnings  []string  `json:"warnings,omitempty" doc:"what may not be meant, in sentences"`
	Devices   []string  `json:"devices,omitempty" doc:"names of the first 100 targets, after a dry run"`
	DryRun    bool      `json:"dryRun,omitempty"`

	Collection string `json:"collection,omitempty" doc:"id of the collection that it was pushed to"`
	MembersAt  uint64 `json:"membersAt,omitempty" doc:"the event that the collection's members are as of"`
	LeftOut    uint64 `json:"leftOut,omitempty" doc:"members that are blocked or have no agent, after a dry run"`
}

// Columns are the five classic columns of an operation.
type Columns struct {
	Total     uint32 `json:"total"`
	Completed uint32 `json:"completed"`
	Failed    uint32 `json:"failed"`
	Offline   uint32 `json:"offline"`
	Unknown   uint32 `json:"unknown"`
}

// Operation is one operation with its counts.
type Operation struct {
	Operation string            `json:"operation"`
	Kind      string            `json:"kind"`
	Target    string            `json:"target" doc:"whom it was asked for: all, devices, a collection, or what a retry repeats"`
	Reason    string            `json:"reason,omitempty"`
	Actor     string            `json:"actor"`
	Targets   uint32            `json:"targets"`
	Online    uint32            `json:"online" doc:"how many of the targets were online at the request"`
	States    map[string]uint32 `json:"states" doc:"every state with its count; the sum is targets"`
	Columns   Columns           `json:"columns"`
	Requested time.Time         `json:"requested"`
	NotBefore time.Time         `json:"notBefore"`
	DeliverBy time.Time         `json:"deliverBy"`
	Priority  uint8             `json:"priority"`
	Durable   bool              `json:"durable" doc:"it stands in the policy of its targets too"`
	RetryOf   string            `json:"retryOf,omitempty" doc:"the operation that this one repeats"`
	Paced     bool              `json:"paced" doc:"only the devices of released waves are sent it"`
	Released  uint32            `json:"released" doc:"targets that were let go"`
	Held      uint32            `json:"held" doc:"targets that wait for their wave"`
	Cancelled bool              `json:"cancelled"`
	Stopped   bool              `json:"stopped" doc:"the site stopped it, for too much failed"`
	Expired   bool              `json:"expired"`
	Closed    bool              `json:"closed"`
	Done      bool              `json:"done" doc:"every target is in a final state"`
	First     uint64            `json:"first" doc:"the event that requested it"`
	Event     uint64            `json:"event"`
}

// OperationPage is operations, newest first.
type OperationPage struct {
	Items []Operation `json:"items"`
	Next  string      `json:"next,omitempty" doc:"pass it as before to go on; absent on the last page"`
	Event uint64      `json:"event"`
}

// Hop is how long one step of an operation took, over the devices that took it.
type Hop struct {
	Count uint32  `json:"count"`
	P50   float64 `json:"p50" doc:"milliseconds"`
	P99   float64 `json:"p99" doc:"milliseconds"`
	Max   float64 `json:"max" doc:"milliseconds"`
}

// The hops of an operation, keys of [OperationReply.Latency]: from the request
// to the send (and, of a paced one, from the release of its wave), on to the
// agent's acknowledgement, its start, its end, and the
// event by which that became visible.
const (
	HopRequestedSent    = "requested-sent"
	HopReleasedSent     = "released-sent"
	HopSentDelivered    = "sent-delivered"
	HopDeliveredRunning = "delivered-running"
	HopRunningEnded     = "running-ended"
	HopEndedVisible     = "ended-visible"
)

// Hops are all hops in order.
var Hops = [hopCount]string{HopRequestedSent, HopReleasedSent, HopSentDelivered, HopDeliveredRunning, HopRunningEnded, HopEndedVisible}

// OperationReply is one operation with everything about it but its devices.
type OperationReply struct {
	Operation
	Params            map[string]any `json:"params,omitempty"`
	RunTimeoutSeconds float64        `json:"runTimeoutSeconds"`
	Latency           map[string]Hop `json:"latency,omitempty" doc:"by hop: requested-sent, released-sent, sent-delivered, delivered-running, running-ended, ended-visible"`
	Pacing            *Pacing        `json:"pacing,omitempty" doc:"absent if all targets go at once"`
	Cancel            *Cut           `json:"cancel,omitempty" doc:"what the cancel found and ended"`
	Stop              *Stop          `json:"stop,omitempty" doc:"why the site stopped it, and what that found and ended"`
}

// Target is one device in one operation.
type Target struct {
	Device   uint32     `json:"device"`
	Name     string     `json:"name"`
	State    string     `json:"state"`
	Online   bool       `json:"online" doc:"at the request"`
	Attempt  uint8      `json:"attempt"`
	Code     int32      `json:"code"`
	Detail   string     `json:"detail,omitempty"`
	Sent     *time.Time `json:"sent,omitempty"`
	Received *time.Time `json:"delivered,omitempty"`
	Deferred *time.Time `json:"deferred,omitempty" doc:"when it was put off last"`
	Deferral string     `json:"deferral,omitempty" doc:"why, and until when"`
	Running  *time.Time `json:"running,omitempty"`
	Ended    *time.Time `json:"ended,omitempty"`
	Event    uint64     `json:"event" doc:"the newest event that changed it"`
}

// TargetPage is devices of one operation by rising number.
type TargetPage struct {
	Items []Target `json:"items"`
	Next  uint32   `json:"next,omitempty" doc:"pass it as after to go on; absent on the last page"`
	Event uint64   `json:"event"`
}

// TraceStep is one thing that happened in the life of an operation.
type TraceStep struct {
	At     time.Time `json:"at"`
	What   string    `json:"what" doc:"requested, accepted, released, sent, delivered, deferred, running, a final state, visible, cancelled, stopped, expired, closed"`
	Device uint32    `json:"device,omitempty"`
	Name   string    `json:"name,omitempty"`
	Event  uint64    `json:"event,omitempty"`
	HopMS  float64   `json:"hopMs" doc:"milliseconds since the step before it, of the same device if it is one's"`
	Detail string    `json:"detail,omitempty"`
}

// TraceReply is the life of an operation, or of it on one device.
type TraceReply struct {
	Operation string      `json:"operation"`
	Kind      string      `json:"kind"`
	Steps     []TraceStep `json:"steps"`
	Cut       bool        `json:"cut,omitempty" doc:"there are more steps than one answer holds; ask for one device"`
	Event     uint64      `json:"event"`
}

// EventActor is who made an event happen.
type EventActor struct {
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
	Session string `json:"session,omitempty"`
	Behalf  string `json:"behalf,omitempty"`
	Address string `json:"address,omitempty"`
}

// EventSource is the file that an event was made of.
type EventSource struct {
	Listener string `json:"listener"`
	Epoch    uint32 `json:"epoch"`
	File     string `json:"file" doc:"BTS, BOS, SVF or DDR"`
	Number   uint64 `json:"number"`
	Part     uint16 `json:"part"`
	Of       uint16 `json:"of"`
	Digest   string `json:"digest"`
}

// Event is one event of the journal.
type Event struct {
	Number   uint64       `json:"number"`
	Accepted time.Time    `json:"accepted"`
	Observed *time.Time   `json:"observed,omitempty"`
	Delay    float64      `json:"delaySeconds,omitempty" doc:"from observed to accepted, if that is more than ten seconds, or if observed is more than two seconds later"`
	Kind     string       `json:"kind"`
	Who      string       `json:"who" doc:"the actor in words"`
	Where    string       `json:"where,omitempty" doc:"from where, in words: address, listener, file"`
	Why      string       `json:"why,omitempty" doc:"the reason that was given"`
	Actor    EventActor   `json:"actor"`
	Source   *EventSource `json:"source,omitempty"`
	Payload  any          `json:"payload" doc:"what the kind says; bytes are hexadecimal"`
	Change   *Change      `json:"change,omitempty" doc:"with ?change=true, of events that change what an administrator defines"`
}

// Change is what an event changed: the state of a thing right before it and right
// after it.
type Change struct {
	Of     string `json:"of" doc:"the thing, in words"`
	Before any    `json:"before" doc:"null if it was not there, or if that cannot be told"`
	After  any    `json:"after"`
	Note   string `json:"note,omitempty" doc:"what of it cannot be told, and why"`
}

// EventPage is events by rising number.
type EventPage struct {
	Items []Event `json:"items"`
	From  uint64  `json:"from" doc:"the first event that was looked at"`
	To    uint64  `json:"to" doc:"the last event that is asked for; pass it as to, with next as from, to go on"`
	Next  uint64  `json:"next,omitempty" doc:"pass it as from (history: as after) to go on; absent at the end"`
	Event uint64  `json:"event" doc:"the last event of the journal"`
}

// JournalReply is the end of the journal.
type JournalReply struct {
	Events uint64 `json:"events"`
	Pages  uint64 `json:"pages"`
	Head   string `json:"head" doc:"hash of the last page"`
}

// CheckpointReply is what the site has signed of its history last.
type CheckpointReply struct {
	Checkpoint string    `json:"checkpoint" doc:"the signed note (C2SP tlog-checkpoint); keep it elsewhere"`
	Key        string    `json:"key" doc:"the public key as a verifier key of signed notes; get it once, over a way you trust"`
	Origin     string    `json:"origin"`
	Events     uint64    `json:"events"`
	Pages      uint64    `json:"pages"`
	Root       string    `json:"root" doc:"of the RFC 6962 tree over the pages, base64"`
	Signed     time.Time `json:"signed"`
}

// ProofReply is the proof that an event is in the history that a checkpoint was
// signed of.
type ProofReply struct {
	Number uint64 `json:"number"`
	Proof  string `json:"proof" doc:"a text that is checked with nothing but the public key"`
}

// QuarantinedFile is a file, or one record of a file, that was put aside.
type QuarantinedFile struct {
	Name     string     `json:"name"`
	Record   *uint32    `json:"record,omitempty" doc:"which record of the file, from 0; absent for the whole file"`
	Reason   string     `json:"reason"`
	Size     uint64     `json:"size,omitempty"`
	At       time.Time  `json:"at"`
	Requeued *time.Time `json:"requeued,omitempty" doc:"when the file was put back"`
	Event    uint64     `json:"event"`
}

// InboxReply is the state of the inbox.
type InboxReply struct {
	Stats       any               `json:"stats" doc:"counters since the start"`
	Quarantined []QuarantinedFile `json:"quarantined"`
	Event       uint64            `json:"event"`
}

// View is where one view stands.
type View struct {
	View       string     `json:"view"`
	State      string     `json:"state" enum:"serving,lagging,building,stopped" doc:"lagging is more than 30 seconds behind"`
	Position   uint64     `json:"position" doc:"the last event that it holds"`
	Lag        uint64     `json:"lag" doc:"events that it is behind the journal"`
	LagSeconds float64    `json:"lagSeconds" doc:"how much later the last event was accepted than that at position"`
	Rows       uint64     `json:"rows"`
	Generation uint32     `json:"generation"`
	Former     uint32     `json:"former,omitempty" doc:"the generation that a rollback returns to"`
	Window     uint64     `json:"window,omitempty" doc:"reads as of this event and later ones cost what reads of now cost"`
	Building   bool       `json:"building,omitempty" doc:"it is folded for the first time and cannot be read yet"`
	Since      *time.Time `json:"since,omitempty" doc:"when it stopped, began to be built, or began to serve"`
	StoppedAt  uint64     `json:"stoppedAt,omitempty" doc:"the event that stopped it"`
	StoppedBy  string     `json:"stoppedBy,omitempty" doc:"the kind of that event"`
	Error      string     `json:"error,omitempty" doc:"why it stopped; empty while it follows"`
}

// ViewList is all views.
type ViewList struct {
	Items []View `json:"items"`
	Event uint64 `json:"event"`
}

// Progress is how far a rebuild is.
type Progress struct {
	View        string  `json:"view"`
	Done        uint64  `json:"done" doc:"events"`
	Total       uint64  `json:"total"`
	Rate        float64 `json:"rate,omitempty" doc:"events per second"`
	LeftSeconds float64 `json:"leftSeconds,omitempty" doc:"as it looks now"`
}

// Readiness is what the site answers when it is asked whether it takes work.
type Readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons" doc:"why not, and what else is not as it should be, in sentences"`
	Views   []View   `json:"views" doc:"those that have stopped, are being built, or lag"`
}

// RebuildReply is another generation of a view that now serves: one that was folded
// anew, or the one before.
type RebuildReply struct {
	View       string `json:"view"`
	Generation uint32 `json:"generation"`
	Position   uint64 `json:"position"`
	Digest     string `json:"digest"`
	Same       bool   `json:"same" doc:"the generation that served until then had the same digest"`
	Event      uint64 `json:"event"`
}

// DigestReply is the digest of a view.
type DigestReply struct {
	View     string `json:"view"`
	Position uint64 `json:"position"`
	Digest   string `json:"digest"`
}

// Component is one listener as the site sees it.
type Component struct {
	Component string     `json:"component"`
	Name      string     `json:"name"`
	State     string     `json:"state" enum:"unknown,granted,started,stopped,lost"`
	Epoch     uint32     `json:"epoch"`
	Version   string     `json:"version"`
	Address   string     `json:"address"`
	Since     *time.Time `json:"since,omitempty"`
	Heard     *time.Time `json:"heard,omitempty"`
	Last      *Message   `json:"last,omitempty" doc:"what it said last, if that is among the newest 1,000 messages"`
}

// ComponentList is all components.
type ComponentList struct {
	Items []Component `json:"items"`
	Event uint64      `json:"event"`
}

// Message is one status message.
type Message struct {
	Event     uint64    `json:"event"`
	At        time.Time `json:"at"`
	Component string    `json:"component"`
	Message   uint32    `json:"message" doc:"stable number of the message"`
	Severity  string    `json:"severity" enum:"info,warning,error"`
	Device    uint32    `json:"device,omitempty"`
	Text      string    `json:"text"`
}

// MessageCatalogue explains all status messages, by number.
type MessageCatalogue struct {
	Items []MessageInfo `json:"items"`
}

// MessagePage is status messages, newest first.
type MessagePage struct {
	Items []Message `json:"items"`
	Next  uint64    `json:"next,omitempty" doc:"pass it as before to go on; absent on the last page"`
	Event uint64    `json:"event"`
}
