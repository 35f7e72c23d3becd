// Package agent is bugle on a managed machine: it joins a site, keeps one
// connection to a listener, checks every task that comes, runs it once, and
// reports what became of it.
//
//	Join  token, key made here -> certificate, the site's keys
//	Open  the folder, its lock, the record of what was done
//	Run   connect -> sign in -> tasks, results, keep-alives, policy -> connect again
//
// # What it believes
//
// The site's signatures, and nothing that a listener says on its own. A task is
// run if the site signed it, for this site, for this device (target proof), and
// its time has come and not passed. What is not genuine is refused, reported, and
// not run; it changes nothing that is on record.
//
// # Time
//
// Whether a task is still valid is judged by the site's time: signed beacons and
// the monotonic clock since. The wall clock of the machine may be hours wrong.
// The agent trusts its estimate once a beacon came back with a nonce that this
// process made, for 90 seconds after the last beacon, and until its wall clock
// steps (which is also how a machine notices that it slept); else it asks again
// before it starts a task. The estimate errs on the late side: a task may be
// refused a round trip early, and never starts late.
//
// # Once
//
// The record ([Record]) is written before a task starts ("record, then start").
// A process that dies while a task runs reports it as failed when it is back,
// and does not start it again. Kinds that may run twice (policy, discovery)
// start first and are recorded with their end. A task that comes again is
// answered from the record. A result stays in the record until the listener
// acknowledged it; on every new connection all of them are sent again, in order.
//
// # Files in the agent's folder
//
//	agent.key      the device's private key, PKCS #8 in PEM
//	identity.json  what joining brought: certificate, CA, the site's keys, listeners
//	policy.bin     the policy in force, as the site signed it
//	record         tasks done, results not yet acknowledged
//	record.torn    what a power cut tore off its end last, kept for people
//	status.json    where the agent stands, for people
//	lock           held while an agent runs here
//	watch/         what a quick scan looks at unless policy names folders
package agent
