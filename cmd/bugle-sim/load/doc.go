// Package load puts a push server under the load of a fleet and measures it: a site
// of bugle, or another kind of server, so that both are measured alike, in one run.
//
// The agents are light: each speaks the server's protocol and holds one TLS 1.3
// connection with a client certificate of its own, answers every task with one small
// answer, and keeps nothing. So the load leaves the machine to the server.
//
//	            Usage, Push              SignIn, Drop
//	Runner ───────────────────> Target <─────────────── Runner
//	   ^                           │
//	   └── Task, Safe, Counted, Lost (Observer)
//
// A [Target] is the server and its agents, numbered from 0. A [Runner] takes it through
// the phases and hands on a [Line] of [Figures] for each; [Table] shows the lines of
// several targets and rounds side by side.
//
// # Phases
//
// Before the first sign-in the memory of the server is looked at, once it is settled:
// growth is what it has more than then.
//
//	connect  all sign in with a full handshake (connect); all are dropped and sign in
//	         again with one (known); all are dropped and resume their TLS session
//	         (resumed). At most Options.InFlight at once.
//	idle     once memory is settled: its growth for each agent; the share of one
//	         processor over Options.Idle
//	push     Options.Pushes tasks to all, one after the other; medians
//	tenth    the same to every tenth agent, others each time
//	storm    all are dropped, one task is pushed to all, the peak of memory begins
//	         anew, all return at once: resuming (storm-resumed), then with full
//	         handshakes (storm-full); with Options.Jitter two more, in which the returns
//	         are spread evenly over that time (storm-…-jitter)
//	churn    Options.InFlight workers drop agents at random and sign them in again,
//	         every second time with a full handshake; every Options.Sample a line
//	         (churn-sample) with memory and gauges, for churns that go on for long
//
// # Figures
//
// Times of a push are from just before [Target].Push is called, those of a storm from
// the first dial. The processor time is that of the server's process, user and system.
//
// All agents share the few processors of this process, and each would have one of its
// own. So an agent has a task, or knows its answer to be safe, when the bytes came to
// its socket ([Conn]): its goroutine may read them much later, because others answer.
// And of those who return at once few compute their first words at a time ([Gate]), so
// that whoever was answered goes on. It is so for every kind of server.
//
//	wallS, signInsPerSecond   from the first dial to the last welcome
//	signInP50Ms, signInP99Ms  of one agent, from its first dial to its welcome; waits and
//	                          further tries after a refusal included
//	cpuPerSignInUs            in a storm also of the missed task and its answer, and of
//	                          whoever asks for the results meanwhile
//	resumed                   handshakes that did resume a session
//	rssPerAgentBytes, rssMiB, rssBaseMiB, peakGrowthMiB   resident memory; on Linux
//	                          without pages of files (mappedMiB): a server maps its
//	                          tables at the start and lets go of them, as if agents
//	                          took less than nothing
//	settled                   0 if memory went on to move and was measured all the same
//	pushReturnedMs            the server has taken the task
//	taskP50Ms, taskP99Ms, taskLastMs    an agent has it
//	safeLastMs                the last agent knows that the server has its answer
//	countedLastMs             the last answer is where results are looked at
//	cpuPerTaskAndAnswerUs     from the push until the last answer is counted
//	taskLastS, safeLastS, countedLastS, backLastS   the same of a storm; the last one in
//	apiP50Ms, apiP99Ms, apiMaxMs  of small questions to the administrator's side, asked by
//	                          another process ([Prober]); good answers only
//
// Faults: refused (sign-ins that failed and were tried again, 50 ms to 2 s later at
// random, or when the server said), late (back more than 2 s after the jitter), missing
// (not signed in, or without the task), unsafe, uncounted, doubled (had the task more
// than once), astray (had one that is for others), lostSessions (ended by the server
// since the line before; they sign in again), apiErrors (questions to the
// administrator's side without a good answer).
//
// What is missing is an error, but the run goes on, unless agents are not signed in: for
// whatever comes next would measure something else. That error names the bound that
// was hit.
package load
