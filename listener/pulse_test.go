package listener

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
)

// fullsAt is when full reports came, in minutes since begun.
func (f *spoolFolder) fullsAt(begun time.Time) (minutes []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, c := range f.files {
		if p, ok := c.(*box.Presence); ok && p.Full {
			minutes = append(minutes, int(f.at[i].Sub(begun).Round(time.Minute)/time.Minute))
		}
	}
	return minutes
}

func (f *spoolFolder) longestSilence(from, to time.Time) (longest time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := from
	for _, at := range append(slices.Clone(f.at), to) {
		longest, last = max(longest, at.Sub(last)), at
	}
	return longest
}

func patientAgents(c *Config) { c.KeepAlive = 100 * time.Hour }

// While nothing goes wrong full reports become rare, but the listener is heard.
func TestFullsBecomeRare(t *testing.T) {
	bubble(t, patientAgents, func(t *testing.T, b *bench) {
		b.signIn(7)
		b.signIn(8)
		begun := time.Now()
		pass(5 * time.Hour)
		if got, want := b.box.fullsAt(begun), []int{0, 5, 15, 35, 75, 135, 195, 255}; !slices.Equal(got, want) {
			t.Errorf("full reports after minutes %v, want %v", got, want)
		}
		if d := b.box.longestSilence(begun, time.Now()); d > 8*time.Minute {
			t.Errorf("nothing was heard for %s", d)
		}
		if e := presenceOf(b.box.all(), 8); len(e) != 1 {
			t.Errorf("device 8 is in %d deltas", len(e))
		}
		e := presenceOf(b.box.all(), 7)
		if len(e) < 10 || e[0] != e[len(e)-1] {
			t.Errorf("device 7 is in %d deltas, the last says %+v", len(e), e[len(e)-1])
		}
	})
}

// Nobody is online: the full report costs nothing, and says that one lives.
func TestFullsOfNobody(t *testing.T) {
	bubble(t, nil, func(t *testing.T, b *bench) {
		begun := time.Now()
		pass(time.Hour - time.Minute)
		if got := b.box.fullsAt(begun); len(got) != 12 {
			t.Errorf("full reports after minutes %v", got)
		}
	})
}

// After a file that failed, or a feed that broke, full reports come often again.
func TestFullsAfterTrouble(t *testing.T) {
	for name, trouble := range map[string]func(b *bench){
		"disk": func(b *bench) {
			b.box.breaks(errors.New("disk is full"))
			b.signIn(9)
			pass(time.Second)
			b.box.breaks(nil)
		},
		"feed": func(b *bench) {
			b.feed <- errors.New("broken")
			b.tell(Whole{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, patientAgents, func(t *testing.T, b *bench) {
				b.signIn(7)
				begun := time.Now()
				pass(77 * time.Minute)
				trouble(b)
				pass(100 * time.Minute)
				if got, want := b.box.fullsAt(begun), []int{0, 5, 15, 35, 75, 80, 90, 110, 150}; !slices.Equal(got, want) {
					t.Errorf("full reports after minutes %v, want %v", got, want)
				}
			})
		})
	}
}
