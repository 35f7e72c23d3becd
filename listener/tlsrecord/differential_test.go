package tlsrecord

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// data is of some length, and tells whether a part is missing or twice there.
func data(t *rapid.T, name string, most int) []byte {
	n := rapid.OneOf(rapid.IntRange(1, 600), rapid.IntRange(1, 70_000), rapid.Just(maxPlaintext), rapid.Just(maxPlaintext+1)).Draw(t, name)
	n = min(n, most)
	b := make([]byte, n)
	x := rapid.Uint32().Draw(t, "seed")
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// TestAgreesWithCryptoTLS lets a client of crypto/tls and us talk at random, over
// every kind of handshake.
func TestAgreesWithCryptoTLS(t *testing.T) {
	for _, s := range suites {
		t.Run(tls.CipherSuiteName(s.id), func(t *testing.T) {
			onlySuite(t, s.id)
			rapid.Check(t, func(t *rapid.T) { talk(t, s.id) })
		})
	}
}

func talk(t *rapid.T, suite uint16) {
	server, client := serverConfig(), clientConfig()
	server.SessionTicketsDisabled = rapid.Bool().Draw(t, "without tickets")
	resumed := !server.SessionTicketsDisabled && rapid.Bool().Draw(t, "resumed")
	client.DynamicRecordSizingDisabled = rapid.Bool().Draw(t, "large records")
	if rapid.Bool().Draw(t, "hello again") {
		server.CurvePreferences = []tls.CurveID{tls.CurveP256}
		client.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256}
	}
	if !resumed && rapid.Bool().Draw(t, "client wants none") {
		client.ClientSessionCache = nil
	}
	if resumed {
		getTicket(t, server, client, rapid.Bool().Draw(t, "from us"))
	}
	most := rapid.SampledFrom([]int{1, 7, 1000, 1 << 20}).Draw(t, "segment")
	longest := 2000 * most
	var early [][]byte
	for range rapid.IntRange(0, 3).Draw(t, "early") {
		early = append(early, data(t, "early data", longest))
	}
	m := mustMeet(t, server, client, func() int { return most }, early...)
	if cs := m.theirs.ConnectionState(); cs.DidResume != resumed || cs.CipherSuite != suite {
		t.Fatalf("resumed %v with suite %x, want %v and %x", cs.DidResume, cs.CipherSuite, resumed, suite)
	}
	expect(t, m.ours, bytes.Join(early, nil), rapid.IntRange(1, 70_000).Draw(t, "read"))
	for range rapid.IntRange(1, 12).Draw(t, "steps") {
		m.step(t, longest)
	}
	m.part(t)
}

// step sends something one way or the other, and maybe goes on over another connection.
func (m *meeting) step(t *rapid.T, longest int) {
	if rapid.IntRange(0, 3).Draw(t, "moves") == 0 {
		m.ours = m.ours.Over(m.near)
	}
	from, to := io.Writer(m.ours), io.Reader(m.theirs)
	if rapid.Bool().Draw(t, "the client speaks") {
		from, to = m.theirs, m.ours
	}
	var sent []byte
	for range rapid.IntRange(1, 3).Draw(t, "writes") {
		b := data(t, "data", longest)
		if n, err := from.Write(b); err != nil || n != len(b) {
			t.Fatalf("wrote %d bytes of %d: %v", n, len(b), err)
		}
		sent = append(sent, b...)
	}
	expect(t, to, sent, rapid.IntRange(1, 70_000).Draw(t, "read"))
	if n, err := m.ours.Read(make([]byte, 1)); n != 0 || !errors.Is(err, errWait{}) {
		t.Fatalf("read %d bytes although nothing came: %v", n, err)
	}
	if m.ours.rare != nil {
		t.Fatalf("something is kept while nothing waits: %+v", m.ours.rare)
	}
}

// part ends the connection, one side after the other.
func (m *meeting) part(t *rapid.T) {
	oursFirst := rapid.Bool().Draw(t, "we end first")
	if oursFirst {
		m.weEnd(t)
	}
	if err := m.theirs.CloseWrite(); err != nil {
		t.Fatalf("%v", err)
	}
	for range 2 {
		if n, err := m.ours.Read(make([]byte, 10)); n != 0 || err != io.EOF {
			t.Fatalf("read %d bytes behind the end: %v", n, err)
		}
	}
	if !oursFirst {
		if _, err := m.ours.Write([]byte("last")); err != nil {
			t.Fatalf("write to one who has ended: %v", err)
		}
		expect(t, m.theirs, []byte("last"), 4)
		m.weEnd(t)
	}
}

func (m *meeting) weEnd(t *rapid.T) {
	if err := m.ours.CloseWrite(); err != nil {
		t.Fatalf("%v", err)
	}
	if n, err := m.theirs.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Fatalf("client read %d bytes behind our end: %v", n, err)
	}
	if _, err := m.ours.Write([]byte("more")); err != errShutdown {
		t.Fatalf("write behind the end: %v", err)
	}
}

// getTicket fills the client's cache, by us or by crypto/tls alone.
func getTicket(t failer, server, client *tls.Config, byUs bool) {
	if byUs {
		m := mustMeet(t, server, client, nil)
		if _, err := m.ours.Write([]byte("x")); err != nil {
			t.Fatalf("%v", err)
		}
		expect(t, m.theirs, []byte("x"), 1)
		return
	}
	near, far := pipe()
	conn := tls.Server(near, server)
	done := make(chan error, 1)
	go func() {
		_, err := conn.Write([]byte("x"))
		done <- err
	}()
	expect(t, tls.Client(far, client), []byte("x"), 1)
	if err := <-done; err != nil {
		t.Fatalf("%v", err)
	}
}

// TestTicketsAreShared resumes at a server without us what began with us. The keys
// are set anew in between.
func TestTicketsAreShared(t *testing.T) {
	server, client := serverConfig(), clientConfig()
	server.SetSessionTicketKeys([][32]byte{{1}})
	getTicket(t, server, client, true)
	server.SetSessionTicketKeys([][32]byte{{2}, {1}})
	near, far := pipe()
	go tls.Server(near, server).Handshake()
	plain := tls.Client(far, client)
	if err := plain.Handshake(); err != nil || !plain.ConnectionState().DidResume {
		t.Errorf("a ticket of ours is not taken: %v", err)
	}
	server.SetSessionTicketKeys([][32]byte{{3}})
	if m := mustMeet(t, server, client, nil); m.theirs.ConnectionState().DidResume {
		t.Error("a ticket was taken whose key is gone")
	}
}
