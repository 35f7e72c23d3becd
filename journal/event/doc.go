// Package event is every kind of thing that can happen in a bugle site: the
// envelope that all events share ([Event]), one payload type per kind, and the
// bytes that they are in the journal.
//
// FORMAT.md beside this file describes the bytes. They are a contract: golden
// files of every version stay in testdata, a change is a new version of the
// payload, and an event of a kind or version that this bugle does not know is
// kept as it came ([Unknown]).
//
// The table in kind.go names for each kind the one component that may append it
// ([AppenderOf]).
package event
