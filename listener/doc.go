// Package listener serves a site's agents: it knows who is signed in, hands each
// device the tasks that are open for it, and reports as files what the devices
// say. It holds no key that signs tasks and writes to no journal: tasks come to
// it through a [Feed], and what it learns leaves through [Config.Drop].
//
//	  OpenOperation, ReleaseWave, EndOperation, ChangeKeys, BlockDevice, Whole
//	     feed ─────────────────────────────────────────┐
//	                                                   v
//	agent ── TLS ── accept ── sign-in ── session <── table
//	                                      │    └──── presence ──> .BOS
//	                                      ├──── results ────────> .BTS
//	                                      ├──── inventory ──────> .DDR
//	                                      └──── status ─────────> .SVF
//
// # Promises
//
//   - The table is all that a listener knows, and it comes whole out of the feed:
//     a restart forgets nothing. Before the feed has said [Whole] nobody is
//     signed in; who comes early waits 10 s at most and is told to come later.
//   - A session meets every open operation once: at its device's release or at the
//     sign-in, whichever is later. It is sent the task if the device is a target,
//     has not answered finally, and now is not before not-before and before
//     deliver-by; the latter is decided anew when the task is written. What has
//     no final answer is sent again at the next sign-in.
//   - An operation that is held is released to whom a [ReleaseWave] names, each at
//     [ReleaseWave.Moment] or at not-before if that is later, and at most 20 ms
//     after it: never early, the same at every listener. The first wave that
//     reaches a device counts. If the feed tells the operation again without
//     holding it, everybody is released.
//   - Priority is the order of what waits for one agent, at the sign-in as well;
//     within one priority the oldest operation goes first at the sign-in, and then
//     whatever is released first. Answers, cancels and keyrings go before tasks.
//   - An operation whose deliver-by is over is forgotten, for the feed tells no end of
//     one that all its targets have answered.
//   - An operation that ends is sent to nobody any more. If it ends with a cancel,
//     whoever was sent the task, or listed it at the sign-in, and has not answered
//     finally gets that: at once, behind a task that is being written, and at every
//     sign-in that lists the operation, until it is over. At most 10,000 cancels
//     are kept; what is over soonest goes first.
//   - Every session gets each keyring behind the one that it named once, in order,
//     behind the welcome and before any task. A ring that is not the next one is
//     not handed out. Who signed it is not checked here, for agents do.
//   - A request for a new certificate never keeps a session waiting: 8 are under
//     way at once and 1,024 wait. What is too much, more than 5 of one device in
//     10 minutes too, and what cannot be asked of the site gets no answer.
//   - Every task that is written is reported as sent; no result is in the files
//     before the "sent" of its task.
//   - A result or an inventory is acknowledged once Drop has returned. While Drop
//     fails it is tried again (50 ms to 5 s apart), as many rows as
//     [Limits] allow are held, and then no more are read: what an agent has not
//     got an acknowledgement for it keeps.
//   - A device has one session. A newer one displaces the older; in the presence
//     it is online all the while, since a later moment: "replaced" is said only of a
//     device that went to another listener, and by the site.
//   - Every end of a session is reported with its reason: signed out, closed,
//     timed out (1.5 keep-alive intervals of silence), blocked, listener stopped.
//     Changes leave at once, at most one file per 250 ms. A file says who is online
//     in full at the start and then every 5 minutes to an hour ([Config].SnapshotEvery):
//     the longer nothing went wrong, the less often.
//   - A blocked device is cut at once and refused from then on, with a session
//     ticket as without one.
//   - An agent that does not read, or floods, costs only itself: its queue is
//     bounded (4,096 frames, 2 MiB), a write takes 10 s at most, and what it may
//     send in a second is capped. In a parked session each KiB that is read beyond
//     messages counts as one, of TLS records that hold little. One that asks for
//     other keys in the middle (KeyUpdate with an answer) is closed and signs in anew,
//     and so is one that has sent 20 KiB of records that hold nothing ([ParkTLS]); up to
//     4 KiB of them it keeps its session in any case. crypto/tls, by which agents
//     speak, does neither.
//   - A stop is in the order that [Listener.Serve] tells.
//
// # What a session costs
//
// A session over TCP is parked once it has begun (package poll): it has no
// goroutine, and buffers only while something is read or written. What is left is
// the state of crypto/tls, the device's certificate and some 600 bytes of our own.
// Workers, as many as processors and up to 32 while turns take long, give sessions their
// turns, in each of which at most 64 messages are handled. Turns come in order: a push
// goes out before its answers are read. A session that sends too fast, or for which
// there is no room, is not read for a while. Policies and beacons, for which the site
// may have to be asked, are fetched aside; their session is read on when they are there.
// Time-outs come up to 250 ms late. Over HTTPS, and where the system has neither epoll
// nor kqueue, a session has two goroutines.
//
// The results of a file are acknowledged together: what they say to one agent is written
// at once. When a storm of sign-ins is over, its memory is given back to the system. While
// 1,000 agents or more get a task at once, and 5 to 10 s beyond, the garbage collector of
// a process that has Go's usual percent may leave up to 64 MiB of garbage.
//
// With [ParkKeys] two keys and two counters take the place of the state of crypto/tls
// and of the certificate (package tlsrecord, which says what that relies on). An agent
// that asks for other keys in the middle of a session (KeyUpdate), and one that has
// sent or got 2^24 records, is closed and signs in anew. Where it is not possible the
// state of crypto/tls is kept; that is logged once.
//
// An agent that breaks TLS itself gets an alert, and is told of as one that breaks the
// protocol.
//
// # Who is let in
//
// TLS 1.3, the protocol's ALPN name, and a certificate of the site that names a
// device ([wire.IdentityOf]); which CAs vouch for it is asked at every handshake.
// Refused connections are counted per minute, address and reason, and said in the
// status file.
//
// That an agent has the key of its certificate is proved in every full handshake. That
// a CA of the site vouches for the certificate is verified once: the listener
// remembers a hash of it and from when until when all of the chain is valid, for twice
// as many certificates as there may be sessions, until the CAs change. Only what a CA
// signed directly is remembered, for that is the same whatever else is shown. A listener
// in the process of whoever issues the certificates checks no signature of one that is on
// record there ([Config].Issued), and remembers it once its key is proved.
//
// Who was here gets a TLS session ticket, one in each handshake, which is good for 24
// hours at the port that gave it. That of the TCP port holds, encrypted, who the device
// is and the hash of its certificate, which a resumed session then neither parses nor
// keeps; if others were shown with it the ticket holds the certificates. Its keys are
// in memory alone: after a restart agents shake hands in full, as in the first storm. A
// ticket is worth what its certificate is worth when it is shown: that must still be
// remembered, under the CAs of that moment, and not have ended, or there is a full
// handshake. The blocks count as ever.
//
// What strangers cost is bounded, on both ports alike, and falls on them. An address
// is one of IPv4, or an IPv6 network of 64 bits.
//
//   - A lobby has places for as many as [Limits] allow, in all and of one address. Who
//     finds none waits, in a line of its address, and the lines are served in turn: a
//     fleet that comes back at once is served to the last, also behind one address, and
//     a crowd keeps nobody else waiting for more than its turn. If somebody wants a
//     place, whoever has one and has kept the listener waiting the longest, for more
//     than a second, or three once it has begun to shake hands, is cut. As many may wait as can be served in 8 seconds, by what a
//     handshake was found to cost (but 64, and no more than Limits.Sessions): beyond
//     that the last of the longest line is reset, for it would give up before its turn,
//     and comes again as agents do.
//   - The last descriptors of the process, a 16th or 256 if that is less, are for who is
//     signed in, for files and for administrators. Newcomers that would take them are
//     reset, and so are those for whom there is none at all, instead of being left to
//     wait; when there are descriptors again, newcomers are served again.
//   - Handshakes are computed by half of the processors at most, none while its peer
//     is waited for. The rest is there for who is signed in.
//   - Each address has a budget of connections that end without it being known whose
//     they are. A sign-in, a certificate of a device or of a listener on the HTTPS
//     port, or a device that joins gives back what it took, so that a whole fleet may
//     share one address. Breaking off a handshake, sending what is no TLS, or too
//     much, costs five times as much. Who has used the budget up is served while there
//     is no more than 100 connections a second of such, and reset else. What an
//     address owes is bounded: with the defaults it is over within half a minute.
//   - In a handshake 64 KiB may be sent, and 128 KiB after it by who is not known: a
//     join request has 64 KiB at most. A frame takes memory as it comes, not as it
//     claims.
//   - Who shakes hands over HTTPS, and whose first request does not come in time, is
//     counted as refused.
//   - A device signs in over TCP 10 times at once and once more each second; then it is
//     told to come later. It gets 30 policies at once and one more each second; then
//     they come later. Over HTTPS it connects 60 times at once and twice more each
//     second; then, or if it is blocked, its address pays as for a stranger.
//
// What a handshake costs is measured (a moving mean of the time that one computes), and
// agents are told by it over how long to spread a reconnect: so many agents as there
// may be ([Config].Agents, or as were here at once) divided by the sign-ins a second
// that this machine can do, at least Config.Spread and 5 minutes at most.
//
// Who is refused is told so and when to come back once TLS stands: by close
// (overloaded), or by 429 or 503 and Retry-After. Before that nothing can be said.
//
// On the HTTPS port a certificate that has ended serves to renew it, for 90 days,
// and for nothing else ([wire.RenewPath]); one that names a listener is for
// [Config].Routes to check. On either port the listener hands on who asks for a
// certificate, and the proof that the device made; the site goes by the proof alone.
//
// The HTTPS port has two more ways in ([carrier]), for devices whose network lets
// nothing else out: who has a certificate of a device there begins a session as
// over TCP, with the same checks at the same places; who has none gets 401 and is
// capped as those who join. A connection counts among the 512 of strangers until its
// handshake says whose it is, and from then on among those of devices (8 of one
// device, twice Limits.Fallback of all) or of listeners that run apart
// ([Config].Outpost; 64 of one, 1,024 of all), so that neither starves the other. A device may
// begin ten sessions at once and one more each second; a session is polled at most
// 200 times a second. The timeouts of the HTTP server bound what comes before that
// and every answer; a request that waits has its own (25 s and 30 s more), and a
// WebSocket is the session's alone. Presence says which carrier it is. When the
// listener stops the port is closed last, for the last words are fetched there.
//
// # Status messages
//
// The listener says these of itself, with component "listener"; one about the
// same device, or about none, at most once a minute. The numbers never change
// their meaning.
//
//	3001 error    files cannot be dropped (the cause)
//	3002 info     files can be dropped again
//	3003 warning  the feed broke and is read again (the cause)
//	3004 error    an operation is not served (the cause)
//	3005 warning  tasks were sent that no file says so of: too much waits for the disk
//	3006 info     a session ended because its device was blocked
//	3007 warning  a session ended because the agent did not read
//	3008 warning  an agent broke the protocol (how)
//	3009 warning  as many devices are signed in as the listener takes
//	3010 error    a keyring is not handed out: it is not the next one, or not one (the cause)
//	3011 error    certificates cannot be renewed now (the cause)
//	3012 warning  an agent asks for a new certificate again and again
//	3013 warning  an address connects again and again and nobody signs in
//	3014 warning  more agents come than can be served before they give up
//	3015 error    the process has no file descriptors left for newcomers (how many there are)
package listener
