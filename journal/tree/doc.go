// Package tree makes the history of a [journal.Journal] tamper evident: an RFC
// 6962 tree over its pages, signed checkpoints of the tree, and proofs that need
// neither the journal nor a server.
//
// # What is promised
//
// Nobody without the key can alter, drop, reorder or roll back events that a
// checkpoint covers without being found out by whoever has that checkpoint. Who
// has the key can write another history, but not one that is consistent with a
// checkpoint that was kept elsewhere: so send checkpoints elsewhere. What is
// newer than the last checkpoint is vouched for by the journal's own chain
// alone.
//
// # The tree
//
// Each page is a leaf: its first event, how many there are, the root of a small
// tree over its events, and its hash in the chain. FORMAT.md has the bytes. So
// an event is proved by two short paths, one in its page and one to the page,
// and the tree grows by a page at a time.
//
// [Tree.Run] follows the journal, so it works on what is durable and answered,
// and costs whoever appends nothing but the processor. Once in [Options.Every], an
// eighth less at the least, and only if there is anything new, it signs a checkpoint: a
// signed note (C2SP tlog-checkpoint) that names the journal, its pages, the
// root, the number of events, the chain's hash and the time. A page is covered
// within Options.Every after it was committed, plus two fsyncs; see [Tree.Wait]. No
// page is signed that neither the page behind it nor the journal's head vouches
// for.
//
// # Files
//
//	checkpoint   the last checkpoint; written aside, renamed, all fsynced
//	hashes       what the tree stores; a cache, made anew from the journal
//
// The checkpoint is written after the hashes that it signs are durable. At start
// the hashes must lead to the signed root; if they do not, because the file is
// torn, damaged, or not there, all of them are made anew, and until as much as
// was signed is there again no proofs are given. What is behind the checkpoint is
// dropped and read again. Removing hashes is always safe; removing checkpoint
// forgets what was promised.
//
// # What is checked when
//
// At start the page that the checkpoint names as the last one must be in the
// journal with the same hash, which vouches for every page before it: if not,
// the journal is read from its beginning and a [*TamperError] names what differs,
// and the first page that does if the hashes are there. When the tree is made
// anew, its root must come out as signed. Every page that is added must follow
// the one before it. Every proof is checked before it is given away.
//
// [Verify] trusts nothing of this: it reads all pages, makes chain and tree from
// their bytes, and compares with checkpoints from wherever.
//
// # Prefixes
//
// What was signed once is known for ever, to the page: the tree as it was at any
// earlier end of the journal ([Tree.BuilderAt]), and a checkpoint of exactly that
// ([Tree.CheckpointAt]), as an archive of a sealed generation needs them. Before
// it is signed, the hashes that are stored are checked against the last
// checkpoint, and the page that ends there against them.
//
// A [Builder] is the tree alone, without a journal or files: for whoever reads
// pages elsewhere.
//
// # Proofs
//
// A proof ([Tree.Prove], [Check]) is a text that holds the event, both paths and
// the checkpoint; to check it takes the public key. A proof of consistency
// ([Tree.ConsistencyProof], [Tree.ConsistencyBetween], [CheckConsistency]) leads
// from one checkpoint to a later one. Both have one spelling: a text with any byte
// changed is refused, but for signatures of others below that of the key.
// What is read is bounded by [MaxProof], [MaxCheckpoint] and [MaxOrigin].
package tree
