// Package relay is what a listener that runs apart asks of its site: to take its
// files, for the time, for policy, and on behalf of devices that join or renew.
// It asks by HTTPS, at the port of the site's own listener, and shows its
// certificate; PROTOCOL.md has the requests.
//
//	agents ── listener ── Drop ──> box ── Forwarder ──┐
//	             │                                    ├── Client ── HTTPS ──> Server ──> inbox, authority, policies
//	             └──── Beacon, Policy, Join, Renew ───┘
//
// # The site's side
//
// A [Server] is a handler for all paths under [Prefix]. Whoever asks must have a
// certificate that names a listener of the site which is admitted; joining alone
// goes by a token, with a cap on how often. A listener gets files taken that have
// its name and are signed with a key that it was granted, and may ask about the
// devices that it speaks for. A renewal brings the device's own proof
// ([wire.Renew]), without which it is refused: the listener alone gets no
// certificate of a device. Bodies, uploads under way and requests a second are
// bounded. A file is answered for when it is durable in the site's inbox; the
// files of a request are put there in their order, and what precedes a refused
// one stays.
//
// # The listener's side
//
// A [Forwarder] owns the listener's box. What the listener drops is durable there,
// and is sent on in claim order: by kind (BTS, BOS, SVF, DDR), then by epoch and
// number. It is removed after the site has said that it has it, and not before, so
// the site gets every file at least once; a file that the site has already is
// taken again without effect. While the site is away, the box is the queue. It has
// a quota: when that is used up Drop fails, the listener takes no more from agents
// than it can hold, and agents keep what they have.
//
// The newest file of each kind that was sent stays in the box (in work), so that
// the numbers go on after a restart; if the box has none of the epoch, the counter
// is gone, and the site must grant another epoch.
//
// A file that the site refuses for good (damaged, signed with another key, or the
// number has another file) is put aside in the box, with its reason; those behind
// it go on.
//
// A [Client] answers the listener's questions. Beacons for nobody in particular
// are kept for ten seconds. Policies are kept by their ETag and shared: the site
// sends a body once, and then only its name and what is the device's own. If the
// site is away, beacons are left out, and policy is what was sent last, if
// anything. For two seconds after a request has failed nothing is asked: a listener
// with many agents does not wait for each of them that the site is still away.
package relay
