// Package collection is the view of the collections: how they are defined, which
// devices are in them, and how their evaluations went. It folds
// collection.changed and collections.evaluated and nothing else: what the
// evaluator found is taken as it stands in its events, and a rebuild of the view
// evaluates nothing.
//
// The root, SMS00001 "All Systems", is always there and has no definition. A
// collection is there from the event that makes it until the one that deletes it,
// which takes its members and its statistics with it; a changed definition keeps
// them. What an evaluation says of a collection that is not there counts for
// nothing. A cycle of the evaluator comes in one event or in several parts; each
// is applied whole, and all of them count as one run and one cycle.
//
// # What is kept
//
// Of each collection and queue the last run and the last [MaxRuns] runs, of each
// queue the last [MaxCycles] cycles, and of each collection the last [MaxDeltas]
// events that changed its members. Nothing is kept of a single device: since when it
// is in a collection, or is not, is read out of those events ([Snapshot.Deltas]).
//
// Incremental cycles name only the collections whose members they changed, so the
// last incremental run of a collection is the last one that changed it.
//
// # Rows
//
// A key is a letter, then its parts; ID is the length of an id in one byte and the
// id. Numbers are big endian.
//
//	d ID              the definition: a msgpack array
//	s ID              how the collection is: a msgpack array
//	h ID queue slot   a run: a msgpack array; run n of a queue, from 1, is in slot (n-1) mod MaxRuns
//	c queue cycle     a cycle: a msgpack array
//	m ID chunk        the members among the 65,536 devices of a chunk, as they were once
//	x ID chunk        the devices of the chunk that are members and were not then, or the other way round
//
// Chunk c holds the devices 65,536 c to 65,536 c + 65,535. A row m is a byte 1 and
// the set of members, or a byte 2, the distance of the last member to the chunk's
// first device as a varint, and the set of those before it that are no members:
// whichever is shorter. A row x is a set. Sets are as package event writes them. So
// a few changes cost a few bytes and not a whole chunk: x is written until it would
// be longer than 192 bytes, then m is written anew and x is gone. A chunk without
// members has neither.
package collection
