package task

// A State is where one device stands in one operation. The numbers are on disk
// and on the wire; they never change.
//
//	waiting → sent → delivered → running → succeeded | failed | refused | timed-out
//	                     │          └→ deferred → running
//	                     └→ not-applicable | refused
//	any that is not final → expired | cancelled | lost
//
// What the site says of a device that it has not heard of, expired, cancelled or
// lost, is corrected by a result that comes later: the device had begun in time.
type State uint8

// The states. Waiting is where every target begins.
const (
	NoState       State = 0
	Waiting       State = 1
	Sent          State = 2
	Delivered     State = 3
	Running       State = 4
	Deferred      State = 5
	Succeeded     State = 6
	Failed        State = 7
	Refused       State = 8
	TimedOut      State = 9
	NotApplicable State = 10
	Expired       State = 11
	Cancelled     State = 12
	Lost          State = 13
)

// States are all states in the order in which tables show them.
var States = []State{Waiting, Sent, Delivered, Running, Deferred, Succeeded, Failed,
	Refused, TimedOut, NotApplicable, Expired, Cancelled, Lost}

var stateNames = [...]string{"none", "waiting", "sent", "delivered", "running", "deferred", "succeeded",
	"failed", "refused", "timed-out", "not-applicable", "expired", "cancelled", "lost"}

// String returns the name that people and the API use, "unknown" for a number
// that is no state.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

// ParseState is the inverse of [State.String]; ok is false for any other word.
func ParseState(name string) (s State, ok bool) {
	for _, s := range States {
		if stateNames[s] == name {
			return s, true
		}
	}
	return NoState, false
}

// Valid tells whether s is one of [States].
func (s State) Valid() bool { return s >= Waiting && s <= Lost }

// Final tells whether nothing comes after s, but for the correction that
// [State.Follows] allows.
func (s State) Final() bool { return s >= Succeeded && s <= Lost }

// FromAgent tells whether an agent may report s; the others are the site's or
// the listener's to say.
func (s State) FromAgent() bool {
	return s >= Delivered && s <= NotApplicable
}

// Follows tells whether a device at prev may be at s next. A report that does
// not follow is late or repeated, and changes nothing.
func (s State) Follows(prev State) bool {
	switch {
	case !s.Valid() || s == Waiting || s == prev:
		return false
	case prev == Lost:
		return s >= Succeeded && s <= NotApplicable
	case prev == Expired || prev == Cancelled:
		// Refused would only say that it did not begin, which is known.
		return s >= Succeeded && s <= NotApplicable && s != Refused
	case prev.Final():
		return false
	case s == Running && prev == Deferred:
		return true
	}
	return s > prev
}
