// Package journaltest is for tests of and with journals.
//
//   - [Run] is the suite that every implementation of journal.Journal passes.
//   - [Memory] is a journal without a disk that fails when it is told to: for
//     tests of whoever appends or follows.
//   - [Bubble] runs a test under fake time in which the real journal, on embedded
//     JetStream, works too.
//
// Memory shares its engine (journal/commit) with the real journal; what differs
// is where the pages are. So what a test sees with it, order, grouping, guards,
// errors, is what happens in production.
package journaltest
