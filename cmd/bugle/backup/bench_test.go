package backup

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// benchEvents is how many events of some 256 bytes the history has that is
// copied.
const benchEvents = 500_000

func benchSite(b *testing.B) *site {
	b.Helper()
	s := newSite(b)
	text := strings.Repeat("x", 180)
	var last uint64
	for n := 0; n < benchEvents; n += journal.MaxPageEvents {
		all := make([]*event.Event, journal.MaxPageEvents)
		for i := range all {
			all[i] = &event.Event{Actor: event.Actor{Issuer: "site", Subject: "bench"}, Payload: &event.SiteMessage{
				Component: "bench", Severity: event.Info, Text: fmt.Sprintf("%s %09d", text, n+i)}}
		}
		if err := s.journal.Append(b.Context(), all...); err != nil {
			b.Fatal(err)
		}
		last = all[len(all)-1].Number
	}
	if err := s.tree.Wait(b.Context(), last); err != nil {
		b.Fatal(err)
	}
	return s
}

func rates(b *testing.B, bytes int64) {
	seconds := b.Elapsed().Seconds() / float64(b.N)
	b.ReportMetric(benchEvents/seconds, "events/s")
	b.ReportMetric(float64(bytes)/seconds/1e6, "MB/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkBackup copies a running site into a new folder.
func BenchmarkBackup(b *testing.B) {
	s := benchSite(b)
	var bytes int64
	for b.Loop() {
		bytes = s.mustRun(filepath.Join(b.TempDir(), "backup")).Copied
	}
	rates(b, bytes)
}

// BenchmarkCheck checks a backup to its last byte.
func BenchmarkCheck(b *testing.B) {
	s := benchSite(b)
	dir := filepath.Join(b.TempDir(), "backup")
	m := s.mustRun(dir).Manifest
	for b.Loop() {
		check(b, dir, nil)
	}
	rates(b, m.Bytes())
}

// BenchmarkRestore checks a backup, makes a site of it, and reads that back.
func BenchmarkRestore(b *testing.B) {
	s := benchSite(b)
	dir := filepath.Join(b.TempDir(), "backup")
	m := s.mustRun(dir).Manifest
	for b.Loop() {
		if _, err := Restore(b.Context(), RestoreConfig{Dir: dir, Data: filepath.Join(b.TempDir(), "new")}); err != nil {
			b.Fatal(err)
		}
	}
	rates(b, m.Bytes())
}
