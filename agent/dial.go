package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/carrier"
)

// How long the agent tries TCP when it has something to fall back to: a port whose
// packets a firewall drops must not cost long.
const (
	connectTime   = 4 * time.Second // for one connection, at most
	connectAll    = 8 * time.Second // shared by all addresses, but each has a second
	handshakeTime = 10 * time.Second
)

// The carriers by the names that status and inventory give them, the best first.
const (
	overTCP       = "tcp"
	overWebSocket = "websocket"
	overLongPoll  = "long-poll"
)

// A way is how to reach a listener.
type way struct {
	carrier string
	address string // host:port
}

func (w way) fallback() bool { return w.carrier != overTCP }

func (w way) String() string { return w.carrier + " " + w.address }

// ways are all there are, the best first: TCP at every listener, then WebSocket,
// then long poll.
func (a *Agent) ways() []way {
	var all []way
	for _, address := range a.addresses() {
		all = append(all, way{overTCP, address})
	}
	for _, c := range []string{overWebSocket, overLongPoll} {
		for _, address := range a.httpsAddresses() {
			all = append(all, way{c, address})
		}
	}
	return all
}

// A link is a connection to a listener, by whatever carrier. Close cuts it at
// once.
type link interface {
	net.Conn
	CloseWrite() error
}

// direct is TLS over TCP as a link.
type direct struct{ *tls.Conn }

func (d direct) Close() error { return d.NetConn().Close() }

// dial connects and proves who both are.
func (a *Agent) dial(ctx context.Context, w way) (link, error) {
	switch w.carrier {
	case overTCP:
		return a.dialTCP(ctx, w.address)
	case overWebSocket:
		client, err := a.httpsClient(w.address, false)
		if err != nil {
			return nil, err
		}
		return carrier.DialWebSocket(ctx, client, "https://"+w.address+carrier.WebSocketPath)
	}
	client, err := a.httpsClient(w.address, true)
	if err != nil {
		return nil, err
	}
	return carrier.DialPoll(ctx, client, "https://"+w.address+carrier.PollPath)
}

func (a *Agent) dialTCP(ctx context.Context, address string) (link, error) {
	cfg, err := a.deviceTLS(address)
	if err != nil {
		return nil, err
	}
	cfg.NextProtos = []string{wire.ALPN}
	raw, err := a.connect(ctx, address)
	if err != nil {
		return nil, err
	}
	if len(a.httpsAddresses()) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, handshakeTime)
		defer cancel()
	}
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	if conn.ConnectionState().NegotiatedProtocol != wire.ALPN {
		raw.Close()
		return nil, errors.New("handshake: server is no bugle listener")
	}
	return direct{conn}, nil
}

// errDropped is what a port looks like whose packets are dropped.
var errDropped = errors.New("connection timed out")

func (a *Agent) connect(ctx context.Context, address string) (net.Conn, error) {
	if len(a.httpsAddresses()) == 0 {
		return a.cfg.Dial(ctx, "tcp", address)
	}
	each := min(connectTime, max(connectAll/time.Duration(len(a.addresses())), time.Second))
	short, cancel := context.WithTimeout(ctx, each)
	defer cancel()
	conn, err := a.cfg.Dial(short, "tcp", address)
	if err != nil && short.Err() != nil && ctx.Err() == nil {
		err = errDropped
	}
	return conn, err
}

// deviceTLS are the TLS settings with which this device shows itself at an
// address of the site, and checks who is there.
func (a *Agent) deviceTLS(address string) (*tls.Config, error) {
	host, err := hostOf(address)
	if err != nil {
		return nil, err
	}
	ring := a.id.keys.Load()
	cfg := clientTLS(func(cs tls.ConnectionState) error {
		return a.id.verifyServer(cs.PeerCertificates, host, a.now())
	})
	cfg.ServerName = host
	shown := a.id.own.show()
	cfg.ClientSessionCache = a.tickets.at(address, shown.Leaf, ring)
	// Whatever authorities the server names: it also takes certificates of others.
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &shown, nil }
	return cfg, nil
}

// httpsClient returns a client for the HTTPS port at address, by the proxy that is
// to be used for it. It shows the device's certificate. Multiplex says that
// requests may share a connection, by HTTP/2; a WebSocket cannot.
func (a *Agent) httpsClient(address string, multiplex bool) (*http.Client, error) {
	cfg, err := a.deviceTLS(address)
	if err != nil {
		return nil, err
	}
	return newHTTPS(cfg, a.cfg.Dial, a.cfg.Proxy, multiplex), nil
}

// newHTTPS returns a client that does what all requests of an agent have in common: TLS
// end to end as cfg says, also through a proxy; no redirects, for they would lead
// to somebody else. Whoever uses it closes its idle connections in the end.
func newHTTPS(cfg *tls.Config, dial dialer, proxy func(*http.Request) (*url.URL, error), multiplex bool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:        cfg,
			DialContext:            dial,
			Proxy:                  proxy,
			OnProxyConnectResponse: proxyAnswered,
			TLSHandshakeTimeout:    handshakeTime,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      multiplex,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: 20 * time.Second, PingTimeout: 15 * time.Second},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// proxyAnswered says what a proxy has against a connection.
func proxyAnswered(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return fmt.Errorf("proxy %s answered %d to CONNECT", proxy.Host, resp.StatusCode)
}

// because says in one line why a way did not lead anywhere.
func because(w way, err error) string {
	var refused *carrier.Refused
	var u *url.Error
	switch {
	case errors.As(err, &refused):
		return refused.Error()
	case errors.As(err, &u):
		err = u.Err
	}
	text := err.Error()
	var op *net.OpError
	if errors.As(err, &op) && w.carrier == overTCP {
		text = op.Err.Error()
	}
	if w.carrier == overTCP {
		return w.String() + ": " + text
	}
	return strings.ReplaceAll(w.carrier, "-", " ") + ": " + text
}
