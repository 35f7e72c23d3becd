// Package powerloss is a disk that loses power: a file system in memory that
// knows what was synced, and at a cut forgets what was not.
//
// A [Disk] is mounted by FUSE, a program is run on it, the power goes at a chance
// moment or at a chosen call, and what is left is mounted again. Whatever the
// program had acknowledged by then must be there. A disk that is only killed
// under its program forgets nothing; that is what a kill -9 does.
//
//	Disk ── Mount ──> a folder <── the program writes, syncs, renames
//	  │
//	  ├─ Stop     the power goes: no call returns any more; the program is ended
//	  ├─ Release  calls that wait fail, so that it can end
//	  ├─ Resume   kill -9: everything that was written is there
//	  └─ Cut      power loss: a part of what was not synced is gone
//
// # What a cut keeps
//
// Data of a file: all writes and truncations up to its last fsync, fdatasync,
// msync(MS_SYNC) or write with O_SYNC. Of what came later, by the seed and for
// each file apart: all, none, the first few, or any of the blocks of 512 or 4,096
// bytes whatever their order; a file may have its new length and zeros where the
// data should be. Pages of a shared mapping that the kernel had not handed over
// are among what is lost. A file system may write at any moment by itself, so
// everything that a cut leaves could be on a real disk.
//
// Names, in one of two modes:
//
//   - [Ordered]: changes of names are kept in their order, like those of a file
//     system with a log. An fsync of a file or folder keeps all up to the last one
//     that concerns it; of the later ones a cut keeps the first few.
//   - [Strict]: a change of names is kept once a folder whose names it changed was
//     fsynced after it, and the folder itself is kept. An fsync of a file says
//     nothing of its name. Of the other changes a cut keeps any, except that what
//     follows a lost change of the same name is lost too.
//
// A rename is one change, though it touches two names: no file system that one
// would use tears it. What was removed comes back if the removal is lost. Modes,
// owners and times of files are kept always, and links behave as names do.
// Symbolic links, extended attributes and locks of byte ranges across a mount do
// not exist here; flock works, since the kernel does it.
//
// # What is seen
//
// [Options.Observe] is told of every call that changes or syncs something, so
// that a test can count in which moment a cut fell. [Disk.Arm] sets a trap: the
// n-th call of a kind on a path cuts the power before or after it is done, or
// fails with an error, which is how a disk that gives up is simulated. After a sync
// that failed the kernel shows what was written, does not write it any more, and
// says of the next sync that it went well: so here.
//
// The process that mounts a disk must not use the folder itself: killed in such a
// call it could not end, for it is itself who should answer. What it has to do
// there it leaves to other processes. [Alone] makes sure that nothing is left of a
// test, however it ends.
//
// The disk is in the memory of the process that mounts it. What is removed is
// freed at the next cut. It runs on Linux, as root, where there is /dev/fuse; the
// model itself, without Mount, runs everywhere.
package powerloss
