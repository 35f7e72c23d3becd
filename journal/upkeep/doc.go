// Package upkeep keeps a site's journal in order while the site runs: it puts
// checkpoints into the history, archives closed generations and takes them out of
// the live store, and checks the whole history against its bytes on disk.
//
// What it has done is in the journal, as events, and [Notes] is the fold that
// knows them: so what was under way when the site went down is taken up again,
// and nothing is said twice.
//
// # Duties
//
// Checkpoints. The last signed checkpoint becomes a checkpoint.signed event at
// most once in [Settings.CheckpointEvery], and right after a generation was
// sealed; and only if it covers an event that the one before does not, and that
// is not the one before's own. So a journal in which nothing happens does not
// grow.
//
// Generations. The store closes a generation when it is large or old enough. For
// each closed one, oldest first, these steps follow, each begun when the one
// before is durable:
//
//	generation.sealed       appended
//	the archive             written, verified and synced by the store
//	generation.archived     appended
//	removed from live       by the store, but for the newest [Settings.KeepLive]
//	generation.archived     appended again, with Removed
//
// The list of generations says what is done with the store, the notes what is
// said of it; a step is taken if and only if it is not. A generation that cannot
// be archived keeps no other waiting; it is tried again at every look.
//
// Checks. Every [Settings.CheckEvery], with up to a tenth of that added by
// chance, the store compares its files with themselves, and then the history is
// read from its first event, chain and tree are made anew, and are compared with
// the last checkpoint. Both are slowed to [Settings.CheckRate]. The outcome is a
// journal.checked event. If it is bad, [Upkeep.Ready] says so until a check is
// good, the next check is due within [Settings.CheckAgain], and a status message
// of the site tells operators; another one tells them when it is good again. When
// somebody who reads comes upon damage, a check is due at once.
//
// # Settings
//
//	CheckpointEvery   1 h        between two checkpoint.signed events
//	KeepLive          0          how many archived generations stay in the live store too
//	CheckEvery        24 h       between two checks; below 0: never
//	CheckAgain        1 h        after a check that was bad or could not be done
//	CheckRate         64 MiB/s   of pages that a check reads
//
// # Messages
//
// Status messages of the component "journal":
//
//	1001  error    the history is damaged on the disk
//	1002  info     the history is whole again
//	1003  warning  a generation cannot be archived or removed
//	1004  info     all closed generations are archived again
package upkeep
