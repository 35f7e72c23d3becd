package inbox_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/inbox"
	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"pgregory.net/rapid"
)

// An act is one thing that happens to a box, its journal or its inbox.
type act struct {
	Do      string
	Number  uint64
	Variant uint32
	Wait    time.Duration
}

func acts() *rapid.Generator[[]act] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) act {
		return act{
			Do: rapid.SampledFrom([]string{"drop", "drop", "drop", "drop", "rubbish", "fail", "lose", "lose but store",
				"crash", "requeue", "wait"}).Draw(t, "do"),
			Number:  rapid.Uint64Range(1, 6).Draw(t, "number"),
			Variant: rapid.SampledFrom([]uint32{1, 1, 1, 2}).Draw(t, "variant"),
			Wait:    rapid.SampledFrom([]time.Duration{0, 0, 30 * time.Millisecond, 3 * time.Second}).Draw(t, "wait"),
		}
	}), 1, 24)
}

// TestPL1_ExactlyOnce: whatever happens in whatever order, in the end each
// number of which a good file ever waited is in the journal exactly once, the
// ledger has the rest as holes, and nothing is left in between.
func TestPL1_ExactlyOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		script := acts().Draw(rt, "acts")
		var problem string
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		// A failure must not leave the bubble as a panic: rapid shrinks outside.
		synctest.Test(t, func(t *testing.T) { problem = play(t, dir, script) })
		if problem != "" {
			rt.Fatal(problem)
		}
	})
}

func play(t *testing.T, dir string, script []act) (problem string) {
	r := &rig{t: t, dir: dir, ledger: inbox.NewLedger()}
	r.journal = journaltest.NewMemory(journal.Options{Folds: []journal.Fold{r.ledger}})
	defer func() { r.halt(); r.journal.Close() }()
	r.inboxFolders()
	r.start()
	dropped := make(map[uint64]bool)
	for _, a := range script {
		r.act(a, dropped)
		rest(a.Wait)
	}
	r.reopen()
	r.start()
	r.rest()
	return r.verdict(dropped)
}

func (r *rig) act(a act, dropped map[uint64]bool) {
	name := box.Name{Listener: "BGL", Epoch: 1, Number: a.Number, Kind: box.BTS}
	switch a.Do {
	case "drop":
		r.drop(a.Number, results(said(uint32(a.Number)*10+a.Variant, task.Running)))
		dropped[a.Number] = true
	case "rubbish":
		if _, err := os.Lstat(r.dir + "/" + name.String()); err != nil { // it must not replace a good one
			r.put(name.String(), []byte(fmt.Sprint("rubbish ", a.Variant)))
		}
	case "fail":
		r.journal.Inject(journaltest.NotStored)
	case "lose":
		r.journal.Inject(journaltest.Lost)
	case "lose but store":
		r.journal.Inject(journaltest.LostButStored)
	case "crash":
		r.reopen()
		r.start()
	case "requeue":
		bad, err := r.inbox.Bad()
		if err == nil && len(bad) > 0 {
			r.inbox.Requeue(r.t.Context(), bad[0].Name) // that another one waits is no problem
		}
	}
}

// verdict says what is wrong, or nothing.
func (r *rig) verdict(dropped map[uint64]bool) string {
	stored := make(map[uint64]int)
	var top uint64
	for _, e := range r.events() {
		if e.Kind() == event.KindResultsReported {
			stored[e.Source.Number]++
			top = max(top, e.Source.Number)
		}
	}
	for n := range dropped {
		if stored[n] != 1 {
			return fmt.Sprintf("file %d is in the journal %d times", n, stored[n])
		}
	}
	if waits := append(r.files("work"), r.files("tmp")...); len(waits) > 0 {
		return fmt.Sprintf("left behind: %v", waits)
	}
	seqs := r.ledger.Sequences()
	if len(seqs) == 0 {
		if len(dropped) > 0 {
			return "the ledger is empty"
		}
		return ""
	}
	for n := uint64(1); n <= max(top, seqs[0].Top); n++ {
		hole := slices.ContainsFunc(seqs[0].Holes, func(s inbox.Span) bool { return s.From <= n && n <= s.To })
		if seen := n <= seqs[0].Top && !hole; seen != (stored[n] == 1) {
			return fmt.Sprintf("the ledger says %v of file %d, the journal has it %d times", seen, n, stored[n])
		}
	}
	return ""
}
