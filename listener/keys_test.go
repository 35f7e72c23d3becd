package listener

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/tlsrecord"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// benchPark is what benches keep of parked sessions. No test of this package runs
// beside others.
var benchPark = ParkTLS

func withPark(t testing.TB, p Park) {
	t.Helper()
	t.Cleanup(func() { benchPark = ParkTLS })
	benchPark = p
}

// TestWithKeys runs once more what has sessions over real sockets, keeping their keys
// alone.
func TestWithKeys(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"PushAndResult": TestPushAndResult, "SentAgainUntilAnswered": TestOP2_SentAgainUntilAnswered, "DoneIsNotSent": TestDoneIsNotSent,
		"Displacement": TestDisplacement, "Block": TestBlock, "BlockedBeforeWhole": TestBlockedBeforeWhole, "Policy": TestPolicy,
		"KeepAliveBringsBeacon": TestKeepAliveBringsBeacon, "Inventory": TestInventory, "DropFails": TestDropFails, "SlowReader": TestSlowReader,
		"Stop": TestStop, "StopFlushesResults": TestStopFlushesResults, "OutOfPlace": TestOutOfPlace, "UnknownMessages": TestUnknownMessages,
		"OversizedFrame": TestOversizedFrame, "MalformedMessage": TestMalformedMessage,
		"RefusedCertificates": TestRefusedCertificates, "RefusedProtocols": TestRefusedProtocols, "Garbage": TestGarbage,
		"VersionNotSpoken": TestVersionNotSpoken, "FirstMessage": TestFirstMessage, "StrangersLeave": TestStrangersLeave, "SessionsCap": TestSessionsCap,
		"TooManyBytes": TestTooManyBytes, "SignInsOfOneDevice": TestSignInsOfOneDevice,
		"Cancel": TestOP5_CancelReachesWhoHasTheTask, "Keyrings": TestKeyrings, "Renewal": TestRenewal,
		"TicketsAndBlocks": TestTicketsAndBlocks, "ClientCAsChange": TestClientCAsChange, "BlockWithinASecond": TestBlockWithinASecond,
		"SessionsAreParked": TestSessionsAreParked, "ParkedTimesOut": TestParkedTimesOut, "ParkedReadsPieces": TestParkedReadsPieces,
		"ParkedReadsOn": TestParkedReadsOn, "ParkedIsPaced": TestParkedIsPaced, "ParkedWaitsForRoom": TestParkedWaitsForRoom,
		"ParkedStops": TestParkedStops, "ParkedPolicyIsSlow": TestParkedPolicyIsSlow, "ParkedIntervalOfPolicy": TestParkedIntervalOfPolicy,
		"BrokenTLS": TestBrokenTLS,
	} {
		t.Run(name, func(t *testing.T) {
			withPark(t, ParkKeys)
			test(t)
		})
	}
}

// carrierOf is what the session of a device is carried by. It must be parked.
func (b *bench) carrierOf(device uint32) connection {
	b.t.Helper()
	b.l.table.mu.Lock()
	defer b.l.table.mu.Unlock()
	s, _ := b.l.table.sessions[device].(*session)
	if s == nil {
		b.t.Fatalf("device %d is not signed in", device)
	}
	return s.conn
}

// TestKeysAreKept keeps keys and the socket, and forgets them at the end.
func TestKeysAreKept(t *testing.T) {
	withPark(t, ParkKeys)
	b := parkedBench(t, patient, nil)
	a := b.signIn(7)
	a.alone()
	b.awaitParked(1)
	conn, ok := b.carrierOf(7).(*tlsrecord.Conn)
	if !ok {
		t.Fatalf("a session is carried by a %T", b.carrierOf(7))
	}
	if conn.RemoteAddr() != nil || conn.LocalAddr() != nil {
		t.Error("there is more than a parked socket below")
	}
	a.conn.Close()
	b.awaitParked(0)
	if err := b.stop(); err != nil {
		t.Error(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("behind the end: %v", err)
	}
}

// TestNothingElseIsKept finds that a parked session holds neither what watched over it
// before it was known whose it is nor anything of crypto/tls, which would hold the
// first.
func TestNothingElseIsKept(t *testing.T) {
	withPark(t, ParkKeys)
	var before weak.Pointer[tlsrecord.Handshake]
	var stranger weak.Pointer[visitor]
	b := parkedBench(t, patient, func(c *Config) {
		certificate := c.Certificate
		c.Certificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			k := hello.Conn.(keyed)
			before, stranger = weak.Make(k.Handshake), weak.Make(k.v)
			return certificate(hello)
		}
	})
	a := b.signIn(7)
	a.alone()
	b.awaitParked(1)
	for limit := time.Now().Add(patience); before.Value() != nil || stranger.Value() != nil; runtime.GC() {
		if time.Now().After(limit) {
			t.Fatalf("there is still %v and %v", before.Value(), stranger.Value())
		}
	}
	a.alone()
}

// TestKeysCannotBeKept signs devices in whose certificates are so large, and shown with
// that of the CA so that tickets hold them, that their tickets are in several records:
// they are served all the same, and it is said once.
func TestKeysCannotBeKept(t *testing.T) {
	withPark(t, ParkKeys)
	var log lines
	b := parkedBench(t, patient, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	large := make([]byte, 20_000)
	rand.Read(large)
	for d := range uint32(3) {
		config := b.pki.client(d+1, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, Value: large}}
		})
		shown := &config.Certificates[0].Certificate
		*shown = append(*shown, b.pki.cert.Raw)
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		conn, err := b.connect(config)
		if err != nil {
			t.Fatal(err)
		}
		conn.hello()
		conn.alone()
		b.awaitParked(int(d + 1))
		if _, ok := b.carrierOf(d + 1).(*tls.Conn); !ok {
			t.Errorf("the session is carried by a %T", b.carrierOf(d+1))
		}
	}
	if n := strings.Count(log.String(), "only the keys"); n != 1 {
		t.Errorf("it was said %d times: %s", n, log.String())
	}
}

// TestMuchBehindTheSignIn reads whole what an agent sends together with its sign-in:
// more than is read before the session is parked.
func TestMuchBehindTheSignIn(t *testing.T) {
	for _, park := range []Park{ParkTLS, ParkKeys} {
		t.Run(string(park), func(t *testing.T) {
			withPark(t, park)
			b := parkedBench(t, patient, nil)
			raw, err := b.dial()
			if err != nil {
				t.Fatal(err)
			}
			conn := tls.Client(raw, b.pki.client(7))
			if err := conn.Handshake(); err != nil {
				t.Fatal(err)
			}
			a := b.agent(conn, raw)
			together, err := wire.Append(nil, &wire.SignIn{Version: wire.Version})
			for id := uint64(1); id <= 6 && err == nil; id++ {
				together, err = wire.Append(together, &wire.Inventory{ID: id, At: time.Now(), Facts: []wire.Fact{{Name: "fact", Value: strings.Repeat("x", 900)}}})
			}
			if err != nil {
				t.Fatal(err)
			}
			a.raw(together)
			expect[*wire.Welcome](a)
			for range 6 {
				expect[*wire.InventoryAck](a)
			}
		})
	}
}

// lines is a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestBrokenTLS sends a record that nobody sealed: the agent is told, and it counts
// as a broken protocol.
func TestBrokenTLS(t *testing.T) {
	b := newBench(t, nil)
	raw, err := b.dial()
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, b.pki.client(7))
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	a := b.agent(conn, raw)
	a.hello()
	a.alone()
	if b.l.loop != nil {
		b.awaitParked(1)
		if _, ok := b.carrierOf(7).(*tlsrecord.Conn); ok != (benchPark == ParkKeys) {
			t.Errorf("the session is carried by a %T", b.carrierOf(7))
		}
	}
	if _, err := raw.Write(append([]byte{23, 3, 3, 0, 30}, make([]byte, 30)...)); err != nil {
		t.Fatal(err)
	}
	if m := a.next(); m != nil {
		t.Fatalf("got %T", m)
	}
	if op, ok := errors.AsType[*net.OpError](a.end); !ok || op.Op != "remote error" {
		t.Errorf("the agent is told %v", a.end)
	}
	b.box.awaitPresence(t, 7, false, reasonClosed)
	if b.l.loop == nil {
		return // sessions with goroutines do not tell
	}
	b.box.await(t, "the protocol was broken", func(files []box.Contents, _ int) bool {
		for _, r := range statusOf(files) {
			if r.Number == uint32(msgProtocol) && r.Device == 7 {
				return true
			}
		}
		return false
	})
}

func TestParkIsChecked(t *testing.T) {
	for _, p := range []Park{ParkTLS, ParkKeys} {
		if err := p.Check(); err != nil {
			t.Error(err)
		}
	}
	if err := Park("all").Check(); err == nil || !strings.Contains(err.Error(), `"all"`) {
		t.Errorf("%v", err)
	}
}
