// Package filter picks events out of a history: those of some kinds, of an actor,
// those that concern a device, those that touched an operation. It is a pure
// function of one event; where to begin and end is for whoever reads the journal.
//
// All that a [Filter] asks for must hold. What each asks for:
//
//   - a kind, or all kinds that begin with a prefix that ends with a dot;
//   - an actor, by subject or by issuer and subject, or the listener whose file
//     the event was made of;
//   - a device: that it joined, was blocked or unblocked, what was discovered of
//     it, an entry of a presence report, a row of results, an operation that it is
//     a target of, a wave that it is in, a certificate of its, a message of a
//     listener or of the site about it. What an event says of all devices of
//     a listener at once (that it stopped, a report that leaves a device out) is
//     not said of one, nor is the end of an operation. Also that it became a direct
//     member of a collection or ceased to be one, and that it entered or left one;
//   - an operation: its request, its ends, rows of its results, and the request of
//     another operation that repeats it;
//   - a collection: its definition, its windows, that its evaluation was asked for,
//     what an evaluation made of it, and pushes to its members.
//
// What an event of an unknown kind, or of a later version, is about cannot be
// told: it is found by kind and by actor only.
//
// # Cost
//
// An event is skipped by its kind before anything else of it is read. Of the
// others the envelope is read in place; presence reports and results, which hold
// thousands of devices, are walked in place too. Only what is wanted, and what is
// rare, is decoded.
package filter
