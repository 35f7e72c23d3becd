// Package outpost is a listener that runs apart from its site: it makes the
// parts, joins them, and ends them in the order of the data.
//
//	                   agents
//	                TCP │ HTTPS
//	                    v
//	feed ──────────> listener ── Drop ──> DATA/box ──> forwarder
//	 ^                  │                                  │
//	 │                  └ beacon, policy, join, renew, logs┤
//	 │ NATS, TLS                                           │ HTTPS
//	 └──────────────────────  site  <──────────────────────┘
//
// # The folder
//
//	DATA/keys/tls.key         ECDSA P-256, of its certificate
//	DATA/keys/box.key         Ed25519, signs its files
//	DATA/keys/listener.json   what the site said when it joined, and since
//	DATA/box/                 files that the site has not taken yet
//	DATA/feed                 what the site said last, for a start without it
//	DATA/run/addresses.json   where it listens
//	DATA/run/status.json      how it does, every five seconds
//
// Keys and listener.json make the listener; the box holds what agents were told is
// safe. Nothing here is needed to begin anew with a new token and another name.
//
// # Without the site
//
// To join and to start for the first time the site must be there. After that the
// listener serves without it for as long as the quota of its box allows: tasks that
// are open are sent to who signs in, results and presence are kept. Agents get no
// time beacons and no new policy meanwhile; a task that has a deadline waits on a
// machine that was started since the site went away, for it does not know the time.
//
// A listener that is started while nobody answers at the site serves agents by what
// the site said last, if it was heard within [feed.SavedFor], 24 hours: devices that
// were blocked by then stay so, those that were blocked since are let in until the
// site is back. With older news, or if the site answers and does not let it read, it
// signs nobody in until it can read the feed. That is also so if its certificate has
// ended, or its box asks for another epoch: both need the site.
//
// # Epochs
//
// The site grants an epoch at the join. It is kept over restarts, for the box keeps
// the last number of each kind. The site grants the next one if the box was lost;
// if box.key was, for the site knows one key for each epoch; and if the box is an
// older copy, whose numbers the site has already. The latter shows when the site
// refuses a file, and may be told by [Outpost.Failed] as [ErrAgain]: the listener is
// closed and opened again, and what waits in the box gets numbers of the new epoch.
// What the site refuses for good all the same is put aside in DATA/box/bad, with the
// reason in a file beside it and in a status message at the site (3101). To bring it
// back, move the file to DATA/box; it is sent within ten seconds.
//
// # A listener that was off for long
//
// A certificate that has ended is renewed before anything else is done, if the site
// still takes it for that (90 days) and the listener was not revoked; while the site
// is away the listener waits for it, for agents would refuse that certificate too.
// After that time opening it fails with [ErrExpired], which says how to join again:
// with a new token for its name. A token that was given is used for that without
// asking. Then the listener keeps its folder and its name, begins the next epoch, and
// sends what waited in its box.
package outpost
