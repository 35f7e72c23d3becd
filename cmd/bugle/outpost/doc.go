// Package outpost is a listener that runs apart from its site: it makes the
// parts, joins them, and ends them in the order of the data.
//
//	                   agents
//	                TCP │ HTTPS
//	                    v
//	feed ──────────> listener ── Drop ──> DATA/box ──> forwarder
//	 ^                  │                                  │
//	 │                  └── beacon, policy, join, renew ───┤
//	 │ NATS, TLS                                           │ HTTPS
//	 └──────────────────────  site  <──────────────────────┘
//
// # The folder
//
//	DATA/keys/tls.key         ECDSA P-256, of its certificate
//	DATA/keys/box.key         Ed25519, signs its files
//	DATA/keys/listener.json   what the site said when it joined, and since
//	DATA/box/                 files that the site has not taken yet
//	DATA/run/addresses.json   where it listens
//	DATA/run/status.json      how it does, every five seconds
//
// Keys and listener.json make the listener; the box holds what agents were told is
// safe. Nothing here is needed to begin anew with a new token and another name.
//
// # Without the site
//
// To join, to start for the first time, and to begin the feed, the site must be
// there. After that the listener serves without it for as long as the quota of its
// box allows: tasks that are open are sent to who signs in, results and presence
// are kept. Agents get no time beacons and no new policy meanwhile. A listener that
// is started while the site is away waits for it before it signs agents in.
//
// # Epochs
//
// The site grants an epoch at the join. It is kept over restarts, for the box keeps
// the last number of each kind; if the box was lost, the site grants the next one.
package outpost
