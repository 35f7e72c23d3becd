package carrier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const host = "https://listener.test"

// A network carries requests to the half of a listener in the same process, and
// does to them what networks do. Its choices come from a seed.
type network struct {
	polls    *Polls
	accepted chan Conn
	owner    string

	mu    sync.Mutex
	rnd   *rand.Rand // nil: nothing happens to anything
	down  bool       // nothing arrives
	late  []*http.Request
	count map[string]int // of what was done
	still sync.WaitGroup
}

func newNetwork(rnd *rand.Rand) *network {
	return &network{polls: NewPolls(8, plain), accepted: make(chan Conn, 16), owner: "device 7", rnd: rnd, count: make(map[string]int)}
}

var errNetwork = errors.New("network error")

func (n *network) serve(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	n.polls.Serve(w, r, n.owner, func(c Conn) error { n.accepted <- c; return nil })
	return w.Result()
}

// copyOf is a request that can be served at any time, whatever became of r.
func copyOf(ctx context.Context, r *http.Request, body []byte) *http.Request {
	c := r.Clone(ctx)
	c.Body = io.NopCloser(bytes.NewReader(body))
	return c
}

func (n *network) choose() (what string, late *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		return "lose request", nil
	}
	if n.rnd == nil {
		return "", nil
	}
	if len(n.late) > 0 && n.rnd.IntN(4) == 0 {
		late, n.late = n.late[0], n.late[1:]
	}
	if n.rnd.IntN(2) > 0 {
		return "", late
	}
	all := []string{"lose request", "lose answer", "cut answer", "double", "keep copy", "503"}
	what = all[n.rnd.IntN(len(all))]
	n.count[what]++
	return what, late
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	what, late := n.choose()
	if r.URL.Path == PollPath {
		what = "" // opening is not repeated
	}
	if late != nil {
		n.still.Go(func() { n.serve(late) })
	}
	switch what {
	case "lose request":
		return nil, errNetwork
	case "lose answer":
		n.serve(copyOf(r.Context(), r, body))
		return nil, errNetwork
	case "503":
		return &http.Response{StatusCode: 503, Body: http.NoBody}, nil
	case "double":
		n.still.Go(func() { n.serve(copyOf(context.Background(), r, body)) })
	case "keep copy":
		n.mu.Lock()
		n.late = append(n.late, copyOf(context.Background(), r, body))
		n.mu.Unlock()
	}
	resp := n.serve(copyOf(r.Context(), r, body))
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	if what == "cut answer" {
		b, _ := io.ReadAll(resp.Body)
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(b[:len(b)/2]), &broken{}))
	}
	return resp, nil
}

type broken struct{}

func (*broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (n *network) dial(t *testing.T) (agent, listener Conn) {
	t.Helper()
	agent, err := DialPoll(t.Context(), &http.Client{Transport: n}, host+PollPath)
	if err != nil {
		t.Fatal(err)
	}
	return agent, <-n.accepted
}

// Whatever is lost, doubled, cut or late: each side reads exactly what the other
// one wrote.
func TestNothingIsLostOrDoubled(t *testing.T) {
	count := make(map[string]int)
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(rand.New(rand.NewPCG(seed, 1)))
				agent, listener := n.dial(t)
				up, down := content(seed, 300_000), content(seed+1000, 300_000)
				go trickle(t, agent, up, rand.New(rand.NewPCG(seed, 2)))
				go trickle(t, listener, down, rand.New(rand.NewPCG(seed, 3)))
				read := make(chan []byte)
				go func() {
					b, err := io.ReadAll(listener)
					if err != nil {
						t.Error(err)
					}
					read <- b
				}()
				got, err := io.ReadAll(agent)
				if err != nil || !bytes.Equal(got, down) {
					t.Errorf("agent read %d of %d bytes: %v", len(got), len(down), err)
				}
				if got := <-read; !bytes.Equal(got, up) {
					t.Errorf("listener read %d of %d bytes", len(got), len(up))
				}
				listener.Close()
				agent.Close()
				time.Sleep(2 * idleTime) // the agent's goodbye is over, too
				n.still.Wait()
				if l := n.polls.Len(); l != 0 {
					t.Errorf("%d sessions are left", l)
				}
				n.mu.Lock()
				defer n.mu.Unlock()
				for what, times := range n.count {
					count[what] += times
				}
			})
		})
	}
	if len(count) < 6 {
		t.Errorf("only this happened: %v", count)
	}
}

// trickle is pour with pauses, so that chunks are small at times.
func trickle(t *testing.T, w Conn, b []byte, rnd *rand.Rand) {
	for len(b) > 0 {
		n := 1 + rnd.IntN(min(len(b), 20_000))
		if _, err := w.Write(b[:n]); err != nil {
			t.Error(err)
			return
		}
		b = b[n:]
		if rnd.IntN(3) == 0 {
			time.Sleep(time.Duration(rnd.IntN(2000)) * time.Millisecond)
		}
	}
	w.CloseWrite()
}

func TestIdleSessionLivesByPolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(nil)
		agent, listener := n.dial(t)
		time.Sleep(24 * time.Hour)
		go listener.Write([]byte("x"))
		b := make([]byte, 1)
		if _, err := agent.Read(b); err != nil {
			t.Error(err)
		}
		agent.Close()
		if _, err := listener.Read(b); err != io.EOF {
			t.Error(err)
		}
		listener.Close()
		time.Sleep(time.Hour)
	})
}

// A session of whose agent nothing is heard ends by itself, at both ends.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(nil)
		agent, listener := n.dial(t)
		synctest.Wait() // a request waits
		n.mu.Lock()
		n.down = true
		n.mu.Unlock()
		begun := time.Now()
		if _, err := listener.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		if d := time.Since(begun); d != maxHold+idleTime {
			t.Errorf("listener noticed after %s", d)
		}
		if _, err := agent.Read(make([]byte, 1)); !errors.Is(err, errNetwork) {
			t.Error(err)
		}
		if d := time.Since(begun); d > maxHold+idleTime {
			t.Errorf("agent noticed after %s", d)
		}
		if _, err := listener.Write([]byte("x")); err == nil || n.polls.Len() != 0 {
			t.Error("the session is still there")
		}
		agent.Close()
		listener.Close()
		time.Sleep(time.Hour)
	})
}

// Something in between that cuts what waits for long makes the agent ask for
// less.
func TestShorterHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(nil)
		agent, err := DialPoll(t.Context(), &http.Client{Transport: cutter{n, 7 * time.Second}}, host+PollPath)
		if err != nil {
			t.Fatal(err)
		}
		listener := <-n.accepted
		time.Sleep(time.Hour)
		go listener.Write([]byte("x"))
		if _, err := agent.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		agent.Close()
		listener.Close()
		time.Sleep(time.Hour)
	})
}

type cutter struct {
	next  http.RoundTripper
	after time.Duration
}

func (c cutter) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), c.after)
	defer cancel()
	return c.next.RoundTrip(r.WithContext(ctx))
}

// raw is a request by hand.
func (n *network) raw(method, path string, body string) *http.Response {
	u, _ := url.Parse(host + path)
	r := &http.Request{Method: method, URL: u, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	return n.serve(r.WithContext(context.Background()))
}

func TestRequestsOutOfTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(nil)
		resp := n.raw("POST", PollPath, "")
		listener := <-n.accepted
		id := resp.Header.Get(sessionHeader)
		at := func(k int) string { return PollPath + "/" + id + "/" + strconv.Itoa(k) }
		listener.Write([]byte("first"))
		for _, c := range []struct {
			method, path, body string
			status             int
			want               string
		}{
			{"POST", at(2), "b", 409, ""},
			{"POST", at(1), "a", 204, ""},
			{"POST", at(1), "other", 204, ""},
			{"POST", at(3), "c", 409, ""},
			{"POST", at(2), strings.Repeat("x", MaxChunk+1), 413, ""},
			{"POST", at(2), "b", 204, ""},
			{"GET", at(2), "", 409, ""},
			{"GET", at(1), "", 200, "first"},
			{"GET", at(1), "", 200, "first"},
			{"GET", at(3), "", 409, ""},
			{"GET", at(2) + "?hold=1", "", 204, ""},
			{"GET", at(1), "", 409, ""},
			{"GET", at(2) + "?hold=x", "", 400, ""},
			{"GET", PollPath + "/" + strings.Repeat("0", sessionDigits) + "/1", "", 404, ""},
			{"GET", PollPath, "", 405, ""},
			{"PUT", at(3), "", 405, ""},
			{"GET", at(0), "", 404, ""},
			{"POST", at(3), "", 204, ""},
			{"POST", at(4), "after the end", 409, ""},
			{"DELETE", PollPath + "/" + id, "", 204, ""},
			{"GET", at(2), "", 404, ""},
		} {
			resp := n.raw(c.method, c.path, c.body)
			b, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || c.want != "" && string(b) != c.want {
				t.Errorf("%s %s: %d %q, want %d", c.method, c.path, resp.StatusCode, b, c.status)
			}
		}
		if b, err := io.ReadAll(listener); string(b) != "ab" || err != nil {
			t.Errorf("listener read %q, %v", b, err)
		}
		listener.Close()
		time.Sleep(time.Hour)
	})
}

// Another device cannot use a session, even if it knows its name.
func TestSessionIsItsOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(nil)
		id := n.raw("POST", PollPath, "").Header.Get(sessionHeader)
		listener := <-n.accepted
		n.owner = "device 8"
		for _, method := range []string{"GET", "POST"} {
			if resp := n.raw(method, PollPath+"/"+id+"/1", "x"); resp.StatusCode != 404 {
				t.Errorf("%s: %d", method, resp.StatusCode)
			}
		}
		if resp := n.raw("DELETE", PollPath+"/"+id, ""); resp.StatusCode != 404 {
			t.Errorf("DELETE: %d", resp.StatusCode)
		}
		listener.Close()
		time.Sleep(time.Hour)
	})
}

func TestSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(nil)
		for range 8 {
			if resp := n.raw("POST", PollPath, ""); resp.StatusCode != 201 {
				t.Fatalf("status %d", resp.StatusCode)
			}
		}
		if resp := n.raw("POST", PollPath, ""); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("status %d", resp.StatusCode)
		}
		time.Sleep(idleTime + time.Second) // all of them are silent
		if resp := n.raw("POST", PollPath, ""); resp.StatusCode != 201 {
			t.Errorf("status %d", resp.StatusCode)
		}
		time.Sleep(time.Hour)
	})
}

// A listener that does not read lets the agent's chunks wait, and holds no more
// than it says.
func TestUpwardsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(nil)
		id := n.raw("POST", PollPath, "").Header.Get(sessionHeader)
		listener := <-n.accepted
		chunk := strings.Repeat("x", MaxChunk)
		post := func(k int) int {
			return n.raw("POST", PollPath+"/"+id+"/"+strconv.Itoa(k), chunk).StatusCode
		}
		if got := []int{post(1), post(2)}; got[0] != 204 || got[1] != 503 {
			t.Errorf("answers %v", got)
		}
		done := make(chan int)
		go func() { done <- post(2) }()
		synctest.Wait()
		io.ReadFull(listener, make([]byte, MaxChunk))
		if status := <-done; status != 204 {
			t.Errorf("status %d", status)
		}
		listener.Close()
		time.Sleep(time.Hour)
	})
}

// A newer request releases the older one of the same direction that waits.
func TestNewerReleasesOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(nil)
		id := n.raw("POST", PollPath, "").Header.Get(sessionHeader)
		listener := <-n.accepted
		ask := func() chan int {
			status := make(chan int, 1)
			go func() { status <- n.raw("GET", PollPath+"/"+id+"/1", "").StatusCode }()
			synctest.Wait()
			return status
		}
		begun := time.Now()
		first := ask()
		second := ask()
		if s := <-first; s != 204 || time.Since(begun) != 0 {
			t.Errorf("older request: %d after %s", s, time.Since(begun))
		}
		listener.Write([]byte("x"))
		if s := <-second; s != 200 {
			t.Errorf("newer request: %d", s)
		}
		listener.Close()
		time.Sleep(time.Hour)
	})
}

func FuzzRequest(f *testing.F) {
	f.Add("GET", "/agent/poll/0123456789abcdef0123456789abcdef/1?hold=3")
	f.Add("POST", "/agent/poll")
	f.Add("DELETE", "/agent/poll/0123456789abcdef0123456789abcdef")
	f.Add("POST", "/agent/poll/0123456789abcdef0123456789abcdef/18446744073709551615")
	f.Fuzz(func(t *testing.T, method, line string) {
		u, err := url.Parse(line)
		if err != nil {
			return
		}
		r, err := parseRequest(method, u)
		if err != nil {
			return
		}
		switch path := PollPath + "/" + r.session; {
		case r.verb == verbOpen && u.Path == PollPath && method == "POST":
		case r.verb == verbHangUp && u.Path == path && method == "DELETE" && isSession(r.session):
		case r.number > 0 && u.Path == path+"/"+strconv.FormatUint(r.number, 10) && isSession(r.session) && r.hold <= maxHold && r.hold >= 0 &&
			(r.verb == verbUp && method == "POST" || r.verb == verbDown && method == "GET"):
		default:
			t.Errorf("%s %s is read as %+v", method, line, r)
		}
	})
}

// FuzzSequence makes a listener's half take requests in any order and checks that
// what it reads is what was sent in order.
func FuzzSequence(f *testing.F) {
	f.Add([]byte{1, 2, 3, 0x81, 0x82, 2, 2, 1})
	f.Fuzz(func(t *testing.T, steps []byte) {
		if len(steps) > 200 {
			return
		}
		s := &served{polls: NewPolls(1, plain)}
		s.init("fuzz")
		defer s.Close()
		var want, got, wrote []byte
		next, asked := uint64(1), uint64(1)
		for i, b := range steps {
			n := uint64(b & 0x7f)
			if b < 0x80 {
				status := s.takeChunk(n, []byte{byte(i)})
				if taken := n == next && status == http.StatusNoContent; taken {
					want, next = append(want, byte(i)), next+1
				} else if n >= next && status == http.StatusNoContent {
					t.Fatalf("chunk %d is taken where %d is next", n, next)
				}
				continue
			}
			s.Write([]byte{byte(i)})
			wrote = append(wrote, byte(i))
			if chunk, status, ok := s.handOut(n); ok && status == http.StatusOK {
				switch n {
				case asked:
					got, asked = append(got, chunk...), asked+1
				case asked - 1:
					if !bytes.HasSuffix(got, chunk) {
						t.Fatalf("chunk %d is another the second time", n)
					}
				default:
					t.Fatalf("chunk %d is handed out where %d is next", n, asked)
				}
			}
		}
		if !bytes.HasPrefix(wrote, got) {
			t.Fatal("what was handed out is not what was written")
		}
		s.CloseWrite()
		s.in.ended = true
		if b, err := io.ReadAll(s); err != nil || !bytes.Equal(b, want) {
			t.Fatalf("read %x, %v, want %x", b, err, want)
		}
	})
}
