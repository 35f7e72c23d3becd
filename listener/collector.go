package listener

import (
	"cmp"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// So much garbage may lie while many agents get a task at once, if that is not more than
// burstPercent of what lives.
const (
	burstGarbage = 64 << 20
	burstPercent = 300
	goPercent    = 100 // of a process that has not chosen another
)

// collector is the garbage collector of the process, which all its listeners share.
var collector struct {
	mu      sync.Mutex
	bursts  int // under way
	percent int // what it was set to; 0: it was not
}

// leaveGarbage lets more garbage lie, until collectAgain is called as often. A process that
// has another percent than Go's own keeps it, as a site does, which has views to think of.
//
// With parked keys little lives of an agent, and each record from it or to it leaves the
// 1.4 KB that a cipher takes: in a push to 10,000 agents the collector would look at all
// that lives three times.
func leaveGarbage() {
	collector.mu.Lock()
	defer collector.mu.Unlock()
	collector.bursts++
	tuneCollector()
}

// leaveLess is to be called from time to time meanwhile: more may live than before.
func leaveLess() {
	collector.mu.Lock()
	defer collector.mu.Unlock()
	tuneCollector()
}

// tuneCollector sets the percent by what lives. The caller holds the lock.
func tuneCollector() {
	now := int(int32(read("/gc/gogc:percent")))
	if os.Getenv("GOGC") != "" || now != cmp.Or(collector.percent, goPercent) {
		collector.percent = 0 // somebody has chosen
		return
	}
	collector.percent = max(goPercent, percentOf(liveHeap()))
	if collector.percent != now {
		debug.SetGCPercent(collector.percent)
	}
}

func read(metric string) uint64 {
	s := []metrics.Sample{{Name: metric}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// liveHeap is how many bytes lived when the collector last looked. Tests have others.
var liveHeap = func() uint64 { return read("/gc/heap/live:bytes") }

// percentOf is what part of what lives the garbage of a burst may be.
func percentOf(live uint64) int {
	return int(min(burstGarbage*100/max(live, 1), burstPercent))
}

// collectAgain is the end of what leaveGarbage began.
func collectAgain() {
	collector.mu.Lock()
	defer collector.mu.Unlock()
	if collector.bursts--; collector.bursts > 0 || collector.percent == 0 {
		return
	}
	if was := debug.SetGCPercent(goPercent); was != collector.percent {
		debug.SetGCPercent(was) // somebody has chosen since
	}
	collector.percent = 0
}
