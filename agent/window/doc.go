// Package window is when a machine may be interrupted: maintenance windows, their
// recurrence, and whether a piece of work fits.
//
//	Parse          JSON -> List, or which window is wrong and why
//	List.Next      the window that is open or opens next, overlapping ones merged
//	List.Fits      may work of this kind and length begin now? else when, or never, and why
//	List.Between   all windows of some weeks: a calendar
//	ParseEvery     a recurrence in words, such as "month on second tue +2"
//
// # A window
//
//	{"name": "patch night", "enabled": true, "kind": "updates", "utc": false,
//	 "start": "2026-11-28T01:00", "minutes": 180,
//	 "every": {"unit": "month", "n": 1, "nth": "second", "weekday": "tue", "offset": 2}}
//
//	name     1 to 128 bytes
//	enabled  a window that is not is as none (default true)
//	kind     general (default), updates, task-sequences
//	utc      start is UTC; else (default) it is the wall time of the machine
//	start    date and time to the minute. The first window opens there or later, at this time of day
//	minutes  how long it is open, 5 to 44,640 (31 days)
//	every    when it comes again; left out: once
//
// The forms of every; n is a step, 1 if it is left out:
//
//	{"unit": "day", "n": 2}                              every second day, counted from start; n to 366
//	{"unit": "week", "n": 2, "on": ["sat", "sun"]}       in every second week (from Monday on, that of
//	                                                     start counts); n to 52; without "on": on the
//	                                                     weekday of start
//	{"unit": "month", "nth": "second", "weekday": "tue", "offset": 2}
//	                                                     first to fourth or last, and up to 27 days later,
//	                                                     in the next month if need be; n to 12 for months
//	{"unit": "month", "day": 31}                         on that day; a month that has no such day has no
//	                                                     window ("last" is for the end of the month)
//	{"unit": "month", "day": "last"}                     on the last day
//
// Months are counted from that of start; with an offset it is the month of the
// weekday that counts, not the one the window may fall into.
//
// # Time
//
// A UTC window opens at the same instant of every day, whatever clocks do. A local
// one opens at the same wall time: one that would open in an hour that is skipped
// opens when the clocks are put forward; one in an hour that comes twice, the
// first time. Minutes are minutes that pass: a window of 60 is open for 60, also
// in the nights in which clocks change. It opens at the first instant and is
// closed at the last (half open).
//
// Windows that overlap or touch are one window, whatever the recurrence of each
// ([Span]); one that never closes is cut 31 days and more behind the moment in
// question.
//
// # What counts for whom
//
// Updates keep to the updates windows if there are any, else to the general ones;
// task sequences likewise; everything else keeps to general windows. If there is
// no window that counts, any time is good. A window that is over counts: whoever
// has no other may never begin.
//
// Work may begin if what is left of the window is more than it needs: its longest
// run time and [Restart], see [Need].
package window
