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
// If nobody can answer, because the listener says that it has no beacon or there
// is no connection, an estimate that was proven in this process goes on for 12
// hours: it can only be wrong by the drift of the monotonic clock, and that is
// counted against the task, 200 parts in a million (9 s in 12 hours). A sleep or a
// step still ends it. Who keeps beacons away from an agent gains nothing: the
// deadline comes no later. After two hours without a beacon the next one counts
// only with a nonce, for without one it may be old.
//
// So whoever comes back signs in with a nonce only if its estimate is not proven, was
// proven with more than 2 s of slack, or is two hours old: a fleet that returns at once
// takes the beacon that all get, and costs the site no signatures.
//
// # Which carrier
//
// TCP if it works, else a WebSocket, else long poll (package carrier), the latter
// two by the proxy that HTTPS_PROXY names. A proxy is reached by HTTP or SOCKS5,
// not by TLS. A TCP port whose packets are dropped costs at most 10 s, and only
// once: what worked is tried first from then on, also after a restart. Meanwhile
// the better ones are tried again every 15 minutes, and when the machine's
// addresses change; the new session begins before the old one is left. Three
// WebSockets in a row that live less than a minute make the agent poll. Each change
// is told to the site as inventory (connection.carrier, connection.why,
// connection.since) and to people in status.json; an agent that has always been on
// TCP tells nothing.
//
// # Once
//
// The record ([Record]) is written before a task starts ("record, then start").
// A process that dies while a task runs reports it as failed when it is back,
// and does not start it again. Kinds that may run twice (policy, discovery) are in
// the record too, but do not wait for the disk; they start again, as the next
// attempt, when the site sends them again. What was left without an end
// and does not come again, for its deadline has passed meanwhile, ends too: refused
// if it had not begun, else failed. A task that comes again is
// answered from the record. A result stays in the record until the listener
// acknowledged it; on every new connection all of them are sent again, in order.
//
// Policy lists tasks too, for machines that were off. They are judged like those
// of the channel, with the proofs that came before the policy, and run once,
// whichever way they came first. Policy and proofs are on disk: a task whose time
// comes later runs although there is no connection then.
//
// # Who runs when
//
// A task waits for its not-before, then (kinds of the classes Intrusive and
// Barrier) for a maintenance window of package agent/window that is longer than its
// run timeout and five minutes, then for its turn, then for the site's time. Before
// it starts all of that is looked at once more. Its deadline goes on meanwhile:
// whoever waits past it is refused.
//
// A task that waits for a window is deferred, with the reason: "opens Sat 01:00
// for 60 min; needs 65". Kinds whose names begin with update. keep to windows for
// updates, see the package; local windows are of the machine's time zone and by the
// site's clock. A task with the parameter "ignoreWindows": true, and a machine
// without windows, wait for none. Windows that change in policy count at once; a new
// machine waits until the site has said what its policy is.
//
// Turns are given in the order in which tasks may run: Workers at a time, one of
// the classes Alone and Intrusive at a time. A Barrier starts when all in front of
// it have ended, nothing behind it starts before it has ended, and what is due at
// the same moment is in front. What waits for a later time does not hold it up.
//
// A barrier usually ends this process. It is on record as running, with the name
// of the machine's boot; the next process reports that it succeeded if the boot is
// another one, else that it failed. An action of this class that was begun well
// waits for its end; it returns if it failed.
//
// # Cancel
//
// The site's signed word that a task must not begin. Who has not begun ends as
// refused ("cancelled"), durably, before anything else happens, so that no copy of
// the task runs that comes later by whatever way; of a task that never came it is
// remembered for 400 days. Who has begun goes on and reports, but does not begin
// again, also if the kind may: that is on record when the cancel came. If the process dies
// while it runs, the next one reports it as failed ("cancelled; interrupted by a
// stop of the agent"), and so it does if the cancel comes only then. A task whose
// start is on record and whose action has not begun is refused still.
//
// Every sign-in lists what has no end on record, so that the listener hands out the
// cancels of it.
//
// # People
//
// For each person who is signed in at the machine the agent fetches a policy of
// their own, checks it, and keeps it for programs that look there: at every poll,
// and when a task says so. It is dropped when the site has none any more, and 30
// days after the person was seen last.
//
// # Tickets
//
// What listeners give it to come back with, TLS session tickets, the agent keeps in
// memory, one of each of the last 32 addresses. All are forgotten when it shows another
// certificate or has taken new keys of the site, so that both sides are checked anew,
// and when a connection came about and was not wanted by one of both; a network that
// fails is no reason, but of connections that just end every third is.
//
// # Listeners
//
// Policy says where listeners are, the best first; what joining brought is tried
// last. A listener that redirects sends the agent on to the next.
//
// # Files in the agent's folder
//
//	agent.key      the device's private key, PKCS #8 in PEM
//	keyring        the newest ring of the site's keys, as the site signed it
//	certificate*   the renewed certificate with its key, the next one, the key of that
//	identity.json  what joining brought: certificate, CA, the site's keys, listeners
//	policy.bin     the policy in force, as the site signed it
//	policy.proofs  the proofs of the tasks that it lists
//	users/         policies of people, NAME.policy; what is no small letter, digit,
//	               hyphen or underscore in NAME is % and two digits
//	record         tasks done, results not yet acknowledged
//	record.torn    what a power cut tore off its end last, kept for people
//	carrier.json   which carrier works, and why no better one
//	facts.shared   digests of the facts that the site has, so that changes alone are sent
//	status.json    where the agent stands, for people
//	lock           held while an agent runs here
//	watch/         what a quick scan looks at unless policy names folders
package agent
