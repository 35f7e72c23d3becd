package jetstream

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// filled is a journal of events of 256 bytes in pages of the given size, of which
// nothing is in memory.
func filled(b *testing.B, events, perPage int) *Journal {
	b.Helper()
	dir := b.TempDir() + "/journal"
	if err := Import(context.Background(), dir, [16]byte{1}, nil, rawEvents(b, events, perPage)); err != nil {
		b.Fatal(err)
	}
	j, err := Open(context.Background(), dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { j.Close() })
	return j
}

// rawEvents are pages of events of 256 bytes.
func rawEvents(b *testing.B, events, perPage int) func(yield func([]byte, error) bool) {
	body, err := event256(b).Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	return func(yield func([]byte, error) bool) {
		var head journal.Head
		for head.Event < uint64(events) {
			var p journal.PageBuilder
			p.Grow(perPage * (len(body) + 12))
			for range perPage {
				p.Add(body)
			}
			s := p.Seal(head, int64(head.Event)+1)
			if head = s.Head; !yield(s.Bytes(), nil) {
				return
			}
		}
	}
}

// replay reads all of a journal as often as it takes to read b.N events, and
// reports how many it reads in a second.
func replay(b *testing.B, all func() int) {
	b.ResetTimer()
	n := 0
	for n < b.N {
		n += all()
	}
	b.StopTimer()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

func drain(b *testing.B, j *Journal, decode bool) (n int) {
	r, err := j.Read(context.Background(), 1)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	for {
		p, err := r.Next(context.Background())
		if err == io.EOF {
			return n
		}
		if err != nil {
			b.Fatal(err)
		}
		n += len(p.Records)
		if decode {
			decodeAll(b, p)
		}
	}
}

func decodeAll(b *testing.B, p *journal.Page) {
	for i := range p.Records {
		if _, err := p.Records[i].Event(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReplay reads a journal of pages of the given size from the first
// event to the last, numbers and chain checked. The time is that of one event.
func BenchmarkReplay(b *testing.B) {
	for _, perPage := range []int{1, 250, 1000} {
		b.Run(fmt.Sprintf("events/page=%d", perPage), func(b *testing.B) {
			j := filled(b, max(100*perPage, 20_000), perPage)
			replay(b, func() int { return drain(b, j, false) })
		})
	}
}

// BenchmarkReplayPeers is a replay of 250,000 events of 256 bytes: ours, in pages
// of 64 KiB, chain-verified; and JetStream's ordered consumer as it is by default,
// with one event per message.
func BenchmarkReplayPeers(b *testing.B) {
	const events = 250_000
	b.Run("bugle", func(b *testing.B) {
		j := filled(b, events, 250)
		replay(b, func() int { return drain(b, j, false) })
	})
	b.Run("JetStream", func(b *testing.B) {
		stream := plainStream(b, events)
		replay(b, func() int { return consume(b, stream, events) })
	})
}

// plainStream is a stream with one message of 256 bytes per event.
func plainStream(b *testing.B, events int) js.Stream {
	b.Helper()
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, JetStream: true, StoreDir: b.TempDir(),
		JetStreamMaxStore: 1 << 34, JetStreamMaxMemory: 1 << 20, NoLog: true})
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	b.Cleanup(s.WaitForShutdown)
	b.Cleanup(s.Shutdown)
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	api, err := js.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	stream, err := api.CreateStream(context.Background(), js.StreamConfig{Name: "P", Subjects: []string{"p"}, Storage: js.FileStorage})
	if err != nil {
		b.Fatal(err)
	}
	record := make([]byte, 256)
	for i := range events {
		if _, err := api.PublishAsync("p", record); err != nil {
			b.Fatal(err)
		}
		if i%1000 == 999 {
			<-api.PublishAsyncComplete()
		}
	}
	<-api.PublishAsyncComplete()
	return stream
}

// consume reads a stream with an ordered consumer.
func consume(b *testing.B, stream js.Stream, events int) int {
	c, err := stream.OrderedConsumer(context.Background(), js.OrderedConsumerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	done, n := make(chan struct{}), 0
	cc, err := c.Consume(func(m js.Msg) {
		if n++; n == events {
			close(done)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	defer cc.Stop()
	<-done
	return n
}

// BenchmarkChainReplay is what the chain costs a replay: with it, and without it,
// events decoded as a fold gets them, or only found.
func BenchmarkChainReplay(b *testing.B) {
	for _, decode := range []bool{false, true} {
		j := filled(b, 250_000, 250)
		b.Run(fmt.Sprintf("decoded=%t/chain=on", decode), func(b *testing.B) {
			replay(b, func() int { return drain(b, j, decode) })
		})
		b.Run(fmt.Sprintf("decoded=%t/chain=off", decode), func(b *testing.B) {
			replay(b, func() int { return drainUnchained(b, j, decode) })
		})
	}
}

// drainUnchained is drain without hashing: each page's hash is what the page
// behind it says.
func drainUnchained(b *testing.B, j *Journal, decode bool) (n int) {
	var head journal.Head
	end := j.Head()
	for head.Pages < end.Pages {
		raws, err := j.store.Load(context.Background(), head.Pages+1, end.Pages)
		if err != nil {
			b.Fatal(err)
		}
		for i, raw := range raws {
			hash := end.Hash
			if i+1 < len(raws) {
				hash, _ = journal.PreviousHash(raws[i+1])
			}
			head.Hash, _ = journal.PreviousHash(raw)
			p, err := journal.ParseHashed(raw, hash, head)
			if err != nil {
				b.Fatal(err)
			}
			head = head.Next(p)
			n += len(p.Records)
			if decode {
				decodeAll(b, p)
			}
		}
	}
	return n
}

// BenchmarkChainAppend is what share of appending the hash of the pages is, with
// 256 callers: the same pages are hashed once more, alone.
func BenchmarkChainAppend(b *testing.B) {
	j := openBench(b)
	events := slices.Repeat([]event.Event{*event256(b)}, 256)
	callers(b, 256, func(c int) error { return j.Append(context.Background(), &events[c]) })
	append := b.Elapsed()
	r, err := j.Read(context.Background(), 1)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	var hashing atomic.Int64
	for {
		p, err := r.Next(context.Background())
		if err == io.EOF {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		journal.HashPage(p.Bytes())
		hashing.Add(int64(time.Since(start)))
	}
	b.ReportMetric(100*float64(hashing.Load())/float64(append), "chain-%")
}
