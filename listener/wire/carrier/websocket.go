package carrier

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	pingEvery = 45 * time.Second // by the agent
	pongTime  = 20 * time.Second
)

// AcceptWebSocket makes a request for [WebSocketPath] a connection. If it fails
// the request has been answered.
func AcceptWebSocket(w http.ResponseWriter, r *http.Request) (Conn, error) {
	h := &hijacked{ResponseWriter: w}
	ws, err := websocket.Accept(h, r, &websocket.AcceptOptions{Subprotocols: []string{Subprotocol}})
	if err != nil {
		return nil, err
	}
	s := newSocket(ws, h.conn, address(r.RemoteAddr))
	if ws.Subprotocol() != Subprotocol {
		s.Close()
		return nil, errors.New("accept websocket: client does not speak " + Subprotocol)
	}
	return s, nil
}

// hijacked remembers the connection that is taken over.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}

// DialWebSocket connects to url, https://HOST:PORT and [WebSocketPath]. It takes
// over client and closes its idle connections when the connection is closed. Ctx
// bounds the dialling only. The error is a [*Refused] if something else than a
// listener answers.
func DialWebSocket(ctx context.Context, client *http.Client, url string) (Conn, error) {
	ws, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{Subprotocol}})
	if err != nil {
		client.CloseIdleConnections()
		if resp != nil {
			discard(resp)
			if resp.StatusCode != http.StatusSwitchingProtocols {
				return nil, &Refused{"websocket", resp.StatusCode, http.StatusSwitchingProtocols}
			}
		}
		return nil, err
	}
	s := newSocket(ws, nil, address(url))
	s.client = client
	if ws.Subprotocol() != Subprotocol {
		s.Close()
		return nil, errors.New("websocket: server does not speak " + Subprotocol)
	}
	go s.beat()
	return s, nil
}

// A socket is a WebSocket as a Conn.
type socket struct {
	ws     *websocket.Conn
	under  net.Conn     // of the listener's end; nil at the agent's
	client *http.Client // of the agent's end
	peer   address

	in     io.Reader // the rest of the message that is being read
	eof    bool      // an empty message came
	rd, wr deadline

	once   sync.Once
	closed chan struct{}
}

func newSocket(ws *websocket.Conn, under net.Conn, peer address) *socket {
	ws.SetReadLimit(MaxChunk)
	if t, ok := under.(interface{ NetConn() net.Conn }); ok {
		under = t.NetConn()
	}
	return &socket{ws: ws, under: under, peer: peer, closed: make(chan struct{})}
}

var errText = errors.New("websocket: a text message came, the protocol is binary")

func (s *socket) Read(p []byte) (int, error) {
	ctx := s.rd.context()
	for {
		switch {
		case s.eof:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		case s.in == nil:
			kind, r, err := s.ws.Reader(ctx)
			if err != nil {
				return 0, passed(ctx, err)
			}
			if kind != websocket.MessageBinary {
				return 0, errText
			}
			n, err := s.piece(ctx, r, p)
			if n == 0 && err == nil {
				s.eof = true
				continue
			}
			return n, err
		}
		n, err := s.piece(ctx, s.in, p)
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// piece reads from a message and keeps what is left of it. It returns nothing at
// all only at the message's end.
func (s *socket) piece(ctx context.Context, message io.Reader, p []byte) (int, error) {
	for {
		s.in = message
		n, err := message.Read(p)
		if err == io.EOF {
			s.in, err = nil, nil
			return n, nil
		}
		if n > 0 || err != nil {
			return n, passed(ctx, err)
		}
	}
}

func (s *socket) Write(p []byte) (n int, err error) {
	ctx := s.wr.context()
	for len(p) > 0 {
		piece := p[:min(len(p), MaxChunk)]
		if err := s.ws.Write(ctx, websocket.MessageBinary, piece); err != nil {
			return n, passed(ctx, err)
		}
		n, p = n+len(piece), p[len(piece):]
	}
	return n, nil
}

func (s *socket) CloseWrite() error {
	ctx := s.wr.context()
	return passed(ctx, s.ws.Write(ctx, websocket.MessageBinary, nil))
}

// Close hangs up at once: it waits for nobody.
func (s *socket) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.rd.stop()
		s.wr.stop()
		if s.under != nil {
			s.under.Close() // else a goodbye of TLS would wait for a peer that does not read
		}
		s.ws.CloseNow()
		if s.client != nil {
			s.client.CloseIdleConnections()
		}
	})
	return nil
}

// beat keeps the path open, and finds out when it is not.
func (s *socket) beat() {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-s.closed:
			return
		case <-t.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), pongTime)
		err := s.ws.Ping(ctx)
		cancel()
		if err != nil {
			s.Close()
			return
		}
	}
}

func (s *socket) LocalAddr() net.Addr  { return address("") }
func (s *socket) RemoteAddr() net.Addr { return s.peer }

func (s *socket) SetDeadline(t time.Time) error {
	s.rd.set(t)
	s.wr.set(t)
	return nil
}

func (s *socket) SetReadDeadline(t time.Time) error {
	s.rd.set(t)
	return nil
}

func (s *socket) SetWriteDeadline(t time.Time) error {
	s.wr.set(t)
	return nil
}
