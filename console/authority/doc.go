// Package authority is who decides what belongs to a site: it holds the site's
// keys and changes them, lets devices and listeners join, gives them numbers,
// epochs and certificates, renews these, and blocks and revokes. It is the only
// one that appends device.joined, device.blocked, device.unblocked, devices.imported,
// device.removed, token.created, token.revoked, certificate.issued, keys.changed,
// listener.granted and listener.revoked.
//
// # Keys
//
// Five keys are made at the first start, each in a PKCS #8 file of mode 0600 in a
// folder of mode 0700:
//
//	ca.key      ECDSA P-256, certificates of devices and of the site's own ports;
//	            ca.crt beside it is good for ten years
//	task.key    Ed25519, tasks and time beacons
//	policy.key  Ed25519, policy
//	head.key    Ed25519, checkpoints of the journal
//	result.key  ECDH P-256, the site's half of every device's result key
//
// site.json is written last, and names the site. Once it is there a missing key
// is an error: a new one in its place would lock out every device. The folder is
// all of the authority that a backup must hold; everything else is in the
// journal.
//
// # Changing keys
//
// Task keys, policy keys and CAs are in rings ([task.Keyring]), numbered from 1,
// the ring of the first day. [Authority.RotateKey] makes a key that takes over at
// once and a ring that trusts it and the old ones; [Authority.RetireKeys] makes
// one without the old ones. Each ring is signed by the task key that was in use
// before it, so that a device that was off is led from one to the next. A key that
// comes with ring N is in task-N.key, policy-N.key, or ca-N.key and ca-N.crt,
// durable before the ring is in the journal; the file that a crash leaves in
// between is used by the next try. [Authority.Check] says at the start if a key
// that is in use is in no file.
//
// What is signed by a task key and kept in the journal, tasks and cancels, is
// appended only if that key signs still ([Authority.Signs]): so whoever has seen the
// journal up to a ring has seen all that the keys before it signed, and nothing
// follows the ring that retires its key.
//
// A new CA signs devices at once, and nothing else: the site's ports and its
// listeners keep certificates of the oldest CA, which devices know that have not
// heard of the new one, until that is retired. Then what it signed is worth
// nothing, which is why it is refused while a device that may come back has no
// certificate of the new one. Listeners renew theirs after that, so they are
// known by their keys too ([Authority.AdmitListener], [Authority.ListenerCAs]).
//
// # State
//
// An Authority is a fold of the journal ([Authority.Apply]): devices by number,
// tokens, listeners. Give it to the journal's options before the journal is
// opened, then hand it the journal with [Authority.Attach]. What must hold when
// an event is appended (a use of the token is left, the number is the next one)
// is checked in the guard of the append, so that any number of requests at the
// same time cannot use one thing twice.
//
// # Joining
//
// A device shows a token and a certificate request made with a key of its own. It
// gets the next number, which is never given again, a random UUID, and a
// certificate whose URI names both ([wire.Identity]). Number, serial and expiry
// are durable before the certificate is signed. Who repeats a join with the same
// token and key, because the answer was lost, gets the same certificate once
// more: same device, same serial, same dates.
//
// # Imported and removed devices
//
// A record that an administrator imports ([Authority.Import]) gets the next number in
// the guard of its append, like a device that joins. No agent has joined for it, so it
// has no certificate, is not among [Authority.Devices], and cannot be blocked. Who joins
// with a token that names it ([Authority.CreateDeviceToken]) becomes that record, once,
// with its number and its id. All others become new ones, whatever their names
// ([WithNewcomers]).
//
// A device that is removed ([Authority.Remove]) is shut out like one that is blocked,
// for ever: it is among [Authority.Blocked], its certificates are not renewed, and its
// number is not given again. Its agent joins anew, as another device.
//
// # Renewal
//
// A certificate is good for seven days unless [WithValidity] says otherwise; the
// device asks for the next one ([Authority.Renew]) when two thirds are over, with a
// new key. That is on record before it is signed, and asking again with the same
// key is answered with the same certificate. One that has ended still serves to
// renew it, for [RenewGrace]. The first key stays the device's half of the result
// key for ever.
//
// Who asks is proven by the request itself ([wire.Renew]), not by the listener that
// hands it in: one that was taken over can hold requests back, and repeat them to
// no use, but gets no certificate for a key of its own. The proof is by a key on
// record for the device: that of its newest certificate or the one before, whose
// answer may have been lost, unless they ended longer than [RenewGrace] ago; or
// that of its join, for ever, which is on record even where a site was restored
// from a copy that is older than the others.
//
// That a certificate ends is not how a device is shut out, blocking is: it acts on
// the number, at once, on every listener, and refuses renewal. So listeners need
// not know serial numbers, which those that run apart could not, and nothing but
// the CA's signature tells them that a certificate is the site's: the CA signs
// only what is on record.
//
// # Listeners that run apart
//
// They join with a token made for their name ([Authority.CreateListenerToken]),
// which also says for which devices they may speak ([Authority.ListenerScope]).
// Name, epoch and certificate are durable together. A new token for the same name
// lets another machine take its place; the one before is let in no more.
// [Authority.RevokeListener] is for ever: files of all its epochs are refused, its
// certificates too, and its name is not given again. Agents that still connect to
// it are safe all the same: it cannot sign anything that they do.
//
// What is refused comes back as a [*Refusal], with an HTTP status and a sentence
// for people. A token that is unknown and one whose secret is wrong are told the
// same, so that ids cannot be tried out.
package authority
