package listener

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Config is what a [Listener] needs. Functions are called from many goroutines
// at once unless their comment says otherwise.
type Config struct {
	Site    string // the site's code, such as P01; other sites' devices are refused
	Name    string // the listener's name, [A-Z0-9]{3,16}
	Epoch   uint32 // the one that the site granted, for logs
	Version string // of this program
	History [16]byte

	// Certificate returns the listener's, its chain with the site's CA at the end:
	// a joining agent knows the site by it. It is asked at each handshake, so that
	// it can be renewed while the listener serves.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// ClientCAs returns who may vouch for devices. It is asked at each handshake,
	// resumed ones included, and returns the same pool until that changes: a new
	// pool costs a little, the same one nothing.
	ClientCAs func() *x509.CertPool

	// Issued returns the one of ClientCAs that has issued a certificate of a device, if
	// whoever issued it has that on record: device, id, key, serial number and times. Its
	// signature is then not checked, and nothing else in it may be believed. It returns
	// nil for any other. Without Issued all signatures are checked: only the site itself
	// has the records.
	Issued func(*x509.Certificate) *x509.Certificate

	// Drop puts a file into the site's box and returns once it is durable. After
	// an error the same contents are handed in again. It is called by at most one
	// goroutine per kind of contents at a time. From and to are when the records
	// came to the listener.
	Drop func(c box.Contents, from, to time.Time) error
	// Feed brings operations and blocks; one goroutine calls it.
	Feed Feed
	// Beacon returns the site's time, signed. A nonce that is not zero asks for
	// one that holds it.
	Beacon func(nonce [16]byte) ([]byte, error)
	// Policy returns a device's policy, or that of a person who is signed in there;
	// its slices are not changed afterwards. The zero value means that there is none.
	Policy func(device uint32, user string) (Policy, error)
	// Renew answers a device that wants a new certificate: the certificate in DER. It
	// checks the proof of the request, for a listener may be in wrong hands. A
	// [*JoinRefused] is told to the device; after any other error it asks again.
	// Without Renew nothing is renewed here.
	Renew func(ctx context.Context, device uint32, request wire.Renew) (certificate []byte, err error)
	// Join answers a device that has no certificate yet. A [*JoinRefused] is told
	// to the device, any other error is logged and becomes "try again". Without
	// Join nobody can join here.
	Join func(ctx context.Context, req wire.JoinRequest, address string) (wire.JoinReply, error)
	// StoreLog keeps the logs that a device collected for an operation: size bytes of
	// body, whose SHA-256 is sum. It returns once they are durable. A [*JoinRefused] is
	// told to the device; after any other error it sends them again. Without StoreLog
	// devices are told to try elsewhere.
	StoreLog func(ctx context.Context, device uint32, operation task.ID, sum [32]byte, size int64, body io.Reader) error
	// Routes serves the paths under [RoutesPath] of the HTTPS port, if there are any:
	// the site's answers to listeners that run apart. Who asks may have shown no
	// certificate.
	Routes http.Handler
	// Outpost tells which listener that runs apart shows a certificate on the HTTPS
	// port, if it is one of the site that may. It is no stranger then. Nil knows none.
	Outpost func(chain []*x509.Certificate) (name string, ok bool)

	// Curves are the key exchanges that are taken, nil: those of crypto/tls. Its first
	// choice withstands quantum computers and costs more, see BenchmarkSignIn. Agents
	// offer SecP256r1MLKEM768 and P-256 alone: one of them must be taken.
	Curves []tls.CurveID

	// Park is what is kept of the TLS connection of a parked session; default [ParkTLS].
	Park Park

	// KeepAlive is how often an agent must be heard whose policy does not say.
	// Default 15 minutes.
	KeepAlive time.Duration
	// KeepAliveOf returns what a device's policy says of it, 0 if nothing; nil if
	// no policy does. Until the agent has asked for its policy in a session the
	// larger of this and KeepAlive counts, from then on this.
	KeepAliveOf func(device uint32) time.Duration
	// SnapshotEvery is the time between full presence files, default 5 minutes. While
	// every file is dropped at the first attempt and the feed holds, the time doubles
	// with each full file, up to SnapshotMost, which is twelve times SnapshotEvery by
	// default and never less than it. Either way a file of some kind is dropped at
	// least once in one and a half times SnapshotEvery.
	SnapshotEvery time.Duration
	SnapshotMost  time.Duration
	// Flush is the least time between two presence deltas, and the most that
	// results wait for company; they do not wait longer than a 25th of it unless
	// the disk is slower or hundreds of sessions wait for their turn: then 250 ms
	// more at most. Default 250 ms.
	Flush time.Duration
	// Spread is the least time over which agents are told to spread a reconnect; it is
	// more if so many could not sign in within it, by what a handshake was found to
	// cost. Default 5 s.
	Spread time.Duration
	// Agents returns how many agents there are that may come to this listener. Those
	// that were here at once count in any case, and alone if it is nil.
	Agents func() int
	// Grace is how long a stop waits for Drop. Default 10 s.
	Grace time.Duration

	Limits Limits
	Log    *slog.Logger // default slog.Default()
}

// A Policy is one device's policy, as the site signed it.
type Policy struct {
	ETag   string
	Signed []byte
	Proofs [][]byte // that the device is a target of each task that the policy lists
}

// Limits bound what agents and strangers can make a listener hold. A zero field
// means the default.
type Limits struct {
	Sessions   int // signed-in devices; default 20,000. Connections are at most Handshakes more
	Handshakes int // connections over TCP that have not signed in; default 1,024 (at a round trip of 200 ms, two of them each, 2,500 sign-ins a second), more wait in the backlog
	PerAddress int // connections of one address that have not signed in, on each port; default 128
	// Handshaking is how many handshakes are computed at once, of both ports; default
	// half of the processors, so that the other half is there for who is signed in.
	Handshaking int
	// StrangerRate and StrangerBurst are a budget of each address, for connections on
	// both ports that end before it is known whose they are: so many a second, and so
	// many at once. Default 20 and four times PerAddress. What is beyond them is served
	// while there is no more than 100 a second of it, and refused else.
	StrangerRate  float64
	StrangerBurst int
	Operations    int // open operations; default 10,000

	MessageRate  float64 // messages a second that are read of one session; default 50
	MessageBurst int     // and how many at once; default 2,048

	HTTPS     int     // connections of the HTTPS port of whom it is not known who they are; default 512
	Fallback  int     // sessions over HTTPS, they count as Sessions too; default 20,000. Connections are at most twice as many
	JoinRate  float64 // join requests a second of one address; default 20
	JoinBurst int     // and how many at once; default 200

	PendingRows  int // results that wait for the disk; default 100,000
	PendingBytes int // and their size in bytes; default 64 MiB
}

// times is how long a listener waits for others. They are not settings; tests on
// a busy machine are more patient.
type times struct {
	handshake time.Duration // for a TLS handshake
	signIn    time.Duration // for the first message
	whole     time.Duration // that a sign-in waits for the feed to be whole
	write     time.Duration // for one write to an agent
	close     time.Duration // for the last words to an agent
	slow      time.Duration // for a stranger whose place another wants
}

var usual = times{handshake: 5 * time.Second, signIn: 5 * time.Second, whole: 10 * time.Second,
	write: 10 * time.Second, close: 500 * time.Millisecond, slow: time.Second}

// Bounds that are not settings.
const (
	queueFrames    = 4096    // that wait for one agent
	queueBytes     = 2 << 20 // and their size; half of [poll.MaxPending], for they are written together
	deviceSignIns  = 10      // of one device over TCP at once, and one more each second
	deviceConnects = 60      // handshakes of one device over HTTPS at once, and two more each second
	devicePolicies = 30      // requests for policy of one device at once, and one more each second

	keepBuffer = 4 << 10 // largest read buffer that a quiet session keeps
	readBuffer = 4 << 10

	fileRows  = 5000    // result rows in one file
	fileBytes = 2 << 20 // of records in one file

	frameCache = 64 << 20 // bytes of encoded task frames that are kept
)

func (c Config) check() error {
	switch {
	case c.Site == "" || c.Name == "":
		return errors.New("configure listener: site or name is missing")
	case c.Certificate == nil || c.ClientCAs == nil:
		return errors.New("configure listener: certificate or client CAs are missing")
	case c.Drop == nil || c.Feed == nil || c.Beacon == nil || c.Policy == nil:
		return errors.New("configure listener: drop, feed, beacon and policy must be set")
	}
	if err := cmp.Or(c.Park, ParkTLS).Check(); err != nil {
		return fmt.Errorf("configure listener: park: %w", err)
	}
	return nil
}

func (c Config) withDefaults() Config {
	c.Park = cmp.Or(c.Park, ParkTLS)
	orDefault(&c.KeepAlive, 15*time.Minute)
	orDefault(&c.SnapshotEvery, 5*time.Minute)
	orDefault(&c.SnapshotMost, 12*c.SnapshotEvery)
	c.SnapshotMost = max(c.SnapshotMost, c.SnapshotEvery)
	orDefault(&c.Flush, 250*time.Millisecond)
	orDefault(&c.Spread, 5*time.Second)
	orDefault(&c.Grace, 10*time.Second)
	if c.KeepAliveOf == nil {
		c.KeepAliveOf = func(uint32) time.Duration { return 0 }
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	l := &c.Limits
	orDefault(&l.Sessions, 20_000)
	orDefault(&l.Handshakes, 1024)
	orDefault(&l.PerAddress, 128)
	orDefault(&l.Handshaking, max(1, runtime.GOMAXPROCS(0)/2))
	orDefault(&l.StrangerRate, 20)
	orDefault(&l.StrangerBurst, 4*l.PerAddress)
	orDefault(&l.Operations, 10_000)
	orDefault(&l.MessageRate, 50)
	orDefault(&l.MessageBurst, 2048)
	orDefault(&l.HTTPS, 512)
	orDefault(&l.Fallback, 20_000)
	orDefault(&l.JoinRate, 20)
	orDefault(&l.JoinBurst, 200)
	orDefault(&l.PendingRows, 100_000)
	orDefault(&l.PendingBytes, 64<<20)
	return c
}

func orDefault[N int | float64 | time.Duration](v *N, def N) {
	if *v <= 0 {
		*v = def
	}
}
