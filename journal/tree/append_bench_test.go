package tree_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/jetstream"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// event256 is an event of about 256 bytes.
func event256() *event.Event {
	return &event.Event{Actor: event.Actor{Issuer: "site", Subject: strings.Repeat("s", 180)}, Payload: &event.TokenCreated{Token: "t", Uses: 1}}
}

func openJetStream(b *testing.B) *jetstream.Journal {
	b.Helper()
	j, err := jetstream.Open(b.Context(), b.TempDir(), jetstream.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { j.Close() })
	return j
}

// run opens the tree of a journal and runs it until the benchmark ends.
func run(b *testing.B, j journal.Journal) *tree.Tree {
	b.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	t, err := tree.Open(b.TempDir(), tree.Options{Journal: j, Origin: "bugle.BENCH/1", Key: key})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- t.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		t.Close()
	})
	return t
}

// appendAll appends n events by so many callers at once, and returns how long it
// took.
func appendAll(b *testing.B, j journal.Journal, n, callers int) time.Duration {
	var all sync.WaitGroup
	start := time.Now()
	for c := range callers {
		all.Go(func() {
			e := event256()
			for i := c; i < n; i += callers {
				if err := j.Append(context.Background(), e); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return time.Since(start)
}

// BenchmarkAppendBesideTree appends to a journal without a tree and to one with
// one, in turn, so that the disk is equally fast for both.
func BenchmarkAppendBesideTree(b *testing.B) {
	const block = 20_000
	for _, callers := range []int{64, 1024} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			bare, with := openJetStream(b), openJetStream(b)
			run(b, with)
			var without, beside time.Duration
			b.ResetTimer()
			for range b.N {
				without += appendAll(b, bare, block, callers)
				beside += appendAll(b, with, block, callers)
			}
			b.ReportMetric(float64(b.N*block)/without.Seconds(), "bare-events/s")
			b.ReportMetric(float64(b.N*block)/beside.Seconds(), "events/s")
			b.ReportMetric(100*(beside.Seconds()/without.Seconds()-1), "%slower")
		})
	}
}

// BenchmarkOnDisk is a proof, and verifying all, of one and of ten million events
// in JetStream, in full pages: a proof hashes all of its page.
func BenchmarkOnDisk(b *testing.B) {
	for _, millions := range []int{1, 10} {
		b.Run(fmt.Sprintf("%dM", millions), func(b *testing.B) { onDisk(b, millions*1_000_000) })
	}
}

func onDisk(b *testing.B, events int) {
	j := openJetStream(b)
	for range events / journal.MaxPageEvents {
		var page []*event.Event
		for range journal.MaxPageEvents {
			page = append(page, event256())
		}
		if err := j.Append(b.Context(), page...); err != nil {
			b.Fatal(err)
		}
	}
	t := run(b, j)
	if err := t.Wait(b.Context(), uint64(events)); err != nil {
		b.Fatal(err)
	}
	b.Run("prove", func(b *testing.B) {
		var each []time.Duration
		for n := range b.N {
			start := time.Now()
			if _, err := t.Prove(b.Context(), uint64(n)*7_919_337%uint64(events)+1); err != nil {
				b.Fatal(err)
			}
			each = append(each, time.Since(start))
		}
		slices.Sort(each)
		b.ReportMetric(float64(each[len(each)/2].Microseconds()), "µs-p50")
		b.ReportMetric(float64(each[len(each)*99/100].Microseconds()), "µs-p99")
	})
	b.Run("verify", func(b *testing.B) {
		_, c := t.Checkpoint()
		for b.Loop() {
			r, err := j.Read(b.Context(), 1)
			if err != nil {
				b.Fatal(err)
			}
			report, err := tree.Verify(b.Context(), r, []tree.Checkpoint{c}, nil)
			if err != nil || !report.OK || report.Events != uint64(events) {
				b.Fatal(report, err)
			}
			r.Close()
		}
		b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
}
