// Package evaluator says when collections are evaluated, has the engine do it, and
// appends what became of them. It is one of the components that append: nothing in it
// is a fold, and it has a clock.
//
//	journal ── follow ──> Evaluator ── collections.evaluated ──> journal
//	                        │   ^
//	            engine.Engine   views: devices as they are, collections at the start
//
// # What it follows
//
// From events it learns which devices changed (device.joined, device.discovered,
// devices.imported, device.removed), that classes were defined, how collections are
// defined (collection.changed) and what somebody asks for (evaluation.requested). What
// is known of a device it reads from the view of the inventory, once that holds the
// event: so there is one way only in which reports are merged. A journal that
// cannot be read for the moment is tried again, and so are the views.
//
// # The four queues
//
//	full          collections whose schedule has come, with all that they limit
//	manual        what somebody asked for with all that depends on it; new and changed
//	              definitions that others depend on
//	single        what somebody asked for alone; other new and changed definitions
//	incremental   devices that changed, or for which a rule with a date turned
//
// One cycle runs at a time; the queues take turns. An item waits until its cycle
// begins. A collection that is asked for while it waits in the same queue is dropped
// and counted. What comes due while a cycle of its queue runs, however often, begins
// right after it, once.
//
// Before a cycle everything that changed until then is read, so a request covers what
// was in the journal before it. Full, manual and single cycles look at all devices,
// incremental ones at those that changed, however many these and the collections are:
// none ever becomes a full one. What is new or gone reaches the root in every cycle.
//
// # What is clean
//
// Members of a collection depend on its definition, on what is known of devices, and
// on the members of the collections that it names. Each collection remembers what it
// was computed from: whether for all devices since it was defined, up to which
// version of the changes of devices, and for which devices a collection that it names
// changed since. It is clean if nothing came after that. So no change is lost,
// whichever cycle consumes it:
//
//   - An incremental collection follows at once.
//   - Of a collection whose members change, all that name it follow in the same cycle
//     ([CascadeNow]). One that is not incremental is brought up to date then, as its
//     schedule would. With [CascadeScheduled], one that has a schedule waits for it,
//     and says until then that it is stale ([State]).
//   - What else changed for a collection that is not incremental waits for its
//     schedule, for a request, or for a change of one that it names.
//
// # What it appends
//
// One collections.evaluated, or several parts of at most 256 KiB (of some million
// devices, with several results of one collection): of an incremental
// cycle the collections whose members changed, of others all that were asked for
// besides, and at the start those that were not evaluated as they are defined. A cycle
// that has nothing to say appends nothing. Basis is the last event of the journal that
// the evaluator had seen when the cycle began to compute; of devices it may know more
// than that.
//
// Nothing counts before it is durable. If the journal did not store the results
// ([journal.ErrUnavailable]), the same are appended again until it does; requests are
// answered meanwhile. If that cannot be told ([journal.ErrUnknown]), [Evaluator.Run]
// ends with the error, and the next start finds out.
//
// # The start
//
// The engine is filled from the views and compared with them: collections that follow
// changes are computed for all devices, and what is other than the views have it is
// appended. After a restart without changes that is nothing. Of the others, those are
// computed that were not since their definition, or since one that they name changed.
// A schedule that has come meanwhile counts once, and so do requests among the last
// 20,000 events that were not served.
//
// # The clock
//
// Rules that ask for the time are computed as of one instant per cycle. It does not go
// back, unless the clock is set back by more than a minute: then an incremental cycle
// looks at all devices, and schedules come by the new time. The engine knows when the next one turns for some device; then an
// incremental cycle (by time) looks at these devices.
//
// # What cannot be evaluated
//
// A definition that cannot be read, names a collection that is not there, is part of a
// circle, or is refused by the engine makes its collection broken: [State] says why,
// so does status message 1302, and its members stay but for devices that are removed.
// It is evaluated again once it, or what it lacks, is defined.
//
// # Questions
//
// [Evaluator.Queues] answers at once. Everything else is answered on the goroutine of
// Run between two cycles, and while one waits for the journal or a view: it waits for
// a computation at most.
package evaluator
