package outpost_test

import (
	"testing"

	"github.com/bugle-fleet/bugle/console"
)

const agents = 20

// Two listeners share a fleet: a push reaches all, results come back once, and
// when one listener stops its agents move to the other.
func TestListenersShareAFleet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	east, west := w.listener("EAST01"), w.listener("WEST01")
	f := w.agents(agents, east, west)
	w.awaitFleet(agents, "EAST01", "WEST01")
	w.succeeds(f, w.push("scan.quick"))

	east.stop()
	w.awaitFleet(agents, "WEST01")
	w.succeeds(f, w.push("scan.quick"))
}

// A listener is killed in the middle of a push: its agents move, and nothing is
// run twice or lost. When it comes back it goes on with its numbers.
func TestKilledInTheMiddleOfAPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	east, west := w.listener("EAST01"), w.listener("WEST01")
	process := east.spawn()
	f := w.agents(agents, east, west)
	w.awaitFleet(agents, "EAST01", "WEST01")

	letGo := f.holdUp()
	id := w.push("scan.quick")
	w.until("all run", func() bool { all, _ := f.runs(id); return all == agents })
	process.kill()
	letGo()
	w.succeeds(f, id)
	w.awaitFleet(agents, "WEST01")

	again := east.spawn()
	west.stop()
	w.awaitFleet(agents, "EAST01")
	w.succeeds(f, w.push("scan.quick"))
	for _, l := range w.listeners() {
		if l.Name == "EAST01" && l.Epoch != 1 {
			t.Errorf("epoch %d after a restart with its box", l.Epoch)
		}
	}
	again.kill()
}

// The site is away for a while: agents that come and go are served, what they
// report waits, and all of it arrives when the site is back.
func TestSiteAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	east := w.listener("EAST01")
	f := w.agents(agents, east)
	w.awaitFleet(agents, "EAST01")

	letGo := f.holdUp()
	id := w.push("scan.quick")
	w.until("all run", func() bool { all, _ := f.runs(id); return all == agents })
	w.stop()
	letGo()
	f.restart(f.agents[0], f.agents[1]) // they are signed in, and answered for, without the site
	w.until("all have succeeded", func() bool { return f.succeeded(id) == agents })
	w.until("files wait for the site", func() bool { return east.waiting() > 0 })
	east.stop()
	w.start()
	east.start() // what was left is sent by the next run
	w.succeeds(f, id)
	w.until("no file waits", func() bool { return east.waiting() == 0 })
	var said console.MessagePage
	w.call("GET", console.PathMessages+"?limit=1000", nil, &said)
	for _, m := range said.Items {
		if m.Component == "inbox" {
			t.Errorf("the inbox says %q: files came twice, late or not in order", m.Text)
		}
	}
	w.awaitFleet(agents, "EAST01")
}

// A device that moves between listeners is never online twice, and never offline
// because of a late farewell.
func TestDeviceMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	east, west := w.listener("EAST01"), w.listener("WEST01")
	f := w.agents(2, east)
	w.awaitFleet(2, "EAST01", "WEST01")
	for range 3 {
		f.restart(f.agents...)
		w.awaitFleet(2, "EAST01", "WEST01")
	}
	west.stop()
	w.awaitFleet(2, "EAST01")
	west.start()
	east.stop()
	w.awaitFleet(2, "WEST01")
}

// A listener whose box is lost begins a new epoch, and goes on.
func TestBoxIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	east := w.listener("EAST01")
	east.stop()
	east.loseBox()
	east.start()
	f := w.agents(agents, east)
	w.succeeds(f, w.push("scan.quick"))
	for _, l := range w.listeners() {
		if l.Name == "EAST01" && l.Epoch != 2 {
			t.Errorf("epoch %d", l.Epoch)
		}
	}
}

// awaitFleet waits until n devices are online, all at the listeners that are named.
func (w *world) awaitFleet(n int, at ...string) {
	w.t.Helper()
	w.until("the fleet is online where it should be", func() bool {
		online, all := w.onlineAt(), 0
		for _, name := range at {
			all += online[name]
			delete(online, name)
		}
		return all == n && len(online) == 0
	})
}

// succeeds waits until everybody has succeeded in an operation, having run it
// once.
func (w *world) succeeds(f *fleet, id string) {
	w.t.Helper()
	var o console.OperationReply
	w.until("all have succeeded", func() bool {
		o = w.operation(id)
		return o.States["succeeded"] == agents
	})
	if all, most := f.runs(id); all != agents || most != 1 {
		w.t.Errorf("%d runs, at most %d on one device", all, most)
	}
}
