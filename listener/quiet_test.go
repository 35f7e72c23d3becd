package listener

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// TestNoRequest connects to the HTTPS port and asks for nothing, or too slowly: that
// is counted. Who gets an answer is not, nor who only looks whether there is a port.
func TestNoRequest(t *testing.T) {
	https := listenTCP(t)
	wait := patient
	wait.handshake = time.Second
	b := newBenchOn(t, listenTCP(t), https, nil, wait, nil)
	connect := func(say string) {
		conn, err := tls.Dial("tcp", https.Addr().String(), &tls.Config{RootCAs: b.pki.pool, ServerName: "listener.test"})
		if err != nil {
			return // a busy machine
		}
		defer conn.Close()
		fmt.Fprint(conn, say)
		if say != "" {
			io.Copy(io.Discard, conn)
		}
	}
	counted := func() uint32 {
		b.l.status.mu.Lock()
		defer b.l.status.mu.Unlock()
		return b.l.status.refused[refusal{"listener", "127.0.0.1", noRequest}]
	}
	connect("")
	connect("GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if n := counted(); n != 0 {
		t.Errorf("%d are counted that did nothing wrong", n)
	}
	for limit := time.Now().Add(patience); counted() == 0; {
		if time.Now().After(limit) {
			t.Fatal("a request that never ends is not counted")
		}
		connect("GET /livez HTTP/1.1\r\nX: ")
	}
}

func listenTCP(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
