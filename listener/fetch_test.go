package listener

import (
	"crypto/tls"
	"net"
	"reflect"
	"testing"
)

// TestFetchTLS finds in a connection of this Go's crypto/tls all that is to be fetched: if
// a release moves it, nothing breaks, but records become slower again.
func TestFetchTLS(t *testing.T) {
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
	c := ciphersOf(server)
	if c.in == c.out {
		t.Error("both directions have the same cipher")
	}
	half := reflect.ValueOf(server).Elem().FieldByName("in")
	outer := half.FieldByName("cipher").Elem().Elem()
	sizes := [2]uintptr{outer.Type().Size(), outer.FieldByName("aead").Elem().Elem().Type().Size()}
	for i := range sizes {
		if sizes[i] > cipherSizes[i] {
			t.Errorf("the state of a cipher takes %d bytes, and %d are asked for", sizes, cipherSizes)
		}
	}
	for _, at := range [][2]uintptr{c.in, c.out} {
		if at[0] == 0 || at[1] == 0 {
			t.Errorf("state of a cipher is not found: %x", at)
		}
	}
	for _, reads := range []bool{false, true} {
		(&parked{visitor: v, ciphers: c}).fetchTLS(server, reads)
		new(parked).fetchTLS(server, reads)
	}
	if c := ciphersOf(new(tls.Conn)); c != (ciphers{}) {
		t.Errorf("a connection without ciphers has %v", c)
	}
}
