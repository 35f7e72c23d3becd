// Package listener serves a site's agents: it knows who is signed in, hands each
// device the tasks that are open for it, and reports as files what the devices
// say. It holds no key that signs tasks and writes to no journal: tasks come to
// it through a [Feed], and what it learns leaves through [Config.Drop].
//
//	            OpenOperation, EndOperation, BlockDevice, Whole
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
//   - A session meets every open operation once: at its release or at the
//     sign-in, whichever is later. It is sent the task if the device is a target,
//     has not answered finally, and now is not before not-before and before
//     deliver-by; the latter is decided anew when the task is written. What has
//     no final answer is sent again at the next sign-in.
//   - Every task that is written is reported as sent; no result is in the files
//     before the "sent" of its task.
//   - A result or an inventory is acknowledged once Drop has returned. While Drop
//     fails it is tried again (50 ms to 5 s apart), as many rows as
//     [Limits] allow are held, and then no more are read: what an agent has not
//     got an acknowledgement for it keeps.
//   - A device has one session. A newer one displaces the older; in the presence
//     it is online all the while, since a later moment.
//   - Every end of a session is reported with its reason: signed out, closed,
//     timed out (1.5 keep-alive intervals of silence), blocked, listener stopped.
//     Changes leave at once, at most one file per 250 ms; every 5 minutes a file
//     says who is online in full.
//   - A blocked device is cut at once and refused from then on.
//   - An agent that does not read, or floods, costs only itself: its queue is
//     bounded (4,096 frames, 2 MiB), a write takes 10 s at most, and what it may
//     send in a second is capped.
//   - A stop is in the order that [Listener.Serve] tells.
//
// # Who is let in
//
// TLS 1.3, the protocol's ALPN name, and a certificate of the site that names a
// device ([wire.IdentityOf]). At most [Limits] handshakes are under way; more
// wait in the backlog. Connections of one address that have not signed in are
// capped, IPv6 networks of 64 bits counting as one. Refused connections are
// counted per minute, address and reason, and said in the status file.
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
package listener
