// Package wql reads the query language of collections: the part of the original's WQL
// that asks something of one device at a time.
//
//	Parse          text -> Query, or an Error with line, column and a sentence
//	Query.String   Query -> text, from which Parse reads the same tree; Query.Print a condition
//	CompileLike    pattern -> Pattern, whose Match takes folded texts
//	Fold           the one folding by which texts are compared
//	Part           arithmetic with dates: Diff, Add, Of, and Turn, when a Diff is reached
//	SubstringOf    what substring is
//
// Parse checks as well: in a [Query] all names are known, all types agree, and
// everything can be evaluated. What cannot be is an error, never an empty answer.
//
// # The language
//
//	select [distinct] LIST from CLASS [[as] NAME] {JOIN} [where CONDITION] [order by …]
//
//	LIST       * | ITEM {, ITEM}; ITEM is PROPERTY, CLASS.PROPERTY or CLASS.*
//	JOIN       [inner | left [outer]] join CLASS [[as] NAME] on CONDITION
//	CONDITION  and, or, not, ( ), and between them
//	           OPERAND = | != | <> | < | <= | > | >= OPERAND
//	           OPERAND [not] like "PATTERN"
//	           OPERAND [not] in (CONSTANT {, CONSTANT})
//	           OPERAND [not] in (select …)
//	           OPERAND is [not] null
//	OPERAND    PROPERTY | CLASS.PROPERTY | CONSTANT | GetDate() | FUNCTION(…)
//	CONSTANT   "text" | 'text' | “text” | 8 | -8 | 2.5 | True | False
//	FUNCTION   upper(T) lower(T) substring(T, FROM, LENGTH) DatePart(PART, D)
//	           DateDiff(PART, D, D) DateAdd(PART, N, D)
//
// Case matters nowhere: not in words, names or texts. not binds closer than and, and
// closer than or. The answer is a set of devices, so distinct, the list and order by
// change nothing in it; their names are checked.
//
// # Classes
//
// A class is one of the schema, or SMS_CM_RES_COLL_ and the id of a collection: its
// members, with ResourceID as the only property. Query.Uses has all of them, also
// those of sub-selects. ResourceID is the number of the device; some classes call it
// MachineID too.
//
// A property without a class is that of SMS_R_System if that is among the classes,
// else of the only one that has it; if several do, it is an error that names two. A
// class with another name is called by that alone.
//
// A join is on ResourceID: one of the conditions that and combines behind on equates
// ResourceID of the new class with that of one before it. The others may ask what
// they like of the classes so far. Of an inner join, a device without such a row
// drops out; of a left one, the row is one of NULLs. A join without the equation
// would bring devices together and is refused, except with a class that the original
// keeps once for all devices (SMS_WindowsServicingStates): a device has its own row of
// it, and the equation goes without saying. A class that was joined by left and that a
// later join is on must have a row: Parse adds CLASS.ResourceID is not null.
//
// One join is one row: conditions on the same class hold of the same row (one disk
// that is C: and is full). Two different rows are two joins under two names. A device
// is selected if some combination of its rows makes the condition true.
//
// A sub-select stands on its own; what is of the select around it is refused, also
// without a class before it. It names one property. With ResourceID on both sides, it
// asks whether the device itself is selected. Else (Name in (select Name …)) it gives
// the values of all devices.
//
// # Types
//
// A constant takes the type of what it is compared with, which may stand on either
// side; [Constant] has it converted. Compared with
//
//	a text    a number is its digits as written, True is "True": "9600" > "19045"
//	a number  also "8" in quotes; True is 1. It may have a fraction, which no value has
//	a date    a text as schema.ParseDate reads it: a day alone is its midnight, UTC
//	a bool    True, False, 1, 0, also in quotes
//
// Two properties are compared if they have the same type. Texts are compared as their
// foldings, by the numbers of their characters. A condition in which neither a
// property nor GetDate() stands is refused, and so is NULL as a constant: nothing
// compares with it, and is null was meant.
//
// In a text, a backslash before a backslash or a quote makes that part of the text;
// before anything else it stands for itself. A quote of the kind that the text began
// with, doubled, is one ("" in "…"). A text that begins with a typographic
// quote ends with any of its kind, or a plain one. Space is whatever Unicode calls so.
//
// # NULL
//
// A property that a device's row does not have is NULL, and so are all of a row that
// an outer join did not find. A condition is true, false or unknown, and only what is
// true selects:
//
//   - A comparison, like or in with a NULL is unknown; so is the negated form: Name !=
//     "x", Name not like "x", Name not in ("x") and not Name = "x" select no device
//     without a name.
//   - A function of a NULL is NULL.
//   - is null is true or false.
//   - not unknown is unknown; and is false if one is false, else unknown if one is; or
//     is true if one is true, else unknown if one is.
//   - in (select …) is true if some value is equal; else it is unknown if a NULL is
//     among the values, and false if none is. So not in selects nothing as soon as one
//     device gives a NULL: add where PROPERTY is not null. With ResourceID on both
//     sides there are no NULLs among the values.
//
// A property with several values (SystemOUName, IPSubnets) is like a row for each:
// = is true if some value is equal, != if some other value is there, not like if some
// value is not like it. not (SystemOUName = "x") is its opposite: no value is equal.
// Without values it is NULL.
//
// # Like
//
// % is any number of characters, also none; _ is one; [abc], [a-f] is one of a set,
// [^a-f] one that is not in it. There is no escape: brackets do it, [%], [_], [[]. A -
// at the beginning or end of a set is one of it. A range is one of characters by
// number; a character is in a set if it is there in any case. A ] outside a set
// stands for itself. A set that is not closed, has no characters or a range that goes
// backwards is refused. The pattern is the whole text; matching takes time that grows
// with the text's length and the pattern's by 64, not with their combinations.
//
// # Dates
//
// All is UTC. The parts are
//
//	year yy yyyy, quarter qq q, month mm m, dayofyear dy y, day dd d, week wk ww,
//	weekday dw, hour hh, minute mi n, second ss s, millisecond ms
//
// also in quotes. DateDiff counts the boundaries that lie between two instants: from
// 23:59 to 0:01 is one day. Weeks begin on Sunday. DateAdd turns a day that the month
// does not have into its last, and keeps to the years 1 to 9999. GetDate() is the time
// of the evaluation; Query.Clock tells that it is asked for, also in a sub-select.
//
// # What is refused
//
// With the reason: right, full, cross and natural join, and the comma between classes;
// count and the like, group by, having, top; union; between; exists; sub-selects that
// use the select around them; sums and products; functions in the select list; other
// names of its properties; operands in parentheses. Unknown classes and properties
// come with the nearest name, if one is near.
//
// # Limits
//
// [MaxText], [MaxDepth], [MaxJoins], [MaxList], [MaxColumns], [MaxName], [MaxPattern].
// What is beyond them is refused where it is met, before it takes time or memory.
package wql
