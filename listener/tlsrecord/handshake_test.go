package tlsrecord

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestFallsBack does not take over what it cannot: crypto/tls goes on over the same
// connection, with what came together with the handshake too.
func TestFallsBack(t *testing.T) {
	for name, edit := range map[string]func(server *tls.Config){
		"TLS 1.2": func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
		"large ticket": func(c *tls.Config) {
			c.WrapSession = func(tls.ConnectionState, *tls.SessionState) ([]byte, error) { return make([]byte, maxTicket+1), nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := serverConfig()
			edit(server)
			fallsBack(t, server)
		})
	}
}

func fallsBack(t *testing.T, server *tls.Config) {
	t.Helper()
	m := meet(t, server, clientConfig(), nil, []byte("early "), []byte("words"))
	if !errors.Is(m.takeFailed, errors.ErrUnsupported) {
		t.Fatalf("taken over: %v", m.takeFailed)
	}
	expect(t, m.first, []byte("early words"), 100)
	for range 3 {
		if _, err := m.first.Read(make([]byte, 1)); !errors.Is(err, errWait{}) {
			t.Fatalf("nothing came: %v", err)
		}
		if m.handshake.ahead != nil {
			t.Error("a buffer is kept")
		}
		if _, err := m.theirs.Write(bytes.Repeat([]byte("later"), 5000)); err != nil {
			t.Fatal(err)
		}
		expect(t, m.first, bytes.Repeat([]byte("later"), 5000), 3000)
	}
	if _, err := m.first.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	expect(t, m.theirs, []byte("answer"), 10)
}

// A large ticket that still fits one record is counted as one.
func TestLargeTicket(t *testing.T) {
	server := serverConfig()
	server.WrapSession = func(tls.ConnectionState, *tls.SessionState) ([]byte, error) { return make([]byte, maxTicket), nil }
	m := mustMeet(t, server, clientConfig(), nil)
	if _, err := m.ours.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	expect(t, m.theirs, []byte("x"), 1)
}

const fipsChild = "TLSRECORD_FIPS"

// TestFIPS falls back in FIPS mode, which only a process of its own can have.
func TestFIPS(t *testing.T) {
	if os.Getenv(fipsChild) != "" {
		fallsBack(t, serverConfig())
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFIPS$")
	cmd.Env = append(os.Environ(), fipsChild+"=1", "GODEBUG=fips140=on")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestNotShaken(t *testing.T) {
	near, _ := pipe()
	h := NewHandshake(near)
	if c, err := h.TakeOver(tls.Server(h, h.Config(serverConfig()))); c != nil || err == nil || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("taken over before the handshake: %v", err)
	}
}

// TestChosenConfig asks what the listener's configuration asks for each client.
func TestChosenConfig(t *testing.T) {
	broken := errors.New("not today")
	chosen := serverConfig()
	chosen.NextProtos = []string{"chosen"}
	client := clientConfig()
	client.NextProtos = []string{"chosen", "usual"}
	base := serverConfig()
	base.NextProtos = []string{"usual"}
	for _, c := range []struct {
		chosen *tls.Config
		want   string
	}{{chosen, "chosen"}, {nil, "usual"}, {chosen, "chosen"}} {
		base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.chosen, nil }
		m := mustMeet(t, base, client, nil)
		if got := m.theirs.ConnectionState().NegotiatedProtocol; got != c.want {
			t.Errorf("%q is spoken, want %q", got, c.want)
		}
		if _, err := m.ours.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		expect(t, m.theirs, []byte("x"), 1)
	}
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, broken }
	near, far := pipe()
	go tls.Client(far, client).Handshake()
	h := NewHandshake(near)
	if err := tls.Server(h, h.Config(base)).Handshake(); !errors.Is(err, broken) {
		t.Errorf("the choice failed: %v", err)
	}
	if chosen.KeyLogWriter != nil || base.KeyLogWriter != nil || chosen.WrapSession != nil {
		t.Error("the configuration of others was changed")
	}
}

// TestKeyLog takes nothing but the two secrets, and notes what is not as expected.
func TestKeyLog(t *testing.T) {
	random := strings.Repeat("00", 32)
	for _, c := range []struct {
		lines string
		odd   bool
	}{
		{"CLIENT_HANDSHAKE_TRAFFIC_SECRET " + random + " 0102\nEXPORTER_SECRET " + random + " 03\n", false},
		{"CLIENT_TRAFFIC_SECRET_0 " + random + " 0102\nSERVER_TRAFFIC_SECRET_0 " + random + " 0304\n", false},
		{"CLIENT_TRAFFIC_SECRET_0 " + random + " 0102\nCLIENT_TRAFFIC_SECRET_0 " + random + " 0304\n", true},
		{"SERVER_TRAFFIC_SECRET_0 " + random + " " + strings.Repeat("00", 49) + "\n", true},
		{"SERVER_TRAFFIC_SECRET_0 " + random + " what\n", true},
	} {
		h := new(Handshake)
		for line := range strings.Lines(c.lines) {
			if n, err := (*keyLog)(h).Write([]byte(line)); n != len(line) || err != nil {
				t.Fatal(n, err)
			}
		}
		if (h.odd != "") != c.odd {
			t.Errorf("%s is odd: %q", c.lines, h.odd)
		}
		if strings.HasPrefix(c.lines, "CLIENT_H") && (h.client.n != 0 || h.server.n != 0) {
			t.Error("another secret was taken")
		}
	}
}

// TestNotTLS hands everything to crypto/tls that comes of one who does not speak it.
func TestNotTLS(t *testing.T) {
	for _, sent := range []string{"", "GE", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x00\x05hello", "\x80\x2e\x01\x00\x02"} {
		var errs []string
		for _, watched := range []bool{true, false} {
			near, _ := pipe()
			near.in.bytes = []byte(sent)
			near.in.end()
			conn := tls.Server(near, serverConfig())
			if watched {
				h := NewHandshake(near)
				conn = tls.Server(h, h.Config(serverConfig()))
			}
			errs = append(errs, conn.Handshake().Error())
		}
		if errs[0] != errs[1] {
			t.Errorf("%q: %s, and %s to crypto/tls alone", sent, errs[0], errs[1])
		}
	}
}

// TestOneRecordAtATime reads from a stream of records in pieces of every size: no
// piece is of two.
func TestOneRecordAtATime(t *testing.T) {
	var all []byte
	ends := map[int]bool{}
	for n := range 300 {
		all = append(all, typeData, 3, 3, byte(n>>8), byte(n))
		all = append(all, make([]byte, n)...)
		ends[len(all)] = true
	}
	for _, most := range []int{1, 3, 5, 100, 1 << 20} {
		near, _ := pipe()
		near.most = func() int { return most }
		near.in.bytes = bytes.Clone(all)
		near.in.end()
		h, at := NewHandshake(near), 0
		for p := make([]byte, 1<<20); ; {
			n, err := h.Read(p)
			for i := at + 1; i < at+n; i++ {
				if ends[i] {
					t.Fatalf("bytes %d to %d are of two records", at, at+n)
				}
			}
			if at += n; err == io.EOF {
				break
			}
		}
		if at != len(all) {
			t.Errorf("%d bytes of %d", at, len(all))
		}
	}
}
