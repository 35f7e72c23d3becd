// Package task is what a site signs for its agents, and how an agent checks it:
// tasks ([Task], [Signed]), the proof that a device is among a task's targets
// ([Targets], [Proof]), the site's time ([Beacon]), policy ([Policy]), and the
// code that an agent puts on a result so that no listener can invent one
// ([ResultKey], [Result.MAC]).
//
// The listener carries all of these and can make none of them: it holds no
// signing key, and it does not know the result keys.
//
// # Canonical bytes
//
// Everything is signed over its canonical bytes: a context line that names what
// is signed and its version ("bugle task 1\n"), then the fields in order, each
// a big-endian fixed-size integer, raw bytes of fixed size, or a 32-bit length
// and bytes. The same bytes travel; they are never encoded anew on the way.
// Signatures are Ed25519.
//
// # Targets
//
// A task names its targets by the root of an RFC 6962 Merkle tree. Leaf i is
// the 256-bit bitmap of the device numbers 256·i … 256·i+255 (bit n%256, least
// significant first). One signature so serves a fleet, and what one device needs
// beside it is its leaf and a path: for 100,000 devices at most 9 hashes, 320
// bytes. An agent learns from its leaf which of its 255 neighbours in number are
// targets too.
package task
