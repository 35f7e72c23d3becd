// Package projectorstest is for tests of views.
//
//   - [Run] is the suite that every view passes: the same events give the same
//     rows, however they are cut into pages and whenever the process was
//     stopped; a view that is deleted, rebuilt or rolled back comes back the same;
//     readers see whole events and never go back; as of every event the view is
//     what it was right after it.
//   - [AsOf] compares what a reader said right after each event with what one of
//     the past says.
//   - [Start] runs views over a journal in memory, for tests of what one view
//     makes of its events.
package projectorstest
