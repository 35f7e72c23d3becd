// Package salvage makes a new journal of what can be proved of a damaged one. It
// changes nothing in the old one.
//
// What can be proved is what a survey of package journal/offline finds. In the new
// journal every event that was found has the number, the time and the bytes that
// it had. In the place of each that was not is an event.lost, so that no number
// means anything else than it did, and none is given out twice. Pages before the
// first of those are as they were, to the hash; those behind it are chained anew,
// since a page holds the hash of the one before. At the end a journal.salvaged
// lists what is missing, and holds the last checkpoint of the damaged journal: with
// it, and the old files, everybody can check what was copied.
//
// The new journal has a name of its own. Checkpoints and proofs of the old one hold
// for that, not for this; so the old one is to be kept.
package salvage
