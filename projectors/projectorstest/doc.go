// Package projectorstest is for tests of views.
//
//   - [Run] is the suite that every view passes: the same events give the same
//     rows, however they are cut into pages and whenever the process was
//     stopped; a view that is deleted or rebuilt comes back the same; readers see
//     whole events and never go back.
//   - [Start] runs views over a journal in memory, for tests of what one view
//     makes of its events.
package projectorstest
