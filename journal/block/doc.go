// Package block reads the files in which JetStream keeps a stream's messages,
// without JetStream: so that somebody has looked at them before a server opens
// them, which cuts off what it cannot read and says nothing.
//
// FORMAT.md describes the bytes and names the version of the server that they
// were checked against; a test writes with that server and reads back.
//
// # What is checked
//
// [Walk] reads one file: every record must be whole, its checksum right, and its
// sequence the one before it plus one. [Check] walks the files of a generation of
// the journal and reads the page in each record: its number, its place in the
// chain of hashes, its times. What does not hold is a [*DamageError], which names
// file, offset and sequence, and with Check event and page. Files of which
// everything is known already need not be walked: Check begins wherever the
// caller knows a [Position].
//
// A stream of a journal never loses a message and is neither compressed nor
// encrypted. Marks of deleted messages, blocks that are compressed, and keys of
// encrypted ones are refused.
//
// # A torn tail
//
// A process or a machine that dies while a record is written leaves part of it,
// or zeros, or garbage, at the end of the newest file. DamageError.Torn says that
// the damage looks like that: it is in the newest file, there is no more of it than
// one record may have, and neither it nor anything behind it is a whole record.
// Whether such a tail may be cut off is the caller's decision, who knows what was
// acknowledged; a record that was, and is damaged since, looks the same. [Cut]
// keeps the bytes in another folder before it cuts.
package block
