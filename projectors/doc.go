// Package projectors keeps views: what the journal means, as rows that can be
// read at once, as they are now and as they were after any event.
//
// A [View] is a pure fold: it is shown the events of the journal in order and
// writes rows. It knows no clock, no network and no chance, so the same history
// always gives the same rows, and a view that is lost, damaged or of an earlier
// schema is folded anew. Each kind of view has a package of its own below this
// one; this package runs them.
//
// # Promises
//
//   - Rows and the position, the number of the last event that they hold, become
//     durable together. After a crash a view goes on behind its position, no event
//     counts twice, and nothing is left of an event that was being written.
//   - An event is applied whole or not at all, however many rows it changes.
//   - A gap in the numbers, an event that cannot be decoded, or one of a later
//     version of a kind that the view folds, stops the view in front of it. The
//     others run on. [Views.Status] says which, where, since when and why.
//   - A reader gets a [Snapshot]: rows and published memory right after one
//     event. It neither waits for the writer nor makes it wait. Positions that a
//     reader sees never fall. [Views.Wait] is for those who must read what they
//     appended.
//   - [Views.At] is all of that as of any event since the first, exactly.
//   - A rebuild ([Views.Rebuild]) makes a new generation beside the one that serves,
//     compares the two at the same event and switches. The former one is kept for a
//     while, and [Views.Rollback] returns to it in the same way.
//
// # On disk
//
//	DIR/LOCK                   held by the process that has the views open
//	DIR/NAME/CURRENT           the number of the generation that serves, 8 digits
//	DIR/NAME/PREVIOUS          that of the one before, and since when it is that, in Unix seconds
//	DIR/NAME/GENERATION/       a Badger store: the rows of one generation
//	DIR/NAME/kept/EVENT.snap   all rows as they were after an event; FORMAT.md has the bytes
//
// A row is a key and a value. Keys of folds do not begin with a zero byte; the
// one that does holds schema, history, position, the number of rows with the sum
// of their hashes, and where the window begins. Values are msgpack arrays that
// begin with their version, as everywhere in bugle. CURRENT and PREVIOUS are
// written beside, synced, renamed, and the folder synced; every generation that
// neither names is removed at the next start.
//
// # Versions
//
// The store keeps versions: that of a row is the number of the event that wrote
// it. Reading at a version gives the rows as of that event, at the cost of reading
// those of now. Versions in the [Window] are all kept, of what is older only the
// newest; the others are dropped when tables of the store are merged, which the writer
// has done aside: in a calm moment once there are more than five new ones, and at once
// if there are more than eight. A reader of an event holds the window back.
//
// The changes of several events are not atomic in Badger's log. So their position
// is written beside them with the sum of their hashes, and a store that is opened
// counts as far as the last position of which all rows are there. What it has of
// later events is overwritten, version by version, with what there was before.
// Readers see a version only after the commit that it belongs to.
//
// # The past beyond the window
//
// It is folded in memory when somebody asks for it: from the last kept state
// before the event, or from the first event. States are kept while the view runs,
// and during a rebuild, as [Keep] says: a day or a million events apart, the last
// seven and of the older ones one a week. They are a cache: what is damaged,
// missing or of another schema is not used. At most two folds run at once, of at
// most 1 GiB of rows each; what was folded can be read again for a minute.
//
// # Batches
//
// A view takes whole events until they changed 20,000 rows or 2 MiB, 10 ms have
// passed, or nothing waits, and commits them with one sync. Events that change no
// row cost no write: the position in the store follows with the next rows, or
// every 10,000 events. So an idle view may, after a crash, look at some events
// again, to the same effect. A view that is built or rebuilt is folded in memory,
// up to 256 MiB of rows, and written at once with the versions of its window: the
// latest of them, up to 64 MiB. So its memory does not grow with its history, nor
// with how much of it is new; what is older than the versions that it has is the
// past beyond the window.
//
// # Digests, damage and notices
//
// The digest of a view ([Views.Digest]) is the SHA-256 of its canonical dump: all
// rows in the order of their keys, key and value each behind its length as 32
// bits, big endian. Beside it a sum modulo 2^256 of the SHA-256 of each row is
// kept; [Views.Verify] compares it with the rows, and so does every view by itself
// once a day, and when a reader met what cannot be. A view that is found damaged
// is rebuilt by itself, at most once an hour. The sum finds damage and divergence,
// and proves nothing. [Options] has a function that is told of damage, of such
// rebuilds, and of views that stop, lag or go on.
package projectors
