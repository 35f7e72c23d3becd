package salvage_test

import (
	"context"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/bugle-fleet/bugle/journal/offlinetest"
	"github.com/bugle-fleet/bugle/journal/salvage"
)

// BenchmarkRun salvages 500,000 events of 256 bytes, of which one file is gone, to
// nowhere: what writing costs is the store's.
func BenchmarkRun(b *testing.B) {
	s := offlinetest.Shape{PerFile: 124, Size: 224}
	for range 2000 {
		s.Pages = append(s.Pages, 250)
	}
	f := offlinetest.Make(b, filepath.Join(b.TempDir(), "old"), s)
	if err := os.Remove(live(f, 1, 3)); err != nil {
		b.Fatal(err)
	}
	o := salvage.Options{Dir: f.Dir, To: filepath.Join(b.TempDir(), "new"), Trust: trust(b, f), Write: func(_ context.Context, _ string, _ [16]byte, pages iter.Seq2[[]byte, error]) error {
		for _, err := range pages {
			if err != nil {
				return err
			}
		}
		return nil
	}}
	b.ResetTimer()
	for range b.N {
		if r, err := salvage.Run(b.Context(), o); err != nil || len(r.Lost) != 1 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(500_000)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(0, "ns/op")
}
