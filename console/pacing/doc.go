// Package pacing lets large operations go wave by wave.
//
// # The plan
//
// An operation's [event.Pacing] says how large its waves are; who is left is the
// last one. A wave that is spread is sent over that time: every listener gives each
// device the same moment in it. A rate of n devices a second is a spread of count/n
// seconds; the longer of the two holds. [PlanOf] tells beforehand when which wave
// goes, [LeftOf] while it goes how long it takes yet.
//
// Who is in a wave is decided when it is released ([Pick]): those that are online
// first, so that a first wave tells something soon; among them, and then among the
// others, by a hash of operation and device. So no device is always the first to
// try things out, and whoever asks again gets the same answer.
//
// # The waves
//
// The first wave is released at not-before. The next one follows when every device
// that was online at the release has reported its end, or run timeout and
// [Patience] after the wave's spread, whichever is first, and never before the
// spread is over. A wave of which nobody was online says nothing and holds nobody
// up. Devices that were offline get the task when they sign in.
//
// From [MinFinal] ends on, the share of those that failed or ran out of time is
// compared with the pacing's StopOnFailure. Once it is larger, and as long as
// somebody has not begun, the operation is stopped: nobody begins it any more, and
// who has begun goes on.
//
// # Once
//
// The [Runner] looks every second at the view of the operations and appends
// operation.released and operation.stopped. The view may lag behind the journal:
// the [Gate], a fold of the journal, knows at the moment of the append which waves
// are released and what has ended, and refuses what was said already, by this run of
// the site or by one before it, and what a cancel has overtaken. After an append the
// runner waits until the view knows of it.
package pacing
