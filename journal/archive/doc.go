// Package archive keeps a run of pages of a journal, such as a sealed generation,
// as one compressed file or stream that vouches for itself. FORMAT.md has the
// bytes.
//
// # What is in it
//
// The pages are in it verbatim, to the byte, in pieces of up to [MaxFrame] that
// are compressed each on its own, so that any page is found without reading what
// is before it. Around them stands what ties the run to the rest of the journal:
// which journal it is, where the run begins and ends (number, pages and hash, so
// the chain goes on from one archive to the next), the tree before it and the
// root behind it, and the text of a signed checkpoint of exactly that end. So an
// archive is checked with the public key and nothing else, and a row of archives
// from the first event on is checked as one history ([Continues]).
//
// # What is promised
//
// A [Writer] refuses pages that do not follow one another, and a seal that is not
// that of its pages: what it has ended holds. A [File] appears under its name
// whole and durable or not at all.
//
// Every byte is covered: by the SHA-256 of the whole, and again by what tells
// where the damage is: a checksum for each frame and each other section, the
// chain and the tree. [Reader.Verify] and [Stream.Verify] check all of them. A
// [*DamageError] names file, offset and the first event that cannot be trusted.
// Against who can calculate all of these anew, there is the signature: of the
// root, the chain's hash, the number of events and, as the end of the checkpoint's
// origin, the history. The generation's number and the cut into frames are not
// signed; the list of generations has the SHA-256 of each file.
//
// [Open] checks what stands around the pages, and a page is checked when it is
// read: its frame by a checksum, and its place in the chain by [Reader.Read]. A
// [Stream] checks everything but the signature as it goes, and ends with io.EOF
// only if all of it held; until then pages have been handed out that nobody
// vouches for.
//
// # Bad input
//
// Whatever the bytes say, no more memory is used than for one frame before and
// after decompression and for as much of the index as is really there. What is
// not an archive is [ErrForeign]; what a later version wrote, [ErrVersion]; a
// checkpoint of another key or other pages gives the errors of package tree,
// [ErrSeal], or [ErrHistory].
package archive
