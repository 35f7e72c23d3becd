// Package jetstream keeps a journal in an embedded NATS JetStream. It is the one
// package that imports NATS.
//
// # On disk
//
//	DIR/lock        held locked while the journal is open
//	DIR/history     who this journal is, and a prefix that it surely has
//	DIR/jetstream/  JetStream's own files: one stream, JOURNAL
//
// Message n of the stream is page n of the journal (journal/FORMAT.md). The
// stream has no limits, deletes and purges nothing, and refuses new messages
// when there is no room. The server listens on no port; the only way in is a
// connection inside the process.
//
// The file history is 100 bytes: "BGH1", 16 random bytes that name the journal
// for ever, the number of the last event and of the last page as 64 bits each,
// that page's hash, and the SHA-256 of all that. It is written when the journal is
// made, whenever JetStream begins a new file, and on Close. JetStream cuts off
// what it cannot read at the end of its newest file and says nothing; with this
// [Open] notices when the journal is shorter than it was, except for what was
// appended after history was last written (less than one file of 8 MiB).
//
// # Durable
//
// JetStream runs with SyncAlways: it acknowledges a message after write and
// fsync. It does not fsync folders; this package does so after it has made the
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
