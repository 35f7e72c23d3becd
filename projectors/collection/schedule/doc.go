// Package schedule is when collections are evaluated in full.
//
//	Parse     text -> Schedule, or what is wrong with it
//	Next      the first instant after another one
//	String    the schedule in words
//
// A schedule is written in one of two ways, which the length tells apart. All times
// are UTC, and all instants are whole minutes.
//
// # Five fields
//
//	minute hour day month weekday
//	0      4    *   *     mon-fri
//
//	minute   0 to 59
//	hour     0 to 23
//	day      1 to 31, of the month
//	month    1 to 12, or jan to dec
//	weekday  0 to 7, or sun to sat; 0 and 7 are Sunday
//
// A field is a list of terms with commas between them. A term is *, a value, or a
// range a-b with a not above b; * and ranges may have a step: */15, 8-18/2. A step
// counts from the beginning of the range. Names are in any case; a range may end
// with sun. There may be several blanks between fields.
//
// Day and weekday are as cron has them. If one of them begins with * (also */2), both
// must hold; if neither does, one is enough: "0 4 1 * mon" is the first of every
// month and every Monday.
//
// # The original's token
//
// 16 hexadecimal digits are one token, up to 15 tokens may stand one behind the
// other; each adds its instants. Bits, from the highest:
//
//	63-58  minute of the start
//	57-53  hour of the start
//	52-48  day of the start
//	47-44  month of the start
//	43-38  year of the start, counted from 1970
//	37-22  minutes, hours and days of a duration: an evaluation has none, they are skipped
//	21-19  how it recurs: 1 to 5
//	18-1   depends on how it recurs
//	0      the start is UTC
//
//	1 none              18-1 are skipped
//	2 interval          18-13 minutes, 12-8 hours, 7-3 days; one of them is above 0
//	3 weekly            18-16 weekday, 15-13 every n weeks, 1 to 4
//	4 month by weekday  18-16 weekday, 15-12 every n months, 1 to 12, 11-9 which: 1 first to 4 fourth, 0 last
//	5 month by date     18-14 day, 0 the last one, 13-10 every n months, 1 to 12
//
// Weekdays are 1 Sunday to 7 Saturday. Bits that are left out here are 0, else the
// token is refused: one that says more than this must not be taken for less. So are
// more than one unit of an interval, and recurrence 6 (an offset behind a weekday),
// whose bits are published nowhere.
//
// A token whose lowest bit is 0 means the local time of the original's server. Here
// it means UTC too.
//
// The start is the first instant that may be; the time of day is always that of the
// start. Weeks are counted from the first such weekday at or behind the start,
// months from that of the start. A month that has no such day has no instant.
//
// # Never
//
// A schedule that has no instant at all, such as 31 February, is refused. One whose
// only instant is over is not: whoever takes it looks at Next.
package schedule
