// Package inventory is the view of what is known of the devices, by class and
// property, under their WQL names. It folds device.joined, device.discovered,
// devices.imported, device.removed and classes.defined.
//
// # What is known
//
// A device that joins or is imported is live until it is removed; after that no event
// brings it back. A live device has one row of SMS_R_System, with its name, whether an
// agent has joined for it (Client), and when the record was made.
//
// Agents report facts such as os.version. One table (facts.go) says of which class
// and property each is, and how its text is read. Facts of things of which a machine
// has several, such as disk.0.free, are rows of a class with keys; lists that come in
// parts, such as software.003, have a row in each line. A fact without a value says
// that the thing is gone. What a fact of an earlier inventory says, that comes late,
// gives way to what was seen since; it does not bring back what was gone since.
// Addresses and the name of the operating system are in SMS_R_System once more.
//
// Imports name classes and properties as they are. What they say was seen when the
// journal took it. In a class of which a device has one row, the value that was seen
// last counts, whoever brought it. In a class with keys, rows that the agent reports
// and rows that were imported are kept apart, and an import changes only its own;
// where both have the same key, the agent's counts.
//
// Of each value the view has the event that changed it last, and when it was seen
// last: to say it once more does not change it. Classes and properties that the schema
// does not know are kept, shown by [Snapshot.Show], and part of no record until
// somebody defines them. Of a class a device has at most 480 KiB of rows.
//
// # Reading
//
// [Snapshot.Record] is what the evaluator of collections reads of each device that
// changed: some 25 µs for 45 properties and 50 products. All reads of one [Reader.At]
// see the devices after the same event.
//
// # FORMAT
//
// Keys are a letter, then numbers in big endian and names:
//
//	c device class     the table of a class of a device; the name is in lower case
//	d device           that there is, or was, this device, and its classes
//	s event place      a class that an administrator defined, or more properties of one
//
// A table is an array, version 1:
//
//	1
//	name of the class, if the schema does not know it; else empty
//	stamps: event, when it was seen in Unix nanoseconds; flat, by event
//	lists:  name of a part, how many parts there are (of NAME.parts), stamp; flat
//	slots:  the facts that rows are from; the empty one is that of imported rows, and of
//	        the only row of a class without keys
//	rows, each an array: slot, key (of an imported row whose class is not known), cells
//
// Cells are flat: the name of the property if the schema does not know it; its place in
// the class times 8 plus the type of the value (0 none, 1 text, 2 number, 3 date, 4
// list); the stamp; the value unless there is none: a text, a number, a date in Unix
// milliseconds, an array of texts. Stamps and slots are places in their lists.
//
// A device is an array: 1, whether it is gone, its classes. A defined class is an
// array: 1, its name, then of each property name, type, whether it holds a list, and
// whether it is a key.
//
// Places are those of the schema, so the number of the view's schema has a fingerprint
// of the standard classes in it: with other ones the view is folded anew.
package inventory
