package feed

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
)

// The names in the stream; FORMAT.md tells what is where.
const (
	streamName    = "FEED"
	subject       = "feed.messages"
	beginPrefix   = "feed.begin."
	publisherUser = "publisher"
)

// Bounds of the server.
const (
	maxConnections = 1024    // handshakes under way included
	maxSubscribed  = 64      // subscriptions of one connection
	maxStore       = 8 << 30 // bytes of the folder
	maxStream      = 4 << 30 // bytes of the stream
	maxAge         = 24 * time.Hour
	handshakeTime  = 5 * time.Second
	patience       = 30 * time.Second // for what the server in this process is asked
)

// A nest is the embedded server with the publisher's connection to it.
type nest struct {
	server *server.Server
	conn   *nats.Conn
	api    js.JetStream
	door   *doorman
	broken context.Context // done, with the cause, when the server cannot go on
}

// openNest starts the server on an empty folder.
func (p *Publisher) openNest(address string) (*nest, error) {
	broken, fail := context.WithCancelCause(context.Background())
	n := &nest{broken: broken, door: &doorman{p: p, secret: rand.Text()}}
	if err := n.start(p, address, &bridge{log: p.cfg.Log, fail: fail}); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *nest) start(p *Publisher, address string, log *bridge) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("port %q is not a number", port)
	}
	if number == 0 {
		number = server.RANDOM_PORT
	}
	n.server, err = server.NewServer(p.options(host, number, n.door))
	if err != nil {
		return fmt.Errorf("make the feed's server: %w", err)
	}
	n.server.SetLoggerV2(log, false, false, false)
	n.server.Start()
	if err := context.Cause(n.broken); err != nil {
		return fmt.Errorf("start the feed's server: %w", err)
	}
	if !n.server.ReadyForConnections(patience) {
		return errors.New("start the feed's server: it does not listen")
	}
	if err := n.connect(); err != nil {
		return fmt.Errorf("connect to the feed's server: %w", err)
	}
	return n.makeStream()
}

func (p *Publisher) options(host string, port int, door *doorman) *server.Options {
	return &server.Options{
		ServerName: "bugle-feed",
		Host:       host,
		Port:       port,
		NoSigs:     true,

		JetStream:              true,
		StoreDir:               p.cfg.Dir,
		JetStreamMaxStore:      maxStore,
		JetStreamMaxMemory:     1 << 20, // nothing is kept in memory; 0 would mean three quarters of it
		DisableJetStreamBanner: true,

		TLSConfig:         p.tls(),
		TLSHandshakeFirst: true,
		TLSTimeout:        handshakeTime.Seconds(),
		AuthTimeout:       handshakeTime.Seconds(),
		WriteDeadline:     10 * time.Second,
		MaxConn:           maxConnections,
		MaxSubs:           maxSubscribed,
		MaxPayload:        MaxMessage + 64<<10,
		MaxControlLine:    4 << 10,

		CustomClientAuthentication: door,
	}
}

// tls lets in who has a certificate of a listener that is admitted.
func (p *Publisher) tls() *tls.Config {
	c := &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: p.cfg.Certificate,
		ClientAuth:     tls.RequireAndVerifyClientCert,
		ClientCAs:      p.cfg.ClientCAs(),
		VerifyConnection: func(c tls.ConnectionState) error {
			_, _, err := p.guest(c.PeerCertificates)
			return err
		},
		SessionTicketsDisabled: true,
	}
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := c.Clone()
		now.GetConfigForClient = nil
		now.ClientCAs = p.cfg.ClientCAs()
		return now, nil
	}
	return c
}

var errStranger = errors.New("no certificate")

// guest is who shows a chain, and until when.
func (p *Publisher) guest(chain []*x509.Certificate) (name string, until time.Time, err error) {
	if len(chain) == 0 {
		return "", until, errStranger
	}
	id, err := p.cfg.Admit(chain[0])
	if err != nil {
		return "", until, err
	}
	return id.Name, chain[0].NotAfter, nil
}

// A doorman says who a connection is and what it may do. The publisher's own
// comes from inside the process and knows a secret that was never anywhere else.
type doorman struct {
	p      *Publisher
	secret string

	mu     sync.Mutex
	guests map[uint64]*x509.Certificate // by the id of their connection
}

// Check implements [server.Authentication].
func (d *doorman) Check(c server.ClientAuthentication) bool {
	state := c.GetTLSConnectionState()
	if state == nil {
		o := c.GetOpts()
		return o.Username == publisherUser && subtle.ConstantTimeCompare([]byte(o.Password), []byte(d.secret)) == 1
	}
	name, until, err := d.p.guest(state.PeerCertificates)
	if err != nil {
		return false
	}
	c.RegisterUser(&server.User{Username: name, Permissions: permissions(name), ConnectionDeadline: until})
	d.note(c.GetID(), state.PeerCertificates[0])
	return true
}

func permissions(name string) *server.Permissions {
	return &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			beginPrefix + name,
			"$JS.API.CONSUMER.INFO." + streamName + "." + name,
			"$JS.API.CONSUMER.MSG.NEXT." + streamName + "." + name,
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{inbox(name) + ".>"}},
	}
}

func inbox(name string) string { return "_INBOX_" + name }

func (d *doorman) note(id uint64, cert *x509.Certificate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.guests == nil {
		d.guests = make(map[uint64]*x509.Certificate)
	}
	d.guests[id] = cert
}

// expel ends the connections of those who are not admitted any more, and forgets
// those that have ended.
func (d *doorman) expel(s *server.Server) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, cert := range d.guests {
		if _, err := d.p.cfg.Admit(cert); err != nil {
			s.DisconnectClientByID(id)
		}
		if s.GetClient(id) == nil {
			delete(d.guests, id)
		}
	}
}

const connectTries = 10

// connect begins the handshake again if a busy machine takes too long for one.
func (n *nest) connect() (err error) {
	for range connectTries {
		n.conn, err = nats.Connect("", nats.InProcessServer(n.server), nats.NoReconnect(), nats.Name(publisherUser),
			nats.UserInfo(publisherUser, n.door.secret), nats.Timeout(patience), nats.PingInterval(24*time.Hour))
		if err == nil {
			n.api, err = js.New(n.conn, js.WithDefaultTimeout(patience))
			return err
		}
	}
	return err
}

func (n *nest) makeStream() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := n.api.CreateStream(ctx, js.StreamConfig{
		Name: streamName, Subjects: []string{subject}, Storage: js.FileStorage, Retention: js.LimitsPolicy,
		Discard: js.DiscardOld, MaxAge: maxAge, MaxBytes: maxStream, MaxMsgs: -1, MaxMsgSize: MaxMessage + 1<<10,
		MaxConsumers: maxConnections, Replicas: 1, Duplicates: time.Second, NoAck: false, AllowDirect: false,
	})
	if err != nil {
		return fmt.Errorf("make the feed's stream: %w", err)
	}
	return nil
}

// place makes a consumer of the listener's name that begins at a message of the
// stream, in place of the one it had.
func (n *nest) place(ctx context.Context, name string, sequence uint64) error {
	if err := n.api.DeleteConsumer(ctx, streamName, name); err != nil && !errors.Is(err, js.ErrConsumerNotFound) {
		return fmt.Errorf("end what %s read: %w", name, err)
	}
	_, err := n.api.CreateConsumer(ctx, streamName, js.ConsumerConfig{
		Name: name, DeliverPolicy: js.DeliverByStartSequencePolicy, OptStartSeq: sequence, AckPolicy: js.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: 5 * time.Minute, MaxDeliver: -1,
	})
	if err != nil {
		return fmt.Errorf("let %s read: %w", name, err)
	}
	return nil
}

func (n *nest) address() string { return n.server.Addr().String() }

func (n *nest) close() {
	if n.conn != nil {
		n.conn.Close()
	}
	if n.server != nil {
		n.server.Shutdown()
		n.server.WaitForShutdown()
	}
}

// A bridge hands what the embedded server logs to slog.
type bridge struct {
	log  *slog.Logger
	fail context.CancelCauseFunc
}

func (b *bridge) Noticef(format string, v ...any) { b.say(slog.LevelDebug, format, v) }
func (b *bridge) Warnf(format string, v ...any)   { b.say(slog.LevelDebug, format, v) }
func (b *bridge) Errorf(format string, v ...any)  { b.say(slog.LevelDebug, format, v) } // strangers cause most of them
func (b *bridge) Debugf(string, ...any)           {}
func (b *bridge) Tracef(string, ...any)           {}

// Fatalf does not end the process.
func (b *bridge) Fatalf(format string, v ...any) {
	b.fail(errors.New(b.say(slog.LevelError, format, v)))
}

func (b *bridge) say(level slog.Level, format string, v []any) string {
	text := strings.TrimSpace(fmt.Sprintf(format, v...))
	b.log.Log(context.Background(), level, "feed server: "+text)
	return text
}
