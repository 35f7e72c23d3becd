// Package window is the view of the maintenance windows that collections have. It
// folds window.changed and collection.changed.
//
// A window belongs to a collection and has a name there. The view keeps it as the
// JSON that whoever set it wrote, and the event that did: what the JSON means is
// for package agent/window. A collection that is deleted takes its windows along;
// a window of a collection that nobody ever heard of is kept, for it counts for
// nobody. At most [MaxWindows] are kept, further ones are left out until one goes.
//
// All reads of one [Reader.At] see the windows after the same event.
package window
