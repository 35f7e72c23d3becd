package carrier

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// A front is an HTTPS port with both carriers, and what it has accepted.
type front struct {
	*httptest.Server
	polls    *Polls
	accepted chan Conn
}

func newFront(t testing.TB, wrap func(http.Handler) http.Handler) *front {
	t.Helper()
	f := &front{polls: NewPolls(64, plain), accepted: make(chan Conn, 64)}
	mux := http.NewServeMux()
	mux.HandleFunc(WebSocketPath, func(w http.ResponseWriter, r *http.Request) {
		if c, err := AcceptWebSocket(w, r); err == nil {
			f.accepted <- c
		}
	})
	poll := func(w http.ResponseWriter, r *http.Request) {
		f.polls.Serve(w, r, "device 7", func(c Conn) error { f.accepted <- c; return nil })
	}
	mux.HandleFunc(PollPath, poll)
	mux.HandleFunc(PollPath+"/", poll)
	var h http.Handler = mux
	if wrap != nil {
		h = wrap(mux)
	}
	f.Server = httptest.NewUnstartedServer(h)
	f.EnableHTTP2 = true
	f.Config.ReadTimeout, f.Config.WriteTimeout = 10*time.Second, 30*time.Second
	f.StartTLS()
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Server.Close()
	})
	return f
}

// plain answers a request that is not granted.
func plain(w http.ResponseWriter, status int, title, detail string) {
	http.Error(w, title+": "+detail, status)
}

func (f *front) client(multiplex bool) *http.Client {
	base := f.Client().Transport.(*http.Transport)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: base.TLSClientConfig.RootCAs}, ForceAttemptHTTP2: multiplex}}
}

// carriers are the ways to dial a front.
var carriers = []struct {
	name string
	dial func(ctx context.Context, f *front) (Conn, error)
}{
	{"websocket", func(ctx context.Context, f *front) (Conn, error) {
		return DialWebSocket(ctx, f.client(false), f.URL+WebSocketPath)
	}},
	{"long poll by HTTP/1.1", func(ctx context.Context, f *front) (Conn, error) {
		return DialPoll(ctx, f.client(false), f.URL+PollPath)
	}},
	{"long poll by HTTP/2", func(ctx context.Context, f *front) (Conn, error) {
		return DialPoll(ctx, f.client(true), f.URL+PollPath)
	}},
}

// onEach runs a test on both ends of a connection by each carrier.
func onEach(t *testing.T, test func(t *testing.T, agent, listener Conn)) {
	for _, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			f := newFront(t, nil)
			agent, err := c.dial(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			defer agent.Close()
			listener := <-f.accepted
			defer listener.Close()
			for _, end := range []Conn{agent, listener} {
				end.SetDeadline(time.Now().Add(patience))
			}
			test(t, agent, listener)
		})
	}
}

// content is n bytes that are different everywhere.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	c := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	c.Read(b)
	return b
}

// pour writes b in pieces of any size and ends the stream.
func pour(w Conn, b []byte, rnd *rand.Rand) error {
	for len(b) > 0 {
		n := 1 + rnd.IntN(min(len(b), 100_000))
		if _, err := w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return w.CloseWrite()
}

func TestBothDirectionsAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, agent, listener Conn) {
		up, down := content(1, 1<<20+17), content(2, 1<<20+4711)
		wrote := make(chan error, 2)
		go func() { wrote <- pour(agent, up, rand.New(rand.NewPCG(1, 1))) }()
		go func() { wrote <- pour(listener, down, rand.New(rand.NewPCG(2, 2))) }()
		read := make(chan []byte, 1)
		go func() {
			b, err := io.ReadAll(listener)
			if err != nil {
				t.Error(err)
			}
			read <- b
		}()
		got, err := io.ReadAll(agent)
		if err != nil || !bytes.Equal(got, down) {
			t.Errorf("agent read %d bytes, %v", len(got), err)
		}
		if got := <-read; !bytes.Equal(got, up) {
			t.Errorf("listener read %d bytes", len(got))
		}
		for range 2 {
			if err := <-wrote; err != nil {
				t.Error(err)
			}
		}
	})
}

// One direction may end long before the other.
func TestHalfClose(t *testing.T) {
	onEach(t, func(t *testing.T, agent, listener Conn) {
		agent.Write([]byte("bye"))
		agent.CloseWrite()
		if b, err := io.ReadAll(listener); string(b) != "bye" || err != nil {
			t.Fatalf("%q %v", b, err)
		}
		listener.Write([]byte("last words"))
		listener.CloseWrite()
		listener.Close() // what was written is still to be had
		if b, err := io.ReadAll(agent); string(b) != "last words" || err != nil {
			t.Fatalf("%q %v", b, err)
		}
	})
}

func TestCloseIsNoticed(t *testing.T) {
	onEach(t, func(t *testing.T, agent, listener Conn) {
		agent.Close()
		if _, err := io.ReadAll(listener); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("listener does not notice that the agent hung up")
		}
	})
	onEach(t, func(t *testing.T, agent, listener Conn) {
		listener.Close()
		if _, err := io.ReadAll(agent); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("agent does not notice that the listener hung up")
		}
	})
}

// Who does not read makes the other side's writes wait, and the deadline ends
// that.
func TestSlowReader(t *testing.T) {
	onEach(t, func(t *testing.T, agent, listener Conn) {
		listener.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		piece := make([]byte, 1<<20)
		for n := 0; ; n += len(piece) {
			_, err := listener.Write(piece)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
			if err != nil || n > 256<<20 {
				t.Fatalf("after %d bytes: %v", n, err)
			}
		}
	})
}

func TestReadDeadline(t *testing.T) {
	onEach(t, func(t *testing.T, agent, listener Conn) {
		agent.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := agent.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("agent: %v", err)
		}
	})
	onEach(t, func(t *testing.T, agent, listener Conn) {
		go listener.SetReadDeadline(time.Now()) // while the read waits, or before
		if _, err := listener.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("listener: %v", err)
		}
	})
}

// A front that knows no WebSocket answers the upgrade as it likes.
func TestRefused(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusUpgradeRequired, http.StatusForbidden} {
		f := newFront(t, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
		})
		for _, c := range carriers {
			_, err := c.dial(t.Context(), f)
			var refused *Refused
			if !errors.As(err, &refused) || refused.Status != status || refused.Error() == "" {
				t.Errorf("%s, answered %d: %v", c.name, status, err)
			}
		}
	}
}

// A text message is not of the protocol.
func TestWebSocketRefusesStrangers(t *testing.T) {
	f := newFront(t, nil)
	for name, change := range map[string]func(*http.Request){
		"no upgrade":    func(r *http.Request) { r.Header.Del("Upgrade") },
		"other origin":  func(r *http.Request) { r.Header.Set("Origin", "https://evil.test") },
		"other version": func(r *http.Request) { r.Header.Set("Sec-WebSocket-Version", "8") },
	} {
		r, _ := http.NewRequest("GET", f.URL+WebSocketPath, nil)
		for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
			"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol": Subprotocol} {
			r.Header.Set(k, v)
		}
		change(r)
		resp, err := f.client(false).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusSwitchingProtocols {
			t.Errorf("%s: is taken", name)
		}
	}
}
