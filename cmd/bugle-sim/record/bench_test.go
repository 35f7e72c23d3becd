package record

import (
	"path/filepath"
	"sync"
	"testing"
)

// BenchmarkAppend is one durable entry of each of 1,000 agents at once.
func BenchmarkAppend(b *testing.B) {
	l, err := Open(filepath.Join(b.TempDir(), "records"), 0)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for b.Loop() {
		var all sync.WaitGroup
		for i := range uint32(1000) {
			all.Go(func() {
				if err := l.Agent(i).Append(true, entry(int(i))); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
	}
	b.ReportMetric(float64(l.Syncs())/float64(b.N), "fsyncs/op")
}
