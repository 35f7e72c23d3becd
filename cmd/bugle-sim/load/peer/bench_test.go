package peer

import (
	"flag"
	"testing"
	"time"
)

var (
	benchAgents = flag.Int("agents", 1000, "agents of BenchmarkPeer")
	benchCPU    = flag.Int("server-cpu", -1, "processor of the server in BenchmarkPeer, or any")
)

// BenchmarkPeer is one day of a fleet an operation: all sign in with full handshakes,
// are pushed to, are dropped, miss a task, and return resumed.
//
//	go test -run '^$' -bench Peer -benchtime 3x ./cmd/bugle-sim/load/peer -agents 10000 -server-cpu 0
func BenchmarkPeer(b *testing.B) {
	for _, name := range Names() {
		b.Run(name, func(b *testing.B) { benchPeer(b, name) })
	}
}

func benchPeer(b *testing.B, name string) {
	s := open(b, name, *benchAgents, *benchCPU)
	before := use(b, s)
	s.signIn(b, true)
	grown := (use(b, s).rss - before.rss) / 1024 / float64(*benchAgents)
	var full, resumed, task, push, all float64
	for b.Loop() {
		s.drop()
		u := use(b, s)
		s.signIn(b, true)
		full += since(b, s, u)

		u = use(b, s)
		begun := time.Now()
		number := s.push(b, nil)
		s.everywhere(b, number, s.all)
		all += float64(time.Since(begun).Milliseconds())
		push += float64(s.last[number].Sub(begun).Milliseconds())
		task += since(b, s, u)

		s.drop()
		number = s.push(b, nil)
		u = use(b, s)
		s.signIn(b, false)
		s.everywhere(b, number, s.all)
		resumed += since(b, s, u)
	}
	n := float64(b.N)
	b.ReportMetric(grown, "KiB/agent")
	b.ReportMetric(full/n, "µs/full")
	b.ReportMetric(resumed/n, "µs/resumed+replay")
	b.ReportMetric(task/n, "µs/task+answer")
	b.ReportMetric(push/n, "ms-last-task")
	b.ReportMetric(all/n, "ms-all-answers")
	b.ReportMetric(0, "ns/op")
}

// What a server has used.
type used struct {
	cpu time.Duration
	rss float64
}

func use(b *testing.B, s *stage) used {
	b.Helper()
	u, err := s.Usage()
	if err != nil {
		b.Fatal(err)
	}
	return used{u.CPU, float64(u.RSS)}
}

// since is the processor time in µs an agent.
func since(b *testing.B, s *stage, from used) float64 {
	return float64((use(b, s).cpu - from.cpu).Microseconds()) / float64(*benchAgents)
}
