// Package advice looks for what is worth a second look in the collections of a
// site: definitions, queries, schedules and maintenance windows that do something
// else than they seem to, do nothing, or cost more than they need.
//
//	Advise   Input -> all advice, what matters most first
//	Codes    the codes that there are
//
// It is a pure function of plain data. It evaluates nothing: who is in a collection,
// whom a query selects and how long cycles took is told to it, and where nobody
// knows it keeps silent. Each [Advice] says what there is, why it matters and what
// to do, with commands or a corrected query to be taken over; nothing in it is done
// by itself. Several places in one query to which the same applies are one advice,
// and its position is that of the first.
//
// # Schedules
//
//	A101 note     more than [SameMinute] collections are due in the same minute of the next
//	              week; a time is proposed for each, limiting collections first
//	A102 warning  a collection is always evaluated shortly before one that it depends on
//	A103 note     a collection is evaluated in full more than hourly and takes four levels
//	              or more of collections along
//	A104 warning  a collection has a schedule, but its limiting one has none, is not
//	              incremental, and is taken along by no schedule above it
//	A105 warning  cycles take longer than there is between them
//	A106 warning  more collections are incremental than the cycles that were measured
//	              have time for
//	A107 note     a collection is incremental, but nothing uses it, nor any that depends on it
//	A108 warning  a schedule never comes again, or cannot be read
//
// A106 reckons from the slowest tenth of the cycles per collection, and there is no
// fixed number of collections that is too many.
//
// # Members and references
//
//	A201 note     direct members outside the limiting collection
//	A202 note     an exclude that removes nobody
//	A203 note     an include that adds nobody
//	A204 warning  a collection without members limits others
//	A205 note     more than [MaxDepth] steps from the root
//	A206 warning  a reference to a collection that is not there
//	A207 warning  a collection that cannot be evaluated: a query that cannot be read, a
//	              cycle, or what the evaluator says
//	A208 note     collections with the same limiting collection and the same rules
//
// Includes and excludes are judged in their order, so that of two that make each
// other useless only the first is. Where it is not known whom the queries select,
// an exclude is only said to be useless if it is for any answer.
//
// # Queries
//
//	A301 warning  != or not like, or not in on a class of which a device can have several
//	              rows, or on a property of several values: true of any other one.
//	              Proposed is not in with a sub-select, or not before the condition.
//	              Left alone if another condition says which row is meant
//	A302 warning  or, one side of which asks nothing of a class that is joined by inner join.
//	              Proposed is left join
//	A303 warning  <, <=, > or >= between a text and a number or a version. Proposed are
//	              patterns that compare number by number
//	A304 note     an underscore in a pattern that is probably meant as one. Proposed is [_]
//	A305 note     two queries of a collection that ask the same
//	A306 warning  conditions on one column that contradict each other: no device can be
//	              selected. Proposed is or, if they are values
//	A307 note     = or in with texts that no device has
//
// A305, A208 compare queries as they are printed, without their lists and folded.
// A306 looks at one column at a time, in and and or, as far as values, bounds, NULL
// and the beginnings of patterns go; what it does not find may contradict itself
// all the same.
//
// # Windows
//
//	A401 warning  a window too short for work of the default length, or for work that waits
//	A402 note     a disabled window
//	A403 warning  a window that never opens again
package advice
