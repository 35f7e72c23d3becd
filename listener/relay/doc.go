// Package relay is what a listener that runs apart asks of its site: to take its
// files, for the time, for policy, and on behalf of devices that join or renew.
// It asks by HTTPS, at the port of the site's own listener, and shows its
// certificate; PROTOCOL.md has the requests.
//
//	agents ── listener ── Drop ──> box ── Forwarder ──┐
//	             │                                    ├── Client ── HTTPS ──> Server ──> inbox, authority, policies
//	             └ Beacon, Policy, Join, Renew, StoreLog ┘
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
// one stays. Logs that a device collected come through as a stream, 16 at once; what
// is more is asked to come later. Who shows a certificate of the site, be it one that
// has ended, and is not let in, is told why; strangers are not.
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
// What waits is merged, for a file costs the site about as much as a hundred
// results: when 256 files of a kind, BOS left out, have come that the site cannot
// have seen, they become files of up to 5,000 records or 1 MiB, with the lowest of
// their numbers ([box.Spool.Merge]). A file that was handed to Send once, or was there
// when the forwarder was opened, is never changed. After a failure only what was
// handed over already is tried again, at most 2 s apart, so that the rest stays free.
//
// If the site has another file with a number, the counter is behind: somebody
// brought back an older copy of the box, or two listeners run with one identity.
// Then [Forwarder.Run] ends with [ErrBehind]; the listener asks for the next epoch,
// and [Forwarder.Renumber] writes what waits anew under it. What the site had taken
// already is then told twice, and nothing is lost.
//
// A file that the site refuses for good all the same (damaged, signed with another
// key, or a conflict right after a renumbering) is put aside in bad, with its
// reason beside it, and a status message to the site names it, for agents may have
// been told that what it holds is safe; those behind it go on. To bring one back,
// mend the cause and move the file from bad into the box: it is sent within ten
// seconds, or with the next file that is dropped.
//
// # Status messages
//
// Of component "relay": 3101 error, a file is put aside ([MessageAside]); 3102
// warning, files got new numbers ([MessageRenumbered]).
//
// # Questions
//
// A [Client] answers the listener's questions. Beacons for nobody in particular
// are kept for ten seconds. Policies are kept by their ETag and shared: the site
// sends a body once, and then only its name and what is the device's own. If the
// site is away, beacons are left out, and policy is what was sent last, if
// anything. For two seconds after a request has failed nothing is asked: a listener
// with many agents does not wait for each of them that the site is still away.
package relay
