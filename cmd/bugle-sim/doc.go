// Command bugle-sim is a simulated fleet: many agents in one process, against a
// site that runs. It tells how fast they sign in, how long after a push the last
// of them has the task, and how long after its end a result is visible.
//
//	API: join token ──> agent.Join × N ──> agent.Open × N ──> agent.Run × N
//	                                            │                 │ events
//	                        one file of records ┘                 v
//	API: push, look at the operation ────────────────────────> figures
//
// The agents are those of package agent, as they run on real machines: each has a
// folder, a key, a certificate, a TLS session, and runs the real actions. What
// they share is what one machine makes them share: the processor, over which
// actions take turns, and the disk, on which their records are one file
// (package record) so that one fsync serves all that wait. Every promise of an
// agent's record holds.
//
// On real machines what one agent does takes nothing from another one. Here the
// agents that have their task and go on would take the processor from those that
// are still to receive it, and from the site if it is on the same machine. So
// records wait for --gather before their fsync, as if the disk took that long, and
// the figures say so ("gatherMs"). 0 shows what that makes of them.
//
// # Phases
//
// First the fleet joins, unless its folder (--dir) is of an earlier run, and signs
// in. Each phase prints one line of JSON on standard output; the rest goes to
// standard error.
//
//	connect  every agent from its start to the listener's welcome
//	push     --pushes operations, one after the other: from the site's answer to
//	         the push until each agent has the task
//	results  as many again: from the end of the task on each agent until the API
//	         shows it
//
// Times are milliseconds by this machine's clock. An agent may have the task
// before the site's answer has been read; its time is then below zero. With --data
// the site is on this machine, and "sinceRequest" has the same figures from the
// time that the site wrote into the event, before it was durable. A result
// counts as visible at the first answer about the operation that is current to the
// last event which changed that device's row; the operation is asked for every
// --poll, so the figures err to the long side by up to as much and the time of a
// call.
//
// # Many light agents
//
// "bugle-sim load" puts a server under the load of agents that hold a connection and
// nothing else, to measure the server and not the agents: one takes some 40 KiB, and
// the processor for its side of the protocol. It measures other push servers alike
// (package load tells how, package fleet what an agent of bugle does, package peer
// what those of others do):
//
//	bugle-sim load --agents 10000 --server-cpu 0 --peer bugle,mosquitto,nats --rounds 3
//
// It starts each server on a processor of its own, keeps itself off that, and prints
// one line of JSON for each phase, as
//
//	{"target":"bugle","agents":10000,"round":1,"phase":"push","figures":{"taskLastMs":189, …}}
//
// and a table in the end. The unit of a figure is the end of its name. A process may
// open only so many files: more agents of bugle than that are split over several
// processes by itself, or by --processes; --listeners starts listeners that run apart,
// for one takes 20,000 agents.
//
// # Estates and their collections
//
// "bugle-sim estate" makes up the inventory of a fleet and collections over it, as
// files that "bugle devices import" and "bugle collections apply" take (package estate).
// "bugle-sim collections" evaluates such collections in the engine of the site and, side
// by side, in PostgreSQL and DuckDB, compares every member, and prints one line of JSON
// for each phase (package referee):
//
//	bugle-sim collections --devices 100000 --collections 1000 --seeds 1,2,3 --changed 1000 --peer postgres,duckdb
//
// # Exit
//
// 0 if every agent did everything, 1 if anything is missing or failed, 2 if the
// command was called wrongly.
package main
