package listener

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// BenchmarkSignIn is what one sign-in costs the listener, which is a process of its
// own: from the connection to its end, the welcome between them. Unknown shows a
// certificate for the first time, known one that was verified before, resumed a ticket.
func BenchmarkSignIn(b *testing.B) {
	for _, how := range []string{"unknown", "known", "resumed"} {
		for _, park := range []Park{ParkTLS, ParkKeys} {
			b.Run(how+"/"+string(park), func(b *testing.B) { benchmarkSignIn(b, how, park) })
		}
	}
}

// devices is so large that none signs in too often.
const signInDevices = 4000

func benchmarkSignIn(b *testing.B, how string, park Park) {
	l := newLabOf(b, labSetup{Limits: Limits{PerAddress: 256, StrangerBurst: 1 << 20}, Park: park})
	devices := make([]*tls.Config, signInDevices)
	if how == "unknown" {
		devices = make([]*tls.Config, max(b.N, signInDevices))
	}
	for i := range devices {
		devices[i] = l.pki.client(uint32(i + 1))
		if how == "resumed" {
			devices[i].ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
	}
	if how != "unknown" {
		signInAll(b, l.tcp, devices, len(devices))
	}
	before := l.order(order{Settle: true})
	b.ResetTimer()
	signInAll(b, l.tcp, devices, b.N)
	b.StopTimer()
	after := l.order(order{})
	n := float64(b.N)
	b.ReportMetric(float64((after.CPU-before.CPU).Microseconds())/n, "cpu-µs/sign-in")
	b.ReportMetric(float64(after.Stats.Resumed-before.Stats.Resumed)/n, "resumed/sign-in")
	b.ReportMetric(float64(after.Stats.Known-before.Stats.Known)/n, "known/sign-in")
	b.ReportMetric(float64(after.Stats.HandshakeCost.Microseconds()), "turn-µs/handshake")
}

// signInAll signs devices in, n times in all, some at a time.
func signInAll(b *testing.B, address string, devices []*tls.Config, n int) {
	b.Helper()
	const atOnce = 32
	var next atomic.Int64
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := signInOnce(address, devices[i%len(devices)]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func signInOnce(address string, config *tls.Config) error {
	raw, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer raw.Close()
	conn := tls.Client(raw, config)
	hello, err := wire.Append(nil, &wire.SignIn{Version: wire.Version, Agent: "bench"})
	if err != nil {
		return err
	}
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	var answer [512]byte
	_, err = conn.Read(answer[:])
	return err
}
