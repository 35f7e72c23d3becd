// Package inbox turns the files that listeners drop into a box into events of
// the journal, each exactly once, whatever crashes in between.
//
//	box: waits ── claim ──> work ── read, check, translate ── append ──> journal
//	                          │                                             │
//	                          ├── archive  <── the ledger has all of it ────┘
//	                          └── bad      <── the ledger has that it is bad
//
// # What is seen
//
// The journal is the only memory. Every event of a file names it ([event.Source]:
// listener, epoch, kind, number, which part of how many, SHA-256), and the
// [Ledger], a fold of the journal, keeps from these which numbers of which
// sequence are in. The inbox asks it before and after every append and believes
// nothing else, not even the answer of the append: so a file whose append failed
// in an unknown way, whose events are stored in part, or that comes again after
// a crash, a restore or a mistake, has its effect once. A file is archived after
// the ledger has all of it, and not before.
//
// A file with a number that is in the journal, and other bytes, is a conflict: it
// is put aside and a status message says so. The ledger keeps the newest
// [MaxDigests] digests; an older file is known by its number alone. Who takes files
// from elsewhere into the box can ask before ([Ledger.Have]).
//
// # Order
//
// The kinds are taken in the order BTS, BOS, SVF, DDR, and in each the files of a
// listener and epoch by their numbers. A file that is not the next one waits for
// the grace of a second; then it is taken, a status message names the gap, and
// the missing numbers are holes. What fills a hole later is an event like any
// other: the views decide what is stale. The number of a file that was put aside
// is a hole, too, that nobody waits for; only in a sequence of which nothing is in
// yet, whose name anybody may have made up, it counts as missing.
//
// # What tells of files
//
// The scan of the folder is the only list. Events of the file system, their
// overflow and a timer only say "scan now"; an event with the name of a file may
// be tried at once, which is what makes a file fast. Where nothing tells, on a
// network file system, the timer alone does ([Config.Poll]).
//
// # What cannot be taken
//
// One function decides: the journal refuses the events (poison: the file is put
// aside), the journal or the disk is not there (the inbox keeps what it claimed,
// claims no more, and tries again after 50 ms to 5 s), or nothing can mend it (Run
// returns). While the inbox waits, the box is the queue; [Stats] has how much
// waits and since when. A journal that once lost track of an append takes nothing
// until it is opened anew: the inbox then waits, and it is for its owner to see
// that ([Stats.Stalled]) and to begin again with a new journal, ledger and inbox.
//
// A bad file is put aside whole: file.quarantined, and bad/NAME with its reason.
// A bad record, or a result whose code the device did not make, is put aside
// alone: record.quarantined, and the others are taken. A file with more than
// box.MaxBad bad records is bad as a whole, so that it can be put back
// once, for instance, its devices are known; but results with a wrong code, which
// any one device can send, never are a reason for that: those beyond box.MaxBad
// are only counted.
//
// A record about a device that is not in the scope of the listener's epoch
// ([Config.ListenerScope]) is put aside in the same way, and a status message says
// so for the file: a listener that was taken over can neither report results nor
// presence nor facts of devices of others. It never makes the whole file bad.
//
// # Status messages
//
// Of component "inbox": 1, numbers are missing ([MessageGap]); 2, two files have
// one number ([MessageConflict]); 3, the journal refuses a file
// ([MessageRefused]); 4, a listener speaks for devices that are not its own
// ([MessageScope]).
package inbox
