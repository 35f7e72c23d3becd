package archive

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/tree"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// day makes pages of about a hundred events each, as a day of a site has them:
// results and presence in batches of a few devices, facts, tokens. What is random
// in life is random here: MACs, digests, identifiers.
func day(b *testing.B, events int) (all [][]byte) {
	b.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	chance := rand.NewChaCha8([32]byte{7})
	now := time.Unix(1_760_000_000, 0)
	var head journal.Head
	for n := 0; n < events; {
		var p journal.PageBuilder
		for range min(60+rnd.IntN(80), events-n) {
			now = now.Add(time.Duration(rnd.IntN(8)) * time.Millisecond)
			e := happened(rnd, chance, now)
			raw, err := e.Append(nil)
			if err != nil {
				b.Fatal(err)
			}
			if !p.Room(1, len(raw)) {
				break
			}
			p.Add(raw)
			n++
		}
		s := p.Seal(head, now.UnixNano())
		head = s.Head
		all = append(all, s.Bytes())
	}
	return all
}

func happened(rnd *rand.Rand, chance io.Reader, now time.Time) *event.Event {
	e := &event.Event{Observed: now, Actor: event.Actor{Issuer: "inbox", Subject: "BGL1"},
		Source: &event.Source{Listener: "BGL1", Epoch: 3, File: event.BTS, Number: rnd.Uint64N(1 << 20), Part: 1, Of: 1}}
	chance.Read(e.Source.Digest[:])
	switch rnd.IntN(10) {
	case 0, 1, 2:
		p := &event.PresenceDelta{}
		for range 1 + rnd.IntN(6) {
			p.Entries = append(p.Entries, event.PresenceEntry{Device: rnd.Uint32N(25_000) + 1, Online: rnd.IntN(2) > 0, Reason: 0, Carrier: event.TCP, Since: now})
		}
		for i := range p.Entries {
			if !p.Entries[i].Online {
				p.Entries[i].Reason = event.TimedOut
			}
		}
		e.Source.File, e.Payload = event.BOS, p
	case 3:
		e.Source.File = event.DDR
		e.Payload = &event.DeviceDiscovered{Device: rnd.Uint32N(25_000) + 1, Facts: []event.Fact{
			{Name: "os.name", Value: "Debian GNU/Linux 13"}, {Name: "host.name", Value: fmt.Sprintf("ws-%05d.example.org", rnd.IntN(25_000))},
			{Name: "cpu.model", Value: "Intel(R) Core(TM) i5-1145G7"}, {Name: "memory.bytes", Value: fmt.Sprint(rnd.IntN(8) << 30)},
			{Name: "boot.time", Value: now.Format(time.RFC3339)}}}
	default:
		p := &event.ResultsReported{}
		for range 1 + rnd.IntN(3) {
			r := event.ResultRow{Result: task.Result{Device: rnd.Uint32N(25_000) + 1, Attempt: 1, State: task.Succeeded, At: now}}
			copy(r.Operation[:], "\x01\x99\x12\x34\x56\x78\x70\x00\x80\x00")
			r.Operation[15] = byte(rnd.IntN(20))
			chance.Read(r.MAC[:])
			p.Rows = append(p.Rows, r)
		}
		e.Payload = p
	}
	return e
}

// synthetic makes full pages of 256-byte events that do not compress well.
func synthetic(b *testing.B, events int) (all [][]byte) {
	b.Helper()
	chance := rand.NewChaCha8([32]byte{9})
	body := make([]byte, 256)
	var head journal.Head
	for n := 0; n < events; n += journal.MaxPageEvents {
		var p journal.PageBuilder
		for range journal.MaxPageEvents {
			chance.Read(body)
			p.Add(body)
		}
		s := p.Seal(head, int64(n)+1)
		head = s.Head
		all = append(all, s.Bytes())
	}
	return all
}

const benchEvents = 500_000

func histories(b *testing.B, run func(b *testing.B, pages [][]byte)) {
	b.Run("a day", func(b *testing.B) { run(b, day(b, benchEvents)) })
	b.Run("256 random bytes", func(b *testing.B) { run(b, synthetic(b, benchEvents)) })
}

func size(pages [][]byte) (n int64) {
	for _, p := range pages {
		n += int64(len(p))
	}
	return n
}

func fileOf(b *testing.B, name string, pages [][]byte) Info {
	b.Helper()
	f, err := Create(name, Header{History: identity, Generation: 1})
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range pages {
		if err := f.Add(p); err != nil {
			b.Fatal(err)
		}
	}
	info, err := f.Close(sealAs(b, key(1), origin(identity), f.built))
	if err != nil {
		b.Fatal(err)
	}
	return info
}

// BenchmarkWrite writes half a million events into a durable file.
func BenchmarkWrite(b *testing.B) {
	histories(b, func(b *testing.B, pages [][]byte) {
		name := filepath.Join(b.TempDir(), "a.bga")
		b.SetBytes(size(pages))
		var info Info
		for b.Loop() {
			info = fileOf(b, name, pages)
		}
		b.ReportMetric(float64(info.Events())*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		b.ReportMetric(float64(size(pages))/float64(info.Size), "ratio")
		b.ReportMetric(float64(info.Size)/float64(info.Events()), "B/event")
	})
}

// BenchmarkVerify checks every byte of that file: hashes, chain, tree, signature.
func BenchmarkVerify(b *testing.B) {
	histories(b, func(b *testing.B, pages [][]byte) {
		name := filepath.Join(b.TempDir(), "a.bga")
		fileOf(b, name, pages)
		r, err := Open(name)
		if err != nil {
			b.Fatal(err)
		}
		defer r.Close()
		b.SetBytes(size(pages))
		for b.Loop() {
			if report, err := r.Verify(b.Context(), public(1), nil); err != nil || !report.Signed {
				b.Fatal(report, err)
			}
		}
		b.ReportMetric(benchEvents*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
}

// BenchmarkRead reads the pages of that file in order, with their chain: alone,
// and as a stream that also makes the tree.
func BenchmarkRead(b *testing.B) {
	histories(b, func(b *testing.B, pages [][]byte) {
		name := filepath.Join(b.TempDir(), "a.bga")
		fileOf(b, name, pages)
		r, err := Open(name)
		if err != nil {
			b.Fatal(err)
		}
		defer r.Close()
		b.Run("file", func(b *testing.B) {
			for b.Loop() {
				in, err := r.Read(b.Context(), 1)
				if err != nil {
					b.Fatal(err)
				}
				all(b, in)
			}
			b.ReportMetric(benchEvents*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
		b.Run("stream", func(b *testing.B) {
			raw, err := os.ReadFile(name)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				in, err := NewStream(bytes.NewReader(raw))
				if err != nil {
					b.Fatal(err)
				}
				all(b, in)
			}
			b.ReportMetric(benchEvents*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	})
}

func all(b *testing.B, r journal.Reader) {
	b.Helper()
	events := 0
	for {
		p, err := r.Next(b.Context())
		if err == io.EOF {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		events += len(p.Records)
	}
	if events != benchEvents {
		b.Fatalf("%d events", events)
	}
}

// BenchmarkLoad loads a page anywhere in that file.
func BenchmarkLoad(b *testing.B) {
	histories(b, func(b *testing.B, pages [][]byte) {
		name := filepath.Join(b.TempDir(), "a.bga")
		info := fileOf(b, name, pages)
		r, err := Open(name)
		if err != nil {
			b.Fatal(err)
		}
		defer r.Close()
		b.ResetTimer()
		for n := range b.N {
			page := uint64(n)*7919%info.Pages() + 1
			if _, err := r.Load(b.Context(), page, page); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "µs/page")
	})
}

// BenchmarkOpen opens an archive with an index of 16,384 frames, which is one of
// up to 16 GiB of pages.
func BenchmarkOpen(b *testing.B) {
	before := tree.NewBuilder()
	m := framed(b, 1, 1, before, ones(16_384)...)
	b.ResetTimer()
	for range b.N {
		if _, err := opened(m.bytes); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(m.info.Frames), "frames")
}

// ones is n pages of one event.
func ones(n int) []int {
	counts := make([]int, n)
	for i := range counts {
		counts[i] = 1
	}
	return counts
}
