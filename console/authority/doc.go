// Package authority is who decides what belongs to a site: it holds the site's
// keys, lets devices join, gives them numbers and certificates, lets listeners
// sign files, and blocks. It is the only one that appends device.joined,
// device.blocked, device.unblocked, token.created, token.revoked and
// listener.granted.
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
// more: same device, same serial, same dates. A certificate is good for one year
// unless [WithValidity] says otherwise; renewal over the channel is not part of
// this version, so a device joins again when its certificate ends.
//
// What is refused comes back as a [*Refusal], with an HTTP status and a sentence
// for people. A token that is unknown and one whose secret is wrong are told the
// same, so that ids cannot be tried out.
package authority
