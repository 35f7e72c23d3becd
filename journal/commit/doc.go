// Package commit makes a journal ([journal.Journal]) of anything that keeps
// pages ([Store]): it is group commit, guards, folds and readers, and knows
// nothing of disks.
//
// # Appending
//
// A caller of Append encodes its events itself, adds the bytes to the group that
// is open at the moment, and sleeps. One goroutine, the appender, takes the
// oldest group, seals it into a page and puts that into the store; meanwhile the
// next group fills. So the time that the store takes is the window in which
// events are collected, and there is no timer. Before it takes a group the
// appender lets other goroutines run for as long as the group grows: those it
// has just answered are about to append again.
//
// A group is at most one page. At most [MaxWaiting] groups wait; whoever comes
// then waits for room, or until its context ends.
//
// A batch behind a guard is a group of its own. When its turn comes, everything
// before it is durable and folded; the appender calls the guard, then encodes
// the events, then puts the page.
//
// # Outcomes
//
// A page that was put is folded, shown to readers, and answered, in this order.
// Events that folds want are decoded before the put: what does not read back is
// refused, for once stored it would keep every later Open from working. A put that
// fails is one of three:
//
//	not stored   the callers get journal.ErrUnavailable; the next group is tried
//	not sure     the page is read back and compared; if it is there all is well,
//	             if it is not the callers get journal.ErrUnavailable
//	cannot tell  the callers get journal.ErrUnknown, and from then on every
//	             append is refused with journal.ErrUnavailable: the journal must
//	             be closed and opened again, which reads what is there
//
// Nothing is ever put a second time.
//
// # Reading
//
// The newest pages stay in memory ([RingPages], [RingBytes]); a follower that
// keeps up gets them from there, as the very same values that the folds saw. A
// reader that is behind loads pages from the store in chunks, and checks each:
// its number, the chain of hashes, its inner structure. From its second chunk on it
// loads and hashes the next one while its caller is busy with this one. Nothing
// that is behind the last durable page is ever read.
//
// A reader that begins in the middle takes its first page at its word about the
// one before: that the pages are those that were written is for the store to see
// to, before it hands them out, and shows in the pages behind in any case.
//
// # Opening
//
// [Open] gives a new journal every page of the store. Who knows the pages up to
// one of them already, from [Journal.Save], gives what it knows instead, to
// [OpenSaved] or [Start.Restore]: then only the pages behind are told, but
// everything to folds that cannot be restored. A [Start] is for a store that reads
// its pages itself.
package commit
