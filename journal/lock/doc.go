// Package lock keeps two processes from using one folder at the same time, by a
// lock on a file in it.
//
// The system frees a lock when the process ends, however it ends; the file stays
// and means nothing by itself. Whoever writes takes the lock alone ([Take]); those
// who only read share it ([Share]), and none of them waits: what is taken already
// is [journal.ErrLocked].
package lock
