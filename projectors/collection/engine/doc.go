// Package engine evaluates collections: a pure core without I/O. It holds the values of
// all devices, compiles the rules of all collections, and tells who is a member of
// what, in full, for changed devices only, for a question, or with reasons: always by
// the same code.
//
//	Put, Remove       records of devices come and go
//	Define            the definitions of all collections, compiled
//	Evaluate          who is a member, for all devices or some, of all collections or some
//	Members, Count    who was one at the last evaluation
//	Order, Inputs, Dependants   the graph of collections
//	NextTurn, Turning when GetDate() makes a difference next, and for whom
//	WhatIf            what other definitions would change
//	Explain           why a device is a member or is not
//	Query             whom a query selects
//
// # What is computed
//
//	members(C) = members(limit(C)) ∩ (direct ∪ queries ∪ includes) − excludes
//
// among the devices that are there. Exclude wins, no rule means no member, and a direct
// member outside the limit counts as soon as the device is in it. The root has all
// devices. What an evaluation does not compute counts as it was last.
//
// A query selects a device if one combination of its rows, one of each source, makes
// its conditions true: not false, and not unknown, which a comparison with NULL is and
// stays under not. So !=, not like, not in and not (…) select no NULL. Conditions on
// one alias hold on the same row; the same class under two aliases is two rows. A device
// without rows of an inner source is not selected; an outer source without rows, or
// without one that its on takes, is a row of NULLs, its ResourceID too. Texts are
// compared folded. Of a list one value has to pass the test, also != and not like; not
// (list = x) is true if none is x; an empty list is NULL. "X in (select …)" is unknown
// if nothing matches and a NULL is among the values. Instants are milliseconds.
//
// # How
//
// Columns. The number of a device is its place in all columns. A column has a
// dictionary of its different values and a code for each device. A class of which a
// device has two rows has columns by row instead, a row that several devices have is
// there once, and devices have lists of rows. A list of texts is one value of its column,
// made of codes of a dictionary of texts.
//
// Conditions. Equal conditions of all collections are one. A condition is computed once
// for each different value, 64 conditions of a column are the bits of a word, and these
// words are kept from one evaluation to the next: new values and new conditions alone
// are computed. So are the answers to "is this row so", which may be a formula on
// several columns. For 64 devices, the words of their codes are looked up, and turned
// around their diagonal: 64 answers of a device become 64 devices of an answer. The rows
// of a device are or-ed first.
//
// Nodes. The rest is and, or and not of 64 devices a word. Equal parts are one node.
// Collections come in the order of their graph. Devices are evaluated by chunks that fit
// into the processor's cache, chunks at the same time on all processors; they share
// nothing that is written, so there are no locks. To evaluate some devices, these are put
// side by side into chunks of the same kind: the cost is theirs, however many others
// there are. Who was a member before lies side by side for each 64 devices, for the
// same reason.
//
// # Why results are exact
//
// A rule is a function of one device: of its record, its memberships and the time. So
// to evaluate all that depend on what changed for the devices that changed comes to what
// evaluating everything comes to. What is not such a function is told apart:
//
//   - "X in (select Y …)" asks for values of all devices. The values are computed anew
//     by each evaluation of a collection that asks; if they are others than before, that
//     collection is evaluated for all devices, whatever was asked for, and those after it
//     also for the devices for which it changed.
//   - GetDate() makes a difference without an event. NextTurn and Turning tell when and
//     for whom.
//
// Truth has three values, yet only two are computed: whether a condition is true, and
// whether it is false, are two conditions, and "a and b" is false exactly if a is false
// or b is. So negations go down to the single tests, and what is left has none. Then
// "some combination of rows" goes inwards: some row has A or B if some has A or some has
// B, and if A asks other sources than B, some combination has both if some has A and
// some has B. Where a query does not come apart so into conditions on one row each
// (rows compared with each other, or over 256 cases), it is read word by word for each
// device, with all combinations of its rows; over 1,048,576 combinations of one device
// are refused, before anything changes. There is no approximation anywhere.
//
// # Time
//
// A comparison that GetDate() stands in is, for most, one of order: between what the
// value gives and what the time gives, rising with one and falling with the other. Then
// the values of one truth lie between thresholds, and a value turns at instants that are
// found by halving. DateDiff counts boundaries that are crossed, so these turn at
// midnight, or when the hour begins, and so on. Months are of different length: after
// DateAdd of months to GetDate(), midnight may turn any value, and all that is exact is
// within a day. Conditions of another form count as turning at each boundary of the
// smallest part that they use, a second at least.
//
// # Limits
//
// Numbers of devices up to [MaxDevice]; a query has up to 64 sources. Memory grows with
// the highest number, the different values, the rows of devices, and collections times
// devices by 1 bit.
package engine
