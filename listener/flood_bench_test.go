package listener

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/poll"
)

// BenchmarkFloods is what a flood costs crypto/tls for each piece, without the
// kernel, and what it costs the one who sends it.
func BenchmarkFloods(b *testing.B) {
	for name, more := range floods {
		b.Run(name, func(b *testing.B) {
			near, far := net.Pipe()
			p := newPKI(b)
			served := &fed{Conn: far}
			server := tls.Server(served, &tls.Config{Certificates: []tls.Certificate{p.server}, NextProtos: p.client(1).NextProtos})
			shaken := start(server.Handshake)
			f, err := forgerOn(near, p.client(1))
			if errors.Is(err, errNotAES) {
				b.Skip(err)
			}
			if err = errors.Join(err, shaken()); err != nil {
				b.Fatal(err)
			}
			served.fed = true
			var theirs, ours time.Duration
			var buf [4096]byte
			sent := 0
			for left := b.N; left > 0; left -= floodBatch {
				begun := time.Now()
				for range min(floodBatch, left) {
					more(f)
				}
				theirs += time.Since(begun)
				sent += len(f.out)
				served.in = bytes.NewReader(f.out)
				begun = time.Now()
				for err = nil; err == nil; {
					_, err = server.Read(buf[:])
				}
				ours += time.Since(begun)
				if !errors.Is(err, poll.ErrWait) {
					b.Skip("crypto/tls ends it: ", err)
				}
				f.out = f.out[:0]
			}
			b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N), "ns/op")
			b.ReportMetric(float64(theirs.Nanoseconds())/float64(b.N), "sender-ns/op")
			b.ReportMetric(float64(sent)/float64(b.N), "sent-B/op")
			b.ReportMetric(float64(served.out)/float64(b.N), "answered-B/op")
		})
	}
}

// A fed connection has what it is given.
type fed struct {
	net.Conn
	fed bool
	in  *bytes.Reader
	out int
}

func (c *fed) Read(b []byte) (int, error) {
	if !c.fed {
		return c.Conn.Read(b)
	}
	if c.in.Len() == 0 {
		return 0, poll.ErrWait
	}
	return c.in.Read(b)
}

func (c *fed) Write(b []byte) (int, error) {
	if !c.fed {
		return c.Conn.Write(b)
	}
	c.out += len(b)
	return len(b), nil
}
