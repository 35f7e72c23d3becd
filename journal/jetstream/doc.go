// Package jetstream keeps a journal in an embedded NATS JetStream. It is the one
// package of the journal that imports NATS.
//
// # On disk
//
//	DIR/lock         held locked while the journal is open
//	DIR/history      who this journal is, and a prefix that it surely has
//	DIR/generations  which generations there are (package generation)
//	DIR/jetstream/   JetStream's own files: one stream per generation
//	DIR/archive/     archives of generations (package archive)
//	DIR/state        what the next start need not read: a cache (FORMAT.md)
//	DIR/running      there while the journal is open, and after a crash
//	DIR/torn/        what was cut off the end of a file after a crash
//	DIR/importing    there until an [Import] is complete
//
// Page n of the journal is message n - Before.Pages of the stream of its
// generation (journal/FORMAT.md). A stream has no limits, deletes and purges
// nothing, and refuses new messages when there is no room. The server listens on
// no port; the only way in is a connection inside the process. Pages are written
// through the server, and read from its files, with package block: what is read is
// what was checked.
//
// The file history is 100 bytes: "BGH1", 16 random bytes that name the journal
// for ever, the number of the last event and of the last page as 64 bits each,
// that page's hash, and the SHA-256 of all that. It is written when the journal is
// made, whenever JetStream begins a new file, and on Close.
//
// # Generations
//
// Exactly one generation is open. Between two pages, the appender closes it and
// begins the next one when it is large or old enough ([Options]), and [Journal.Seal]
// does so at any time: first the list is written, then the new stream is made. If
// that fails the list is taken back and the old generation goes on; no append
// suffers. [Journal.Archive] writes an archive, compares it with the pages, and
// notes it in the list. [Journal.Remove] reads the archive once more, says in the
// list that the generation is removed, and then deletes its stream as a whole; from
// then on its pages are read from the archive. Whatever a crash leaves in between,
// [Open] makes good: a stream that is in the list and not there yet is made, one
// that is not needed any more is removed. So no page is ever in a half-removed
// stream only.
//
// # Check before open
//
// JetStream cuts off what it cannot read, wherever that is, and says nothing. So
// nobody but this package looks at the files first, under the lock, and changes
// nothing while it looks:
//
//   - every name that JetStream would act upon must be one that it has made here,
//     and the settings of each stream those that it was made with;
//   - the newest file of each generation is read in any case, and so are all whose
//     size, time or inode is not as the file state says, those that were written
//     in the last seconds, and those of a generation whose summary by JetStream
//     (index.db) is not the one that was kept: these are the files that JetStream
//     itself reads when it starts. Without a file state all are read;
//   - in what is read every checksum, the number and hash of every page, and the
//     times must hold, from the position that is known in front of it;
//   - the journal must have what the file history, the file state and
//     Options.Covered say that it had.
//
// A write that was never finished may have left something at the end of the newest
// file. That is cut off, kept in the folder torn, and logged, if none of those
// three covers it, and if the last stop was not a clean one. Anything else stops
// Open with a [*journal.DamageError] that names event, page, file and offset; no
// file was changed then. A summary that nobody vouches for is removed before the
// server starts. What the server then says of its streams must be what was read.
//
// The other files are read in the background, slowly, and in any case before the
// first page of them is handed out. Damage that is found then is returned to
// whoever reads there, for ever, and told by [Journal.Damaged]; appending goes on.
// [Journal.Check] reads everything again.
//
// # What is kept for the next start
//
// On Close, and now and then while the journal is open, the file state is written:
// the end of the journal, in which page each event is, what the folds know (if they
// are each a journal.SavingFold), and what all files are like. It is signed with
// Options.Key, because it is believed. One that does not verify, is of another
// version, another journal, or another end, is left aside with a line in the log,
// and everything is read.
//
// # Durable
//
// JetStream runs with SyncAlways: it acknowledges a message after write and
// fsync. It does not fsync folders; this package does so after it has made a
// stream, on every Open, and when a new file has appeared, before it answers
// whoever appended.
//
// # When the disk fails
//
// After an error of write or fsync JetStream answers no more and stays that way,
// also if the disk is well again. The append under way gets journal.ErrUnknown,
// all others journal.ErrUnavailable, at once; reading goes on. The way out is
// Close and [Open], which reads what is there. A page whose fsync failed may be
// there then or not: that is why it is unknown.
//
// If Options.MaxStore is reached nothing is broken: appends get
// journal.ErrUnavailable until the journal is opened with more.
package jetstream
