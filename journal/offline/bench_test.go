package offline_test

import (
	"testing"

	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/offline"
	"github.com/bugle-fleet/bugle/journal/offlinetest"
)

// large is a journal of 500,000 events of 256 bytes in pages of 250, in files of
// 8 MiB.
func large(b *testing.B) (*offlinetest.Folder, int) {
	b.Helper()
	s := offlinetest.Shape{PerFile: 124, Size: 224}
	for range 2000 {
		s.Pages = append(s.Pages, 250)
	}
	f := offlinetest.Make(b, b.TempDir(), s)
	if n := len(offlinetest.Body(b, 1, s.Size)); n != 256 {
		b.Fatalf("an event has %d bytes", n)
	}
	return f, 250 * len(s.Pages)
}

func report(b *testing.B, events int) {
	b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkVerify reads a journal from its files and compares chain and tree with
// its checkpoint.
func BenchmarkVerify(b *testing.B) {
	f, events := large(b)
	told := trust(b, f)
	j := open(b, f.Dir)
	b.ResetTimer()
	for range b.N {
		if r, err := j.Verify(b.Context(), told, nil); err != nil || r.Events != uint64(events) {
			b.Fatal(r, err)
		}
	}
	report(b, events)
}

// BenchmarkCheck is the check of a generation's files before they are opened.
func BenchmarkCheck(b *testing.B) {
	f, events := large(b)
	files, err := block.Files(generation.LiveFolder(f.Dir, 1))
	if err != nil {
		b.Fatal(err)
	}
	for name, check := range map[string]func() error{
		"records": func() error {
			for _, f := range files {
				if err := block.Walk(f, func(block.Record) error { return nil }); err != nil {
					return err
				}
			}
			return nil
		},
		"records and pages": func() error {
			_, err := block.Check(b.Context(), files, 0, block.Position{}, nil)
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				if err := check(); err != nil {
					b.Fatal(err)
				}
			}
			report(b, events)
		})
	}
}

// BenchmarkSurvey sorts out what can be proved of a journal.
func BenchmarkSurvey(b *testing.B) {
	f, events := large(b)
	told := trust(b, f)
	b.ResetTimer()
	for range b.N {
		s, err := offline.SurveyFolder(b.Context(), f.Dir, told, offline.Options{})
		if err != nil || s.Events != uint64(events) {
			b.Fatal(err)
		}
		s.Close()
	}
	report(b, events)
}
