package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/console"
)

// A happened is a fault that was made.
type happened struct {
	name     string
	from, to time.Time
	victim   string // the agent that it was done to; empty: any
}

// story tells the faults of a site in their order.
func (l *channelLab) story() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for _, f := range l.faults {
		fmt.Fprintf(&b, "%s to %s: %s %s\n", f.from.Format(time.StampMilli), f.to.Format(time.StampMilli), f.name, f.victim)
	}
	return b.String()
}

// made notes a fault that began at from.
func (l *channelLab) made(name, victim string, from time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, happened{name, from, time.Now(), victim})
}

// A channelFault is one thing that goes wrong; do returns when it is over. Those
// of one round run at the same time.
type channelFault struct {
	name string
	do   func(l *channelLab, random *rand.Rand)
}

var channelFaults = []channelFault{
	{"kill -9 of an agent", (*channelLab).fellSoldier},
	{"kill -9 of the site", (*channelLab).fellSite},
	{"kill -9 of a listener", (*channelLab).fellPost},
	{"kill -9 of all agents", (*channelLab).fellAll},
	{"connections cut", (*channelLab).cutAll},
	{"connections stalled", (*channelLab).stallAll},
	{"connections throttled", (*channelLab).throttleAll},
	{"clocks set", (*channelLab).skewClocks},
	{"kill -9 around a cancel", (*channelLab).fellCancelled},
}

// away is how long something that was killed stays so: mostly not long, sometimes
// beyond near deadlines.
func (l *channelLab) away(random *rand.Rand) {
	most := 1500
	if l.large && random.IntN(3) == 0 {
		most = 6000
	}
	l.pass(time.Duration(random.IntN(most)) * time.Millisecond)
}

func (l *channelLab) fellSoldier(random *rand.Rand) {
	for range 1 + random.IntN(2) {
		l.fellOne(l.soldiers[random.IntN(len(l.soldiers))], random, "kill -9 of an agent")
	}
}

func (l *channelLab) fellOne(s *soldier, random *rand.Rand, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := time.Now()
	s.fell()
	l.away(random)
	l.enlist(s)
	l.made(name, s.name, from)
}

func (l *channelLab) fellAll(random *rand.Rand) { l.fellEach(random, "kill -9 of all agents") }

// fellCancelled kills all agents when what may start again runs, before or after it
// is cancelled: then it must not start again, and has an end all the same.
func (l *channelLab) fellCancelled(random *rand.Rand) {
	in := console.PushRequest{Kind: kindAgain, All: true, DeliverBySeconds: longDeliver, Reason: "laboratory"}
	id := l.pushUntil(l.t.Context(), fmt.Sprint("cancelled-", l.cycles), in)
	for limit := time.Now().Add(5 * time.Second); !l.runs(id) && time.Now().Before(limit); {
		time.Sleep(20 * time.Millisecond)
	}
	var both sync.WaitGroup
	cancels := rand.New(rand.NewPCG(random.Uint64(), 9))
	both.Go(func() { l.cancelSoon(cancels, id) })
	l.pass(time.Duration(random.IntN(1000)) * time.Millisecond) // where the kill falls is the test's subject
	l.fellEach(random, "kill -9 around a cancel")
	both.Wait()
}

// runs tells whether an operation has begun at any agent.
func (l *channelLab) runs(id string) bool {
	return slices.ContainsFunc(l.soldiers, func(s *soldier) bool {
		all, err := s.truth()
		return err == nil && all[id] != nil
	})
}

func (l *channelLab) fellEach(random *rand.Rand, name string) {
	var all sync.WaitGroup
	for _, s := range l.soldiers {
		random := rand.New(rand.NewPCG(random.Uint64(), 8))
		all.Go(func() { l.fellOne(s, random, name) })
	}
	all.Wait()
}

func (l *channelLab) fellSite(random *rand.Rand) {
	l.siteMu.Lock()
	defer l.siteMu.Unlock()
	from := time.Now()
	l.site.kill()
	l.away(random)
	l.serveSite()
	l.made("kill -9 of the site", "", from)
}

// fellPost does not wait until the listener is ready: the site may be away.
func (l *channelLab) fellPost(random *rand.Rand) {
	p := l.posts[random.IntN(len(l.posts))]
	p.mu.Lock()
	defer p.mu.Unlock()
	from := time.Now()
	p.process.kill()
	l.away(random)
	l.listen(p)
	l.made("kill -9 of a listener", "", from)
}

// some are the fronts that a fault strikes: all of them, or one.
func (l *channelLab) some(random *rand.Rand) []*front {
	if random.IntN(2) == 0 {
		return l.fronts
	}
	return []*front{l.fronts[random.IntN(len(l.fronts))]}
}

func (l *channelLab) cutAll(random *rand.Rand) {
	from, n := time.Now(), 0
	for _, f := range l.some(random) {
		n += f.cut()
	}
	if n > 0 {
		l.made("connections cut", "", from)
	}
}

func (l *channelLab) stallAll(random *rand.Rand) {
	from := time.Now()
	for _, f := range l.some(random) {
		defer f.stall()()
	}
	l.pass(time.Second + time.Duration(random.IntN(4000))*time.Millisecond)
	l.made("connections stalled", "", from)
}

func (l *channelLab) throttleAll(random *rand.Rand) {
	from := time.Now()
	for _, f := range l.some(random) {
		defer f.throttle()()
	}
	l.pass(time.Second + time.Duration(random.IntN(4000))*time.Millisecond)
	l.made("connections throttled", "", from)
}

// pass lets a time go by; in a short run all is shorter.
func (l *channelLab) pass(d time.Duration) {
	if !l.large {
		d /= 3
	}
	time.Sleep(d)
}

func (l *channelLab) skewClocks(random *rand.Rand) {
	for _, s := range l.soldiers {
		if s.child == nil || random.IntN(2) == 0 {
			continue
		}
		s.mu.Lock()
		from := time.Now()
		s.skew(time.Duration(random.Int64N(int64(6*time.Hour))) - 3*time.Hour)
		l.made("clocks set", s.name, from)
		s.mu.Unlock()
	}
}
