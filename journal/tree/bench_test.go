package tree

import (
	"context"
	"encoding/binary"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal"
)

// bulk makes pages of size events of 256 bytes each.
func bulk(pages, size int) *history {
	h := newHistory()
	d := draft{bodies: make([][]byte, size)}
	for i := range d.bodies {
		d.bodies[i] = make([]byte, 256)
		binary.BigEndian.PutUint64(d.bodies[i], uint64(i))
	}
	for range pages {
		d.accepted += int64(size)
		h.add(d)
	}
	return h
}

// BenchmarkExtend is the tree's work for one event, without fsync.
func BenchmarkExtend(b *testing.B) {
	for name, size := range map[string]int{"pages of 1000": 1000, "pages of 100": 100, "pages of 1": 1} {
		b.Run(name, func(b *testing.B) {
			h := bulk(20_000/size, size)
			for _, s := range h.pages {
				s.Page()
			}
			tr := open(b, b.TempDir(), options(h))
			i := 0
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += size {
				if i == len(h.pages) {
					i, tr.built = 0, Builder{}
				}
				if err := tr.add(h.pages[i].Page()); err != nil {
					b.Fatal(err)
				}
				i++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkProve is one proof out of a million events.
func BenchmarkProve(b *testing.B) {
	for name, size := range map[string]int{"1M in pages of 1000": 1000, "1M in pages of 10": 10} {
		b.Run(name, func(b *testing.B) {
			const events = 1_000_000
			tr := open(b, b.TempDir(), options(bulk(events/size, size)))
			catchUp(b, tr)
			b.ResetTimer()
			for n := range b.N {
				if _, err := tr.Prove(b.Context(), uint64(n)*7919%events+1); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "µs/proof")
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	proof, _, _, _ := samples(b)
	for b.Loop() {
		if _, _, err := Check(proof, public(key(1)), origin); err != nil {
			b.Fatal(err)
		}
	}
}

// parsing reads a history as a journal on disk is read: each page is parsed and
// hashed.
type parsing struct {
	h    *history
	next int
	head journal.Head
}

func (r *parsing) Next(context.Context) (*journal.Page, error) {
	if r.next == len(r.h.pages) {
		return nil, io.EOF
	}
	p, err := journal.ParsePage(r.h.pages[r.next].Bytes(), r.head)
	if err != nil {
		return nil, err
	}
	r.next++
	r.head = r.head.Next(p)
	return p, nil
}

func (r *parsing) Close() error { return nil }

// BenchmarkVerify verifies a million events, chain and tree.
func BenchmarkVerify(b *testing.B) {
	h := bulk(2000, 500)
	events := 0
	for b.Loop() {
		report, err := Verify(b.Context(), &parsing{h: h}, nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		events += int(report.Events)
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkOpen is a start after a clean stop with a million events in many
// pages.
func BenchmarkOpen(b *testing.B) {
	h := bulk(100_000, 10)
	dir := b.TempDir()
	tr := open(b, dir, options(h))
	catchUp(b, tr)
	runtime.GC()
	b.ResetTimer()
	for range b.N {
		again, err := Open(dir, options(h))
		if err != nil {
			b.Fatal(err)
		}
		again.Close()
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(time.Millisecond), "ms/open")
}
