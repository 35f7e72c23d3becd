package simulator

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Whoever lies about what is durable is found out, so a run that finds nothing
// means something.
func TestLiesAreFoundOut(t *testing.T) {
	for name, lie := range map[string]struct {
		spoil func(*world)
		words []string // one of them is in what is found
	}{
		"a listener acknowledges results that it does not write": {
			func(w *world) {
				var n atomic.Int32 // files of every kind are dropped at once
				w.servers[0].lies = func(c box.Contents) bool {
					_, results := c.(*box.Results)
					return n.Add(1)%3 == 0 && results
				}
			}, []string{"the site says", "never said how it ended"}},
		"an agent's disk keeps nothing": {
			func(w *world) {
				for _, m := range w.all {
					m.forgets = true
				}
			}, []string{"was started 2 times", "never said that operation", "the site says", "did nothing"}},
		"a page of the history changes on the disk": {
			func(w *world) {
				w.later(20*time.Second, func() {
					w.site.now().store.Damage(3, func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
					w.crashSite(time.Second)
				})
			}, []string{"damaged"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= 5; seed++ {
				r := play(t, seed, Plan(seed, 30), lie.spoil)
				if r.Err == nil {
					continue
				}
				for _, word := range lie.words {
					if strings.Contains(r.Err.Error(), word) {
						return
					}
				}
				t.Fatalf("found something else: %v", r.Err)
			}
			t.Error("nothing was found")
		})
	}
}

func TestStartsAreJudged(t *testing.T) {
	now := time.Now()
	id := task.NewID(now)
	o := &order{task: task.Task{Operation: id, Kind: "scan.quick", NotBefore: now, DeliverBy: now.Add(time.Hour)}, targets: map[uint32]bool{1: true}}
	for want, starts := range map[string][]start{
		"":                   {{key{id, 1}, now, "scan.quick", ""}},
		"no target":          {{key{id, 2}, now, "scan.quick", ""}},
		"after its deadline": {{key{id, 1}, now.Add(time.Hour), "scan.quick", ""}},
		"before its time":    {{key{id, 1}, now.Add(-1), "scan.quick", ""}},
		"as scan.full":       {{key{id, 1}, now, "scan.full", ""}},
		"started 2 times":    {{key{id, 1}, now, "scan.quick", ""}, {key{id, 1}, now.Add(time.Second), "scan.quick", ""}},
	} {
		tr := newTruth()
		for _, s := range starts {
			tr.start(s)
		}
		err := tr.once(map[task.ID]*order{id: o})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
