// Package poll serves many connections with few goroutines and no buffers: whoever
// has nothing to do costs its entry here and what its handler keeps.
//
// A [Loop] has some workers, of which as many work as there are processors, and more
// only while turns take long. A connection that is added to it gets turns: calls of
// [Handler.Turn] by one of the workers, one at a time, each with the reasons for
// which it is called since the turn before: something can be read, there is room
// for writing again, a timer has come, or somebody asked for it ([Source.Call], and
// [Loop.CallAll] for many at once). Turns come in the order in which they were first
// asked for. Readiness is edge-triggered: a turn reads until there is nothing more, and
// writes until there is no room. Who reads nothing in a turn that is [Readable]
// remembers that; a turn that is not need not read.
//
// A worker takes a few sources at once. Of connections that have been idle the memory is
// in no cache, and a turn waits for one piece after the other; a handler that is a
// [Fetcher] names them before ([Prefetch], [Piece]), and the processor gets those of all
// the sources that the worker has at the same time. That is done with an instruction of
// amd64 and of arm64, of which the first was measured; elsewhere nothing is asked for.
//
// # Connections
//
// A [Conn] begins as a blocking connection, so that TLS can shake hands over it as
// over any other. [Conn.Park] takes the socket from Go's own poller, and from then on
// nothing on it blocks: Read returns an error that says it is temporary when there is
// nothing to be read, which crypto/tls survives between records, and Write takes
// everything: what the kernel has no room for is kept, and written by [Conn.Flush].
// Whoever writes looks at [Conn.Pending] first; beyond [MaxPending] Write fails. What
// the other side does not acknowledge in 90 s ends the connection, on Linux.
//
// A turn begins with [Conn.Allow], which says how much may be read in it: beyond that
// Read says that there is nothing, and [Conn.More] that there may be. Then the handler
// calls itself, and others have their turns before it goes on. Behind a read that fills
// less than its buffer the kernel is not asked again in that turn, for it tells of what
// comes later; only of what comes behind a hang-up ([HungUp]) it does not.
//
// # Timers
//
// Timers of a loop are for time-outs: they come up to a [Tick] late, never early,
// and cost a few bytes in the source that they are of.
//
// # Where it works
//
// With epoll on Linux, with kqueue on macOS and the BSDs. [New] returns
// [errors.ErrUnsupported] elsewhere.
package poll
