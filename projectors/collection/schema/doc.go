// Package schema is the table of classes and properties of the inventory, under
// their WQL names, and what a device's record looks like.
//
//	Standard        the classes that are always there
//	Schema.Extend   a schema with more classes or properties; places stay
//	Schema.Nearest  what a name that is not known may have meant; Class.Nearest likewise
//	ParseValue      text -> value of a property; ParseNumber, ParseDate, ParseBool alone
//	FormatValue     value -> text
//	Key             what tells the rows of a class of one device apart
//	Fold            the one folding by which texts are compared
//
// # Classes
//
// Of [System], SMS_R_System, a device has exactly one row; of a class without key
// properties at most one; of a class with some as many as there are values of them:
// a product is told apart by its ProdID, a disk by its DeviceID. Every class has
// [ResourceID], the device's number, without listing it; a few call it by a second
// name as well, MachineID.
//
// Names are compared without regard to case. Those of the standard classes and their
// types are the original's: numbers where WMI has numbers (Client is 1, not True),
// bools where it has bools (IsVirtualMachine), and texts even where they look like
// numbers (BuildNumber, Version, ChassisTypes). Lists are of texts.
//
// An administrator's classes come on top by [Schema.Extend]. It takes nothing away
// and changes no type, so that a query that was checked against a schema holds for
// every later one: class and property are at the same place.
//
// # Values
//
// A text stays as it is. A number is whole, of 64 bits, with sign. A date is an
// instant of the years 1 to 9999, cut to milliseconds; whatever names no zone is UTC.
// A bool is 1 or 0. What a record does not hold is NULL, also an empty row.
package schema
