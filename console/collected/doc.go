// Package collected keeps the logs that devices sent because an administrator asked
// for them (kind logs.collect), as files in a folder:
//
//	OPERATION/DEVICE-SHA256.tar.gz   what a device sent
//	*.part                           one that is on its way; [Open] removes it
//
// [Store.Put] returns once the file and its name are durable. A body whose SHA-256 or
// length is not what was announced is not kept ([ErrBody]); the same body again is
// the same file. A later body of the same device and operation takes the place of
// the earlier one.
//
// The store holds at most its quota of bytes, those on their way included. For a new
// file the oldest ones make room, and whoever opened the store is told of each. What
// alone is larger than the quota is not taken ([ErrQuota]). The folder is not part of a
// backup: it can be asked for again.
package collected
