// Package console is the administrator's side of a site: it checks what is asked,
// appends what is accepted, and reads the views. [Console.Handler] serves the
// HTTP API under [Base] and /livez, /readyz and /metrics; api.go lists every path
// with what goes in and comes out.
//
// # What every call keeps
//
// A call shows the administrator's token (Authorization: Bearer …), which
// [EnsureAdminToken] makes at the first start. A wrong one is answered after the
// same work as a right one; failures are counted per address and minute, become
// login.failed events, and are throttled above [MaxLoginFailures]. A right token
// is never throttled. The health paths, the metrics (which name no device and no
// administrator) and the OpenAPI document are served without a token.
//
// A write is answered once its event is durable, with the event's number. With an
// Idempotency-Key the same write can be sent again: the same key and the same
// body get the same answer, also after a restart; the same key with another body
// is refused. The key is in the event's envelope, and [Writes] folds the newest
// [MaxWrites] of them. Blocking, unblocking and revoking have no key: what is
// done already is answered with the event that did it. Making a token has none
// either, for its secret cannot be told twice.
//
// A read names the event that it is current to; with min-event it waits, at most
// ten seconds, until the views hold that event. With at it answers as of an event
// of the past, exactly: a number, the last event at an instant or before a time back
// from now. The header Bugle-Event names the event in both cases. Lists come in
// pages with a cursor.
//
// Events are picked by package filter, between two moments (from, to). A call looks
// at 50,000 events or 256 MiB of them and shows at most 2 MiB; next says where to
// go on, also if nothing was found yet. Every event says who, from where, why, and
// how late it was accepted, in words; with change, an event that changes what an
// administrator defines also shows the thing right before and right after. A copy
// of events is announced first (journal.exported).
//
// What is refused is a problem by RFC 9457, whose detail is one plain sentence:
// what does not hold, where, and what to do. Unknown fields and parameters are
// refused. Bodies, lists, streams and times are bounded.
//
// # Imports
//
// An import comes in calls of at most 4 MiB, a JSON object of one device in each line.
// A line that cannot be taken is answered with its number and the reason, and nothing
// of it is taken; all others are. Devices are found by number, id or name; what a line
// says is compared with the inventory, and events hold what differs, so a call can be
// sent again to no further effect. One call is taken at a time, and is answered once
// its events are durable; a line about what the call before brought waits for the
// views, others do not.
//
// # Pushes
//
// A push says whom it is for, and when and how it goes: priority, not-before,
// deliver-by up to a year, run timeout, waves, spread, rate, and the share of
// failures that stops it; what it does not say, its kind does. What cannot be sent
// before deliver-by even if every wave ended at once is refused; what may not be is
// taken with a warning. A dry run shows whom it would be for and the plan. A retry is
// a new operation for those targets of another one that are in some states, all as
// of one event, which the new one names. A cancel is signed for agents that have the
// task, and its answer says what it found: how many had ended, how many had begun
// and go on, how many do not begin any more. Package pacing releases the waves.
//
// # Collections
//
// Package definitions knows what is defined and checks what is asked for. Whatever
// changes definitions is one request, of which all is done or nothing: its events are
// in one page of the journal, behind a guard that makes sure that nobody changed a
// definition since the request was checked; if somebody did, it is checked again. A
// request that changes nothing appends nothing. What does not hold is told all at
// once, each with its path in the request and, of a query, line and column
// ([DefinitionProblem]). A request can name what it was made from (ifVersion,
// ifEvent), and is then refused if that has changed (412).
//
// Before collections that there are change or go, the evaluator is asked whom that
// moves. More than [MaxMoved] devices in one of them, or more than [MaxMovedShare]
// percent of its members, are moved only by force, and so are those of whom it
// cannot be told.
//
// Members are those of the view, as the last evaluation left them. A push to a
// collection is for its members as of one event, which the operation names: those
// that have an agent and are not blocked. A dry run names the event; who then pushes
// as of it pushes to whom was shown.
//
// # Evaluation of collections
//
// What the evaluator did is read from the view, also as of the past: the last runs of
// each collection and kind, its cycles, and how collections depend on one another.
// What it does and what waits for it, what a query selects, and what definitions would
// do, it is asked itself; nothing of that changes anything. Why a device is in a
// collection or is not, it is asked too, and of the past an engine that holds the
// device as it was then. Since when that is so is read out of the events that changed
// the collection: the last ones, and up to 50,000 events before them.
//
// # Maintenance windows
//
// A window belongs to a collection (window.changed); a device has those of all its
// collections, and those in the policy of the site, which count for all. A change of
// windows is one request, all or nothing, with what was before and after, and with
// advice: a window that is too short for the work that waits for it, or over, or
// that becomes one with others. When windows are open next, their calendar, and why
// work may not begin on a device are answered by package agent/window, which is what
// devices decide by; local windows are reckoned in the zone that the device has
// reported, else in UTC, and the answer says which.
//
// # Beside the API
//
// [Policies] is the fold that knows the site's policy and hands it out signed: the
// settings, the windows of its collections, the listeners that a device may use, and
// the durable operations that are open for it. Each distinct document is made and signed once, and the proofs
// that a device is a target travel beside it. People who are signed in at devices
// have policies of their own. Changes of both may name the version that they change
// (If-Match).
//
// [Messages] is the catalogue of all status messages.
package console
