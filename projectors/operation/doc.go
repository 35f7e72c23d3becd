// Package operation is the view of the operations: what was asked for, how it goes
// out, and where every target stands. It folds operation.requested,
// operation.released, operation.cancelled, operation.stopped, operation.expired,
// operation.closed and results.reported.
//
// # States
//
// Every target begins at waiting and moves by [task.State.Follows]; a report that
// does not follow is late or repeated and changes nothing. Listeners report sent,
// agents what comes after. What is said of all targets at once:
//
//	expired    waiting and sent become expired
//	cancelled  waiting, sent, delivered and deferred become cancelled
//	stopped    the same, by the site
//	closed     what is not final becomes lost
//
// So the counts by state always sum to the number of targets. Of a cancel and of a
// stop the operation keeps what it found at its event ([Cut]): how many had begun,
// how many had ended, how many it spared; results that come later do not change
// that. The signed words themselves are kept until deliver-by ([Snapshot.Cancels]),
// for agents that come back until then. Reports of devices that are no targets and
// of operations that nobody requested are counted and otherwise ignored
// ([Reader.Ignored]).
//
// # Waves
//
// A paced operation ([Operation.Paced]) is held until its waves are released, each
// once and in order, and each target in at most one. A wave counts who was online at
// the release and who has reported an end since; what the site says of all targets
// is not such an end. An operation that is not paced is released whole from the
// beginning.
//
// # Rows
//
// A device has a row from the first report on. A target without one is waiting,
// and what the site says of all targets changes no row of a device: it is in the
// operation's row, with the number of its event, and a reader applies it to each
// device's row that is older. A push to 100,000 devices that expires is one row; a
// wave of it is one row too, with who is in it and who was online as two bitmaps,
// while its counts are in the operation's row.
//
// Rows are of schema 2; one of schema 1 is refused, and the view folded anew.
package operation
