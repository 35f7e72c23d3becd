// Package enginetest holds what proves an engine of collections right: a naive
// oracle, random inventories, queries and graphs of collections, and a suite that
// takes an engine through random sequences of changes and evaluations and compares
// it with the oracle after each.
//
// The oracle shares nothing with the engine but the tree of a checked query. It knows
// no columns, no dictionaries and no bitmaps of values: it takes one device at a time,
// walks through all combinations of its rows, and asks of each what the query asks.
//
// # What a query means
//
// A device's rows of the first source, times its rows of each joined one, are the
// combinations; a row of a joined source is taken if its condition is true for it, and
// a source that is joined outer and has no such row gives one row of NULLs. The device
// is selected if the condition behind where is true for one combination.
//
// A condition is true, false or unknown. A comparison with NULL is unknown, and so is
// its negation; and, or and not are those of SQL. Of a list, some value must compare
// so, also if the comparison is != or begins with not; a list without values is NULL.
//
// "in (select …)" asks whether one of the values that the inner query selects, of all
// devices, equals the operand; if none does and one of them is NULL, it is unknown. Of
// a ResourceID it asks whether the inner query selects the device.
//
// # What a collection holds
//
//	members(C) = members(limit(C)) ∩ (direct ∪ queries ∪ includes) − excludes
//
// among the devices that are there. A partial evaluation takes what it does not
// evaluate as it was last.
package enginetest
