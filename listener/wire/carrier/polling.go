package carrier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	giveUpAfter  = 45 * time.Second // without an answer
	firstRetry   = 100 * time.Millisecond
	longestRetry = 5 * time.Second
	requestTime  = 20 * time.Second // for a request, besides what it may wait
	hangUpTime   = 2 * time.Second
)

// DialPoll opens a session at url, https://HOST:PORT and [PollPath]. It takes over
// client and closes its idle connections when the connection is closed. Ctx
// bounds the opening only. The error is a [*Refused] if something else than a
// listener answers.
func DialPoll(ctx context.Context, client *http.Client, url string) (Conn, error) {
	session, err := openPoll(ctx, client, url)
	if err != nil {
		client.CloseIdleConnections()
		return nil, err
	}
	p := &polling{client: client, url: url + "/" + session, hold: maxHold}
	p.init(url)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	go p.up()
	go p.down()
	return p, nil
}

func openPoll(ctx context.Context, client *http.Client, url string) (session string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer discard(resp)
	if resp.StatusCode != http.StatusCreated {
		return "", &Refused{"long poll", resp.StatusCode, http.StatusCreated}
	}
	if session = resp.Header.Get(sessionHeader); !isSession(session) {
		return "", errors.New("long poll: server names no session")
	}
	return session, nil
}

// A polling is the agent's end of a session.
type polling struct {
	stream
	client *http.Client
	url    string // of the session
	ctx    context.Context
	cancel context.CancelFunc
	once   sync.Once
	hold   time.Duration // owned by down
}

var (
	errGone = errors.New("long poll: listener ended the session")
	errLost = errors.New("long poll: the two ends do not agree on what came")
)

// Close hangs up. The listener is told in the background.
func (p *polling) Close() error {
	p.once.Do(func() {
		p.rd.stop()
		p.wr.stop()
		p.fail(net.ErrClosed)
		p.cancel()
		go p.hangUp()
	})
	return nil
}

func (p *polling) hangUp() {
	ctx, cancel := context.WithTimeout(context.Background(), hangUpTime)
	defer cancel()
	defer p.client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, p.url, nil)
	if err != nil {
		return
	}
	if resp, err := p.client.Do(req); err == nil { // else the listener finds out by itself
		discard(resp)
	}
}

// up sends what is written, a chunk at a time.
func (p *polling) up() {
	for n := uint64(1); ; n++ {
		var chunk []byte
		over := p.await(p.ctx, func() bool {
			chunk = p.out.take(MaxChunk)
			p.notify()
			return len(chunk) > 0 || p.out.ended || p.err != nil
		})
		if over != nil {
			return
		}
		_, status, err := p.persist(http.MethodPost, n, chunk)
		switch {
		case err != nil:
			p.fail(err)
		case status == http.StatusNoContent && len(chunk) > 0:
			continue
		case status == http.StatusNoContent:
		case status == http.StatusGone || status == http.StatusNotFound:
			p.CloseWrite() // nobody takes more; last words may still be there to fetch
		default:
			p.fail(p.lost(status))
		}
		return
	}
}

// down fetches what the listener has, a chunk at a time.
func (p *polling) down() {
	for n := uint64(1); ; {
		if p.await(p.ctx, func() bool { return !p.in.full() || p.err != nil }) != nil {
			return
		}
		chunk, status, err := p.persist(http.MethodGet, n, nil)
		switch {
		case err != nil:
			p.fail(err)
			return
		case status == http.StatusNoContent:
			continue
		case status != http.StatusOK:
			p.fail(p.lost(status))
			return
		}
		n++
		p.mu.Lock()
		p.in.b = append(p.in.b, chunk...)
		p.in.ended = len(chunk) == 0
		p.notify()
		p.mu.Unlock()
		if len(chunk) == 0 {
			return
		}
	}
}

func (p *polling) lost(status int) error {
	switch status {
	case http.StatusGone, http.StatusNotFound:
		return errGone
	case http.StatusConflict:
		return errLost
	}
	return fmt.Errorf("long poll: server answered %d", status)
}

// persist sends the same request until there is an answer to it, or none has come
// for too long.
func (p *polling) persist(method string, n uint64, body []byte) (chunk []byte, status int, err error) {
	wait := firstRetry
	for failing := (time.Time{}); ; {
		begun := time.Now()
		chunk, status, err = p.ask(method, n, body)
		later := status >= 500 || status == http.StatusTooManyRequests
		if err == nil && !later {
			return chunk, status, nil
		}
		if err == nil {
			err = fmt.Errorf("long poll: server answered %d", status)
		}
		if method == http.MethodGet && time.Since(begun) >= leastCut {
			p.hold = max(p.hold/2, leastCut) // something in between cuts what waits for long
		}
		if failing.IsZero() {
			failing = begun
		}
		if p.ctx.Err() != nil || time.Since(failing) > giveUpAfter {
			return nil, 0, err
		}
		p.pause(wait/2 + rand.N(wait/2))
		wait = min(2*wait, longestRetry)
	}
}

func (p *polling) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.ctx.Done():
	}
}

// ask sends one request and reads its whole answer.
func (p *polling) ask(method string, n uint64, body []byte) (chunk []byte, status int, err error) {
	url, hold := p.url+"/"+strconv.FormatUint(n, 10), maxHold
	if method == http.MethodGet {
		hold = p.hold
		url += "?" + holdParameter + "=" + strconv.Itoa(int(hold/time.Second))
	}
	ctx, cancel := context.WithTimeout(p.ctx, hold+requestTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer discard(resp)
	chunk, err = io.ReadAll(io.LimitReader(resp.Body, MaxChunk+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("long poll: read answer: %w", err)
	case len(chunk) > MaxChunk:
		return nil, 0, fmt.Errorf("long poll: answer is longer than %d bytes", MaxChunk)
	}
	return chunk, resp.StatusCode, nil
}
