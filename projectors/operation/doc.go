// Package operation is the view of the operations: what was asked for, and where
// every target stands. It folds operation.requested, operation.cancelled,
// operation.expired, operation.closed and results.reported.
//
// # States
//
// Every target begins at waiting and moves by [task.State.Follows]; a report that
// does not follow is late or repeated and changes nothing. Listeners report sent,
// agents what comes after. What the site says holds for all targets at once:
//
//	expired    waiting and sent become expired
//	cancelled  waiting, sent, delivered and deferred become cancelled
//	closed     what is not final becomes lost
//
// So the counts by state always sum to the number of targets. Reports of devices
// that are no targets and of operations that nobody requested are counted and
// otherwise ignored ([Reader.Ignored]).
//
// # Rows
//
// A device has a row from the first report on. A target without one is waiting,
// and what the site says of all targets changes no row of a device: it is in the
// operation's row, with the number of its event, and a reader applies it to each
// device's row that is older. A push to 100,000 devices that expires is one row.
package operation
