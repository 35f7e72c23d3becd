package listener

import "time"

// fulls decides when presence is reported in full. While nothing goes wrong the
// deltas say it all, and each interval is twice the one before, up to the longest;
// after a file that could not be dropped at once, or a feed that broke, it is the
// shortest again. One goroutine uses it.
type fulls struct {
	p        *presence
	interval time.Duration // from the last full report to the next
	last     time.Time
	failed   uint64 // attempts to drop until the last pulse
}

func (p *presence) begin(now time.Time) *fulls {
	return &fulls{p: p, interval: p.every, last: now, failed: p.files.failed.Load()}
}

// pulse is called once per shortest interval; true means that a full report is
// due. If it is not, and no file at all was dropped for half an interval, it puts a
// device into the next delta that is online as it was: a listener that is not heard
// counts as lost.
func (f *fulls) pulse(now time.Time) (due bool) {
	failed := f.p.files.failed.Load()
	if f.p.doubted.Swap(false) || failed != f.failed {
		f.interval = f.p.every
	}
	f.failed = failed
	quiet := now.Sub(time.Unix(0, f.p.files.last.Load())) >= f.p.every/2
	if now.Sub(f.last) > f.interval-f.p.every/2 || quiet && !f.p.repeat(now) {
		f.last, f.interval = now, min(2*f.interval, f.p.most)
		return true
	}
	return false
}

// repeat lets the next delta say of one device what the last ones said; false
// means that none is online. The device is the one with the lowest number.
func (p *presence) repeat(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.changed) > 0 {
		return true
	}
	first := ^uint32(0)
	for device := range p.online {
		first = min(first, device)
	}
	s, ok := p.online[first]
	if ok {
		p.changed[first], p.since = s, now
	}
	return ok
}
