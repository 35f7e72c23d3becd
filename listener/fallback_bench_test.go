package listener

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// BenchmarkPushOver pushes to 100 agents in the same process over each carrier:
// from the feed's update to the last agent's receipt.
func BenchmarkPushOver(b *testing.B) {
	const agents = 100
	for i := -1; i < len(fallbacks); i++ {
		name := "tcp"
		if i >= 0 {
			name = strings.ReplaceAll(fallbacks[i].name, " ", "-")
		}
		b.Run(name, func(b *testing.B) {
			bench, url := webBench(b, nil)
			devices := make([]uint32, agents)
			received := make(chan time.Time, agents)
			for d := range devices {
				devices[d] = uint32(d + 1)
				var a *agent
				if i < 0 {
					a = bench.mustConnect(devices[d])
				} else {
					conn, err := fallbacks[i].dial(bench, url, devices[d])
					if err != nil {
						b.Fatal(err)
					}
					a = bench.agent(conn, conn)
				}
				a.hello()
				go func() {
					for m := range a.received {
						if _, ok := m.(*wire.Task); ok {
							received <- time.Now()
						}
					}
				}()
			}
			var last []time.Duration
			for b.Loop() {
				op := bench.pki.operation(time.Hour, devices...)
				begun := time.Now()
				bench.tell(op)
				var end time.Time
				for range agents {
					if at := <-received; at.After(end) {
						end = at
					}
				}
				last = append(last, end.Sub(begun))
				bench.tell(EndOperation{ID: op.id(b)})
			}
			slices.Sort(last)
			b.ReportMetric(float64(last[len(last)/2].Microseconds())/1000, "ms/p50-last-agent")
			b.ReportMetric(float64(last[(len(last)-1)*99/100].Microseconds())/1000, "ms/p99-last-agent")
		})
	}
}

// crowd is what a process of idle agents needs to know.
type crowd struct {
	Carrier      int  // -1: TCP, else of fallbacks
	Returns      bool // over TCP: with the ticket of a session before
	TCP, URL     string
	CA, Key      []byte
	Certificates [][]byte
}

const (
	crowdSize = 500
	crowdFile = "BUGLE_CROWD"
)

// TestCrowd is the process of idle agents of BenchmarkIdleSession.
func TestCrowd(t *testing.T) {
	file := os.Getenv(crowdFile)
	if file == "" {
		return // nobody asked for it
	}
	var c crowd
	raw, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	key, _ := x509.ParsePKCS8PrivateKey(c.Key)
	ca, _ := x509.ParseCertificate(c.CA)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	for i, der := range c.Certificates {
		mine := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
		b := &bench{t: t, pki: &pki{pool: pool, fixed: &mine}, dial: func() (net.Conn, error) { return net.Dial("tcp", c.TCP) }}
		c.join(t, b, uint32(i+1))
	}
	os.Stdout.WriteString("ready\n")
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0) // the connections end with the process
}

func (c *crowd) join(t *testing.T, b *bench, device uint32) {
	var conn connection
	if c.Carrier < 0 {
		raw, err := b.dial()
		if err != nil {
			t.Fatal(err)
		}
		config := b.pki.client(device)
		if c.Returns {
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			if _, err := b.visit(config); err != nil {
				t.Fatal(err)
			}
		}
		conn = tls.Client(raw, config)
	} else {
		over, err := fallbacks[c.Carrier].dial(b, c.URL, device)
		if err != nil {
			t.Fatal(err)
		}
		conn = over
	}
	a := &agent{t: t, conn: conn, received: make(chan wire.Message, 16)}
	go a.read()
	a.hello()
}

// BenchmarkIdleSession measures what one session costs its listener while nothing
// happens; the agents are in another process.
func BenchmarkIdleSession(b *testing.B) {
	for _, park := range []Park{ParkTLS, ParkKeys} {
		b.Run("tcp-"+string(park), func(b *testing.B) {
			withPark(b, park)
			for b.Loop() {
				measureCrowd(b, crowd{Carrier: -1})
			}
		})
	}
	b.Run("tcp-tls-resumed", func(b *testing.B) {
		withPark(b, ParkTLS)
		for b.Loop() {
			measureCrowd(b, crowd{Carrier: -1, Returns: true})
		}
	})
	for i := range fallbacks {
		b.Run(strings.ReplaceAll(fallbacks[i].name, " ", "-"), func(b *testing.B) {
			for b.Loop() {
				measureCrowd(b, crowd{Carrier: i})
			}
		})
	}
}

func measureCrowd(b *testing.B, c crowd) {
	bench, url := webBench(b, nil)
	raw, _ := bench.dial()
	raw.Close()
	key, _ := x509.MarshalPKCS8PrivateKey(bench.pki.device)
	c.TCP, c.URL, c.CA, c.Key = raw.RemoteAddr().String(), url, bench.pki.cert.Raw, key
	for d := range crowdSize {
		c.Certificates = append(c.Certificates, bench.pki.certificate(uint32(d + 1)).Certificate[0])
	}
	file := filepath.Join(b.TempDir(), "crowd")
	text, _ := json.Marshal(c)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		b.Fatal(err)
	}
	bytes, routines := memory()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrowd$")
	cmd.Env, cmd.Stderr = append(os.Environ(), crowdFile+"="+file), os.Stderr
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		b.Fatalf("%q %v", line, err)
	}
	time.Sleep(2 * time.Second) // what the sign-in left behind goes
	after, more := memory()
	b.ReportMetric(float64(after-bytes)/crowdSize, "B/session")
	b.ReportMetric(float64(more-routines)/crowdSize, "goroutines/session")
	in.Close()
	cmd.Wait()
	bench.stop()
}

func memory() (bytes int64, routines int) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse), runtime.NumGoroutine()
}
