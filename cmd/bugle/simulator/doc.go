// Package simulator runs a whole fleet in one test, in fake time, and lets
// everything fail that can. It is for tests; no program of bugle imports it.
//
// What runs is the real code: agents with their own records and keys, two
// listeners with real TLS 1.3 handshakes and client certificates, the inbox on
// real folders, the journal (its twin in memory, with the real group commit), the
// views on Badger, the tree, the authority, the console's API and the clock. Only
// what would be outside is made up: the network, the disks as far as they fail,
// the clocks of machines, the administrator, and what a task does on a machine.
//
//	            links that delay, stall, break,              box: files late, again,
//	            lie half open                                renamed, damaged
//	machines ─────────────────────────── two listeners ────────────────────── site
//	asleep, killed, without power,       killed, stopped,     killed between any
//	without disk, clocks wrong           without disk         two steps, full, pages
//	evil agent ───────────────────────┘                       lost and not lost
//
// A run ([Run]) takes the steps that a seed stands for ([Plan]). A step does one
// thing, lets time pass, and waits until nothing moves any more (testing/synctest);
// then all promises are checked. In the end every fault is taken back, every
// deadline passes, and the end is compared with what happened.
//
// # What is checked
//
// Beside the system stands the truth: what was started on which machine and when,
// what is on the disks of machines, which files listeners hold to be durable. The
// system is never asked for it. A model reads the history and folds it in its own
// way.
//
//  1. What was acknowledged is not lost. After every step: each answer to the
//     administrator is the event that it said, each archived file is whole in the
//     history, and history never changes behind what was read. In the end: every
//     file that a listener dropped is in the history, and every call was answered.
//  2. Each file takes effect once. After every step: each event of a file comes of
//     one that a listener dropped, with the same bytes; no part of it is there
//     twice; as many records as the file has; the views show what the model makes
//     of the history; state counts sum. In the end: presence is what the sessions
//     are, facts are the newest.
//  3. A task reaches whom it is for, starts once at most where it may, and never
//     before its time or after its deadline, by the true time. After every step:
//     the starts; and that a machine that nothing was in the way of has the task,
//     [soon] after it was signed in or [eventually] in any case, and has begun it.
//     In the end: the state of every target is what its disk says.
//  4. A view that is folded anew has the same digest.
//  5. With a checkpoint kept elsewhere, no changed copy of the history passes:
//     flipped bits, cut tails, and pages taken out, swapped or changed with
//     numbers and chain made right.
//  6. An agent gets nothing of others' tasks, and what it says of them, in its own
//     name, with their codes, or as recorded bytes, changes nothing: no result is
//     in the history that its device had not on its disk.
//
// # What a seed reproduces
//
// The steps, their order, the numbers drawn in each, and the passing of time. Not:
// the order in which goroutines run that are ready at the same instant, keys and
// ids, the jitter of reconnects. Nearly always the same seed comes to the same
// end; a race that needs one order may take a few runs. Where a fault is armed for
// the n-th time that something happens, it hits the n-th, whichever that is.
//
// # What it cannot do
//
// A goroutine cannot be killed. A process that is killed goes on for a moment
// without effect: its disk takes nothing, its links are gone, a start does not
// count. A machine that sleeps goes on as if at the moment in which it fell
// asleep. Views are closed in good order when the site is killed (their crashes
// have tests of their own), but may be lost.
package simulator
