package jetstream

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

var startEvents = flag.Int("start-events", 100_000, "how many events there are in BenchmarkStart")

// A counter is a fold that is saved.
type counter struct{ n uint64 }

func (c *counter) Apply(*event.Event)      { c.n++ }
func (c *counter) Saves() string           { return "counter/1" }
func (c *counter) Save() ([]byte, error)   { return binary.BigEndian.AppendUint64(nil, c.n), nil }
func (c *counter) Restore(b []byte) error  { c.n = binary.BigEndian.Uint64(b); return nil }
func (c *counter) Wants(k event.Kind) bool { return k == event.KindStatusMessage }

// BenchmarkStart opens a journal whose live generation holds -start-events events
// of 256 bytes: after a clean stop; after a crash right behind the state was
// written; and with nothing kept at all.
func BenchmarkStart(b *testing.B) {
	for _, perPage := range []int{1000, 1} {
		dir := filepath.Join(b.TempDir(), "journal")
		opts := Options{SealBytes: 1 << 50}.orDefault()
		if err := importInto(context.Background(), dir, [16]byte{1}, nil, rawEvents(b, *startEvents, perPage), opts); err != nil {
			b.Fatal(err)
		}
		for _, c := range []struct {
			after  string
			before func() error
		}{
			{"nothing", func() error { return os.RemoveAll(filepath.Join(dir, stateFile)) }},
			{"clean", aged},
			{"kill", func() error {
				aged()
				return os.WriteFile(filepath.Join(msgsOf(dir), indexFile), []byte("as JetStream wrote it some time before"), 0o600)
			}},
		} {
			b.Run(fmt.Sprintf("events/page=%d/after=%s", perPage, c.after), func(b *testing.B) {
				var took time.Duration
				for range b.N {
					if err := c.before(); err != nil {
						b.Fatal(err)
					}
					took += start(b, dir)
				}
				b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms/start")
			})
		}
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
	}
}

// aged waits until JetStream does not look at what was written last.
func aged() error {
	time.Sleep(jetStreamLooks)
	return nil
}

func start(b *testing.B, dir string) time.Duration {
	begin, fold := time.Now(), new(counter)
	opts := Options{SealBytes: 1 << 50}
	opts.Folds = []journal.Fold{fold}
	j, err := Open(context.Background(), dir, opts)
	if err != nil {
		b.Fatal(err)
	}
	took := time.Since(begin)
	if n := uint64(*startEvents); fold.n != n || j.Head().Event != n {
		b.Fatalf("%d events, the fold knows %d", j.Head().Event, fold.n)
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	return took
}
