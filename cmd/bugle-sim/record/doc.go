// Package record keeps what many agents of one process must not forget in one
// file, so that one fsync serves all that wait for it.
//
// [Open] reads the file and [Log.Agent] gives each agent its part as an
// [agent.Record]. What agents append is gathered in a group; one goroutine writes
// the group and syncs the file, and meanwhile the next group gathers. A durable
// Append returns when its group is on disk, one that need not be durable at once.
// So the more agents wait, the fewer fsyncs each of them costs, and no promise of
// [agent.Record] is weaker than with a file for each.
//
// A group is written only after the one before it is on disk. A crash can
// therefore tear the last group and no other: it is cut off when the file is
// opened, for nobody was told that it was there. A bad group with a good one
// behind it is damage, and a [*DamagedError].
//
// A write that fails leaves the file as the log found it at the next Open, and
// fails everything that comes after it.
//
// # File
//
// Integers are big-endian.
//
//	header   "bugle-sim records 1\n"
//	group    magic "bsg1", length of payload uint32, CRC-32C of payload uint32,
//	         payload: records
//	record   length of value uint32, value: msgpack
//	         [1, device, action, [entry …]]
//	         action 1 adds the entries, action 2 replaces all of that device by them
//	entry    [act, kind, until, again, operation, attempt, state, code, at, detail]
//	         as in [agent.Entry]; times in Unix nanoseconds, 0 for none; operation
//	         16 bytes
package record
