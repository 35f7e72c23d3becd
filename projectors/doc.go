// Package projectors keeps views: what the journal means, as rows that can be
// read at once.
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
//     durable in one transaction. After a crash a view goes on behind its
//     position, and no event counts twice.
//   - An event is applied whole or not at all. One that changes more rows than the
//     store takes at once is written in several transactions; a crash between
//     them makes the next start fold the view anew.
//   - A gap in the numbers, an event that cannot be decoded, or one of a later
//     version of a kind that the view folds, stops the view in front of it. The
//     others run on. [Views.Status] says which, where and why.
//   - A reader gets a [Snapshot]: rows and published memory right after one
//     event. It neither waits for the writer nor makes it wait. Positions that a
//     reader sees never fall. [Views.Wait] is for those who must read what they
//     appended.
//   - A rebuild ([Views.Rebuild]) makes a new generation beside the one that serves,
//     compares the two at the same event and switches.
//
// # On disk
//
//	DIR/LOCK                   held by the process that has the views open
//	DIR/NAME/CURRENT           the number of the generation that serves, 8 digits
//	DIR/NAME/GENERATION/       a Badger store: the rows of one generation
//
// A row is a key and a value. Keys of folds do not begin with a zero byte; the
// one that does holds schema, history, position, and the number of rows with the
// sum of their hashes, which every commit brings up to date. Values are msgpack
// arrays that begin with their version, as everywhere in bugle. CURRENT is
// written beside, synced, renamed, and the folder synced; every generation that
// it does not name is removed at the next start.
//
// # Batches
//
// A view takes whole events until they changed 20,000 rows, 10 ms have passed, or
// nothing waits, and commits them with one sync. Events that change no row cost
// no write: the position in the store follows with the next rows, or every 10,000
// events. So an idle view may, after a crash, look at some events again, to the
// same effect.
//
// # Digests
//
// The digest of a view ([Views.Digest]) is the SHA-256 of its canonical dump: all
// rows in the order of their keys, key and value each behind its length as 32
// bits, big endian. Beside it a sum modulo 2^256 of the SHA-256 of each row is
// kept; [Views.Verify] compares it with the rows. The sum finds damage and
// divergence, and proves nothing.
package projectors
