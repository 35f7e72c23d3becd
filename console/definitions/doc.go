// Package definitions knows what administrators defined: classes of inventory,
// collections, and their maintenance windows. It reads what they want from YAML,
// checks it against what there is, and says which events make it so.
//
// # What is defined
//
// [Definitions] is a fold of the journal (classes.defined, collection.changed,
// window.changed) that keeps its knowledge with the journal ([journal.SavingFold]).
// [Definitions.Now] is a [State]: all that is defined after one event, which never
// changes any more, so that a long check holds no lock. The fold takes whatever the
// journal has; a definition whose query cannot be read any more is still there, and
// its query names nothing.
//
// The root, [event.RootCollection], is always there and cannot be changed, renamed
// or deleted. Every other collection has an id and a name. Names are unique without
// regard to case. An id is the site's code and five hexadecimal digits, the next
// number that no id has had; a document may also give the id of a new collection,
// such as one from elsewhere, or one that was deleted, but none of the last 65,536
// of the site, which are left for those that get the next one. Wherever a collection
// is named, what has the word as its id counts before what has it as its name.
//
// # Documents
//
// A [Document] lists collections, classes and windows as somebody wants them to be.
// [Parse] reads it from YAML, several documents as one, and from JSON, which is a
// part of YAML; [Print] writes it. The text has at most [MaxDocument] bytes; a name
// that is not known is an error with line and column, and so are a name that is
// there twice, a value of another sort, and an alias, so that no small text stands
// for a large one. [Places] say where in the text each part stands.
//
// A collection in a document is the whole definition: what is left out is empty, but
// for windows, which stay if they are left out. What a document does not name stays.
// rename-from names the collection that is to have the new name; once it has it, the
// same document finds it by that. The limiting collection is the root if none is
// named. Classes and properties are only ever added.
//
// # Plans
//
// [State.Plan] compares a [Request], a document and what is to be deleted, with what
// there is. The request is carried out as a whole or not at all:
//
//   - Every collection that is named must be there or be made by the same request,
//     in any order, also under a name that it gets by it.
//   - Queries are parsed and their names checked, with the classes that the request
//     adds; schedules must fire some time; windows must be such.
//   - No collection may depend on itself, over limits, included and excluded
//     collections and those that queries name. The cycle is printed.
//   - What is deleted must not be needed by anything that stays. The dependants are
//     named.
//   - It makes at most [MaxChanges] changes, which fit one page of the journal.
//
// All that does not hold is told at once, in a [Refusal], each [Error] with its path
// in the document and, of a query, line and column in its text.
//
// A [Plan] has a [Step] for each thing, with what is different in words and in parts
// ([Difference]), and none of them an event if it is as it should be: the same
// request again changes nothing. The events are in an order in which no collection
// ever depends on one that is not there yet, and none is needed when it goes. A plan
// holds while [Definitions.Version] is its Version; whoever appends it makes sure of
// that in the journal's guard, and plans again if it does not.
//
// The YAML library is go.yaml.in/yaml/v3: the YAML organisation keeps it, it gives
// every node its place, and it is part of bugle already for its configuration.
package definitions
