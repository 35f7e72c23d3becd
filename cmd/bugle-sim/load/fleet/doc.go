// Package fleet puts a site of bugle under the load of many light agents: it is the
// [load.Target] for bugle.
//
//	                 join, once          sign in, answer, keep alive
//	identities ───────────────┐        ┌── agents (a goroutine each, reading)
//	                          v        v
//	            HTTPS port of site   listeners: the site's own, and those that run apart
//	                          ^
//	API: token, push, look at the operation, metrics
//
// # What a light agent does
//
// It signs in as a real one does: TLS 1.3 with its certificate, a sign-in message, a
// welcome. If its newest result was not acknowledged it sends that again. A task it
// answers at once with the one result that the site needs to know
// it done, succeeded, with the code that proves that it comes from this device. Every
// minute ([Config].KeepAlive) it says that it is there. It resumes its TLS session
// when it returns.
//
// It decodes every message and checks none: neither the server's certificate nor the
// site's signatures. It asks for no policy, has no record, and sends one result for a
// task where a real agent sends three (delivered, running, and how it ended).
// Key exchange is over P-256, as for the other servers that package peer measures; real
// agents also mix in ML-KEM-768, see [Config].Hybrid.
//
// Agents are spread over addresses of the loopback network, for a listener bounds
// what one address may do, and an address has a bounded number of ports.
//
// # Identities
//
// The agents are devices of the site, joined with a token like any other. Who they are
// is in one file, Dir/identities, with mode 0600, so that a later run starts at once.
// Its first line is what they share, each further one an agent; identity.go has the
// fields. It holds private keys that are good for nothing but to play these devices.
//
// # The site
//
// [Open] starts a site of its own in Dir/site, and listeners that run apart in
// Dir/listener-N, all on one processor if that is named, or uses a site that runs
// ([Config].Place). After agents have joined a site that it started, it starts it
// again: the memory that joining took is none of the agents'. What the processes say
// goes to Dir/NAME.log.
//
// # Hands
//
// A process may open only so many files, so the agents' connections can be held by
// other processes of this program ([Config].Hands, [ServeHand]). Orders go to a hand's
// standard input and news come from its standard output, batches in encoding/gob:
// the two are the same program. Times of events are then by the wall clock.
//
// # The API in a storm
//
// What a storm leaves of the API is asked by a process of its own
// ([Config].ProbeCommand, [ServeProbe]), for this one is busy with its agents: it lists
// one device every 50 ms, one question at a time, over one HTTPS connection that it
// opens before the storm. Where that is permitted it is ahead of this process for a
// processor (nice −5 on Linux). So a figure is the time of the API and not of the
// queue of goroutines here, but still that of a machine on which both run.
//
// An answer counts once the operation's view has it, which is asked every 20 ms over
// the API; so counting errs to the long side by that and the time of a call.
package fleet
