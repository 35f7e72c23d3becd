// Package presence is the view of which devices are online, and at which
// listener. It folds presence.snapshot, presence.delta, and the events that begin
// and end a listener.
//
// # Order
//
// The presence files of a listener form one sequence per epoch. A full report
// that is older than anything applied is stale and changes nothing; a delta that
// is older than the newest full report likewise. A delta that comes late, after a
// later delta, counts only for devices of which nothing newer is known. A hole in
// the numbers is on record ([Listener.Gaps]) and healed by the next full report.
// An earlier epoch is over as soon as anything of a later one is seen.
//
// A full report may come in parts. Each part counts at once for the devices that
// it lists; a device that no part lists goes offline when the last part was
// applied, and only if none was missing.
//
// # Who holds a device
//
// A device is held by the listener that last said credibly that it is online.
// Only that one can say that it is offline: the late farewell of a listener that
// the device left earlier does not count. Whichever order the files of two
// listeners come in, the later sign-in is right: a listener that says online wins
// over one that says online, or offline, of a session that began earlier. What the
// site concluded by itself (lost, stopped, not in the full report) gives way to any
// listener that says online.
//
// A listener that stops, or of which nothing is heard any more, leaves its
// devices offline. That it stopped may come after what it said when it served again,
// for status files and presence files are sequences of their own: who signed in
// after the stop, by the listener's clock, stays online. A device that is blocked
// stays as it is until its listener reports it.
//
// # History
//
// Of each device the last [MaxHistory] states are kept, the one that holds among
// them ([Reader.History]): since when, why, at which listener, by which carrier,
// and the event that brought it. Up to nine stand in the device's row, the others,
// ten together, in two rows that take turns.
//
// A device flaps when it changes [FlapChanges] times within [FlapWindow]. The view
// names those that did when they changed last ([Reader.Flapping]); it has no clock,
// so whoever asks looks how long ago that was.
package presence
