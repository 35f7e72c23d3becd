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
	if size := outer.Type().Size(); size > outerCipher.size {
		t.Errorf("the outer state of a cipher takes %d bytes, and %d are asked for", size, outerCipher.size)
	}
	inner := outer.FieldByName("aead").Elem().Elem()
	unused := find(t, inner, "dec")
	aes := server.ConnectionState().CipherSuite != tls.TLS_CHACHA20_POLY1305_SHA256 // which a processor without AES prefers
	if want := (stretch{blockKeys.size, hashKeys.offset - blockKeys.size}); aes && unused != want {
		t.Errorf("keys for decrypting blocks are at %d, and %d is not asked for", unused, want)
	}
	if end := hashKeys.offset + hashKeys.size; inner.Type().Size() > end {
		t.Errorf("the state of a cipher takes %d bytes, and %d are asked for", inner.Type().Size(), end)
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

// find returns where a field is in a structure, or in those inside.
func find(t *testing.T, v reflect.Value, name string) stretch {
	t.Helper()
	if f, ok := v.Type().FieldByName(name); ok && len(f.Index) == 1 {
		return stretch{f.Offset, f.Type.Size()}
	}
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Type.Kind() == reflect.Struct {
			if s := find(t, v.Field(i), name); s.size > 0 {
				return stretch{f.Offset + s.offset, s.size}
			}
		}
	}
	return stretch{}
}
