// Package generation is the list of a journal's generations: which there are,
// which events each holds, and where it is kept.
//
// A journal is one history in one or more generations. Event numbers and the
// chain of hashes run on from one to the next. The newest is open, all others are
// sealed: they take no more pages. A sealed generation may be archived, as one
// file that was verified, and only then removed from the live store.
//
// # On disk
//
//	DIR/generations                                      this list
//	DIR/jetstream/$G/streams/JOURNAL-00000001/msgs/      generation 1, live
//	DIR/archive/00000001.bga                             generation 1, archived
//
// The file generations is JSON: {"version": 1, "generations": [...]}, in order,
// hashes in hexadecimal. It is written aside, synced, renamed, and the folder
// synced. What it says of hashes and counts is checked against the pages by
// whoever reads those.
package generation
