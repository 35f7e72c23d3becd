// Package referee evaluates collections in SQL databases, to compare the members that
// they come to with those of the engine, and the time.
//
// A [Peer] is a database with the inventory in tables, one for each class, and with the
// members of collections in one table of pairs. A [Query] of package wql becomes a
// SELECT; a collection is evaluated by one statement that computes its members and
// brings the stored ones up to date, in topological order; an incremental evaluation is
// the same with every query limited to the devices that changed, as site databases do
// it.
//
// # What makes it fair
//
// Texts are stored folded and compared byte by byte, so that no peer folds while it
// evaluates. PostgreSQL has the indexes that an administrator of such a database would
// make, statistics, memory enough for all of it, and does not wait for the disk. DuckDB
// works in memory, has columns, and needs no indexes. Times are those of the whole batch of
// statements, from its first byte to its end.
//
// # What differs from SQL
//
// A list is an array. "some value compares so" is ANY or a look at each value. A NULL is
// never "not in" anything, not even in nothing.
//
// PostgreSQL is that of the system (initdb and postgres in the path or below
// /usr/lib/postgresql); a private cluster is started for the comparison, as user
// postgres if the caller is root. DuckDB is the module @duckdb/node-api of a folder that
// the caller names, run by node.
package referee
