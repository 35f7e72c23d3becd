// Package offline reads the journal of a site that does not run, or a copy of
// one, without JetStream: its generations in the live store and in archives as
// one history, checked down to the last byte. It writes nothing.
//
// # Where
//
// [Open] takes the journal's folder (journal/generation has its layout), or that
// of a whole site. It holds the folder's lock, shared with other readers, so that
// a site that runs is refused with [journal.ErrLocked] and none starts meanwhile.
// A copy without the file lock, and a folder that nobody may write, are read too.
//
// # Reading
//
// [Journal.Read] gives the pages in order, each from the live store if that has
// its generation, else from its archive. It checks what package block and
// package archive check, and besides that each generation ends as the list says
// and that the journal is not shorter than the file history says. Bytes at the
// end that look like a write which never ended are no damage if neither that file
// nor the journal's own checkpoint tells of more pages: [Journal.Torn].
//
// # Verifying
//
// [Journal.Verify] compares the whole journal with checkpoints, as package tree
// does, and reads the archives of what is live too. Damage often shows later than
// it is: a page that was edited together with its checksums shows when the next
// one does not follow it, one that was edited together with all hashes behind it
// shows at the checkpoint. So whenever something is wrong everything is read a
// second time, and the error names the first event that cannot be trusted.
//
// # Surveys
//
// [SurveyFolder] reads all there is, whatever its state: every file of messages
// and every archive in the folder, the list of generations or not. From that it
// takes what can be proved:
//
//   - A page is vouched for if it is one that was signed: the file hashes of
//     package tree has a hash for each page, and if they lead to the root of a
//     checkpoint they are as good as its signature.
//   - A page is vouched for if the journal up to it has the hash that a checkpoint
//     says, a checkpoint which the journal holds as an event, the seal of an
//     archive, the end of a generation in the list, or the file history.
//     What nobody has signed of those counts only if nothing that was signed
//     shows that the journal was changed.
//   - A page is vouched for if the one behind it is: that holds its hash.
//   - A page counts if it chains on from the beginning of the journal or from one
//     that counts, unless something that is vouched for says otherwise. Then none
//     counts of those that lie between that place and the last one that is vouched
//     for: who has changed one may have changed all. Where it is known of every
//     page what was signed, no other counts.
//
// Where a page lies, and how often, does not matter. What is between the pages
// that count is lost: [Survey.Lost]. How many events that is follows from their
// numbers; at the end, from whatever tells of the most, for a number that was
// given out once must not be given out again.
package offline
