// Package bounded reads msgpack that somebody else wrote without trusting a
// word of it, and writes msgpack that is the same to the byte every time.
//
// Whoever allocates what a header claims, or recurses as deep as the bytes say, as the
// msgpack library does, can be ended by five hostile bytes. So foreign bytes are first
// walked by [Scan], which allocates nothing and refuses what is nested, long or cut
// beyond the [Limits]; only then a [Reader] decodes them, field by field, each with a
// bound of its own. It relies on Scan: it does not look again whether a value is whole.
// A [Writer], by the library, is the other direction.
//
// Every type that bugle keeps on disk or sends is an array whose first element
// is its version:
//
//	[version, field, field, …]
//
// A reader that meets a longer array of the same version skips what it does not
// know ([Reader.End]); a shorter one leaves the missing fields at zero
// ([Reader.More]). Integers are in their shortest form, times are int64 Unix
// nanoseconds, identifiers are raw bytes. Maps, floats, ext types and nil are
// not part of any of bugle's formats and are refused by Scan.
package bounded
