// Package box is the folder through which listeners hand files to the site, and
// the files in it: what listeners learn of devices (BOS, BTS, DDR) and say of
// themselves (SVF). FORMAT.md beside this file describes the bytes.
//
//	bgb.box/                    what waits: LISTENER-EPOCH-NUMBER.KIND, finished files only
//	bgb.box/tmp/                where writers create
//	bgb.box/work/               what the reader claimed
//	bgb.box/archive/YYYYMMDD/   what the journal has
//	bgb.box/bad/                what was put aside, each with NAME.reason
//
// # Writing
//
// A [Spool] creates a file in tmp, writes it, syncs it, renames it into the
// folder and syncs the folder; [Spool.Drop] returns after that, and what it
// returned without an error is durable. The folder itself never sees an
// unfinished file.
//
// A writer whose files nobody takes for a while can make few of many small ones
// ([Spool.Merge]), as long as no reader can have seen them.
//
// Each kind has its own sequence of numbers, from 1 and without a hole, in each
// epoch of a listener. The site grants a new epoch whenever a listener starts or
// its counter is in doubt.
//
// # Reading
//
// A [Box] lists what waits in the order in which it is to be claimed, and moves
// entries from one folder to the next; every move is one rename. No move of the
// reader's needs to be durable: what a crash takes back is done again, and
// whoever reads knows by listener, epoch, kind and number what it has seen.
//
// Whoever may write into the box may also be broken, or hostile. The reader opens
// nothing but regular files of limited size with a single name, follows no link,
// leaves the box by no name, and waits for nothing. [Decode] checks length,
// checksum, signature, and then each record behind a scan of the whole. A record
// that is bad by itself is told apart ([File.Bad]); anything else that is wrong
// is wrong with the file.
//
// Files of version 2 are written; those of version 1, in which the listener signed
// all bytes and not a digest of them, are read for ever.
package box
