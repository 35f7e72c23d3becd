package listener

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/bugle-fleet/bugle/listener/poll"
)

// TestLayout finds in a connection of this Go's crypto/tls all that is to be fetched: if
// a release moves it, nothing breaks, but records become slower again.
func TestLayout(t *testing.T) {
	for name, s := range map[string]stretch{"common": tlsCommon, "writing": tlsWriting, "sending": tlsSending,
		"closing": tlsClosing, "reading": tlsReading, "received": tlsReceived} {
		if s.size == 0 {
			t.Errorf("%s: no such fields", name)
		}
	}
	p := newPKI(t)
	ours, theirs := net.Pipe()
	v := newVisitor(ours, make(chan struct{}, 1))
	server := tls.Server(v, &tls.Config{MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
		Certificates: []tls.Certificate{p.server}})
	client := tls.Client(theirs, &tls.Config{RootCAs: p.pool, ServerName: "listener.test"})
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	l := layoutOf(server)
	if l.visitor != v || l.conn != poll.PieceOf(server) {
		t.Errorf("found visitor %p and connection %v", l.visitor, l.conn)
	}
	for _, half := range []ciphers{l.in, l.out} {
		for i, p := range half {
			if p.At == 0 || p.Size < 16 {
				t.Errorf("cipher state %d is not found: %v", i, p)
			}
		}
	}
	if l.in == l.out {
		t.Error("both directions have the same cipher")
	}
	l.fetch(true)
	empty := layoutOf(nil)
	empty.fetch(true)
}
