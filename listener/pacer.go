package listener

import "time"

// A pacer lets something through at a rate, and some at once beyond it. It is the
// moment at which the rate will have caught up with what was let through, as a
// duration since a moment that its owner knows.
type pacer time.Duration

// wait is how long the next one has to wait at now, zero if it may come. Every is the
// time from one to the next at the rate, burst is how many may come at once.
func (p pacer) wait(now, every time.Duration, burst int) time.Duration {
	ahead := max(0, time.Duration(p)-now)
	return max(0, ahead-every*time.Duration(burst-1))
}

// after is the pacer behind one that is let through at now.
func (p pacer) after(now, every time.Duration) pacer { return max(p, pacer(now)) + pacer(every) }

// apart is the time from one to the next at a rate, a second.
func apart(rate float64) time.Duration { return time.Duration(float64(time.Second) / rate) }

// wait is how long the agent's next message has to wait, zero if it may come now.
func (s *session) wait(now time.Time) time.Duration {
	limits := &s.l.cfg.Limits
	return pacer(s.paced.Load()).wait(now.Sub(s.l.made), apart(limits.MessageRate), limits.MessageBurst)
}

// count counts a message that is let through.
func (s *session) count(now time.Time) {
	p := pacer(s.paced.Load())
	s.paced.Store(int64(p.after(now.Sub(s.l.made), apart(s.l.cfg.Limits.MessageRate))))
}
