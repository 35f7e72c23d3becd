package listener

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// So much garbage may lie while many agents get a task at once, if that is not more than
// burstPercent of what lives.
const (
	burstGarbage = 64 << 20
	burstPercent = 400
)

// collector is the garbage collector of the process, which all its listeners share.
var collector struct {
	mu     sync.Mutex
	bursts int // under way
	usual  int // its percent without them; of use while it is changed
	raised bool
}

// leaveGarbage lets more garbage lie, until collectAgain is called as often. What the
// environment has in GOGC holds, and so does a percent that is higher, or that turns the
// collector off.
//
// With parked keys little lives of an agent, and each record from it or to it leaves the
// 1.4 KB that a cipher takes: in a push to 10,000 agents the collector would look at all
// that lives three times.
func leaveGarbage() {
	collector.mu.Lock()
	defer collector.mu.Unlock()
	if collector.bursts++; collector.bursts > 1 || os.Getenv("GOGC") != "" {
		return
	}
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	usual, percent := int(int32(s[0].Value.Uint64())), percentOf(s[1].Value.Uint64())
	if usual >= 0 && percent > usual {
		collector.usual, collector.raised = usual, true
		debug.SetGCPercent(percent)
	}
}

// percentOf is what part of what lives the garbage of a burst may be.
func percentOf(live uint64) int {
	return int(min(burstGarbage*100/max(live, 1), burstPercent))
}

// collectAgain is the end of what leaveGarbage began.
func collectAgain() {
	collector.mu.Lock()
	defer collector.mu.Unlock()
	if collector.bursts--; collector.bursts == 0 && collector.raised {
		collector.raised = false
		debug.SetGCPercent(collector.usual)
	}
}
