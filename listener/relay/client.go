package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire"
)

const (
	askTime    = 10 * time.Second // for a question
	sendTime   = 2 * time.Minute  // for files
	awayTime   = 2 * time.Second  // that nothing is asked after the site gave no answer
	beaconTime = 10 * time.Second // that a beacon for nobody in particular is kept
	maxAsking  = 32               // connections
)

// A Client asks a site. It is safe for concurrent use.
type Client struct {
	url  string
	log  *slog.Logger
	http atomic.Pointer[http.Client]

	policies policies

	mu     sync.Mutex
	away   time.Time // until when nothing is asked
	failed bool      // the last request had no answer

	beaconMu sync.Mutex // held while a beacon is fetched, so that one is
	beacon   []byte
	beaconAt time.Time
}

// NewClient makes a client of the site whose HTTPS port is at url, such as
// https://bugle.example.com:10443. A nil log is slog.Default().
func NewClient(url string, trust *tls.Config, log *slog.Logger) *Client {
	if log == nil {
		log = slog.Default()
	}
	c := &Client{url: strings.TrimRight(url, "/"), log: log}
	c.Trust(trust)
	return c
}

// Trust sets whom the client trusts and what certificate it shows from now on.
func (c *Client) Trust(config *tls.Config) {
	old := c.http.Swap(&http.Client{
		Transport: &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true, MaxConnsPerHost: maxAsking, MaxIdleConnsPerHost: maxAsking,
			IdleConnTimeout: 20 * time.Second, TLSHandshakeTimeout: askTime, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	if old != nil {
		old.CloseIdleConnections()
	}
}

// ErrAway is wrapped by the errors that mean: the site gave no answer.
var ErrAway = errors.New("the site does not answer")

// ask sends one question. What the site refuses is a [*listener.JoinRefused].
func (c *Client) ask(ctx context.Context, path string, q, a any) error {
	if c.isAway() {
		return ErrAway
	}
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	status, answer, err := c.do(ctx, path, "application/json", body)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return refusal(status, answer)
	}
	if err := json.Unmarshal(answer, a); err != nil {
		return fmt.Errorf("read answer to %s: %w", path, err)
	}
	return nil
}

// do sends a request, a GET if it has no body, and returns the answer.
func (c *Client) do(ctx context.Context, path, kind string, body []byte) (status int, answer []byte, err error) {
	method, content := http.MethodPost, io.Reader(bytes.NewReader(body))
	if kind == "" {
		method, content = http.MethodGet, nil
	}
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, content)
	if err != nil {
		return 0, nil, err
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	resp, err := c.http.Load().Do(r)
	if err == nil {
		answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		err = errors.Join(err, resp.Body.Close())
	}
	if err != nil || resp.StatusCode >= http.StatusInternalServerError {
		if err == nil {
			err = refusal(resp.StatusCode, answer)
		}
		c.note(ctx, err)
		return 0, nil, fmt.Errorf("%w: %w", ErrAway, err)
	}
	c.note(ctx, nil)
	return resp.StatusCode, answer, nil
}

func refusal(status int, answer []byte) error {
	var said wire.JoinError
	json.Unmarshal(answer, &said) // a proxy in between may say something else
	if said.Title == "" {
		said.Title = http.StatusText(status)
	}
	return &listener.JoinRefused{Status: status, Title: said.Title, Detail: said.Detail}
}

func (c *Client) isAway() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(c.away)
}

// note takes note of whether the site answers.
func (c *Client) note(ctx context.Context, err error) {
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return // it was not the site's fault
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != (err != nil) {
		if c.failed = err != nil; c.failed {
			c.log.Warn("the site does not answer", "site", c.url, "error", err)
		} else {
			c.log.Info("the site answers", "site", c.url)
		}
	}
	c.away = time.Time{}
	if err != nil {
		c.away = time.Now().Add(awayTime)
	}
}

// Site asks what must be known before a listener can serve.
func (c *Client) Site(ctx context.Context) (s Site, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	status, answer, err := c.do(ctx, sitePath, "", nil)
	if err != nil {
		return s, err
	}
	if status != http.StatusOK {
		return s, refusal(status, answer)
	}
	if err = json.Unmarshal(answer, &s); err == nil && len(s.History) != 16 {
		err = errors.New("the site does not say which journal it has")
	}
	return s, err
}

// Beacon is for listener.Config. While the site is away there is none.
func (c *Client) Beacon(nonce [16]byte) ([]byte, error) {
	if nonce != [16]byte{} {
		return c.fetchBeacon(nonce)
	}
	c.beaconMu.Lock()
	defer c.beaconMu.Unlock()
	if c.beacon != nil && time.Since(c.beaconAt) < beaconTime {
		return c.beacon, nil
	}
	asked := time.Now()
	b, err := c.fetchBeacon(nonce)
	c.beacon, c.beaconAt = b, asked
	return b, err
}

func (c *Client) fetchBeacon(nonce [16]byte) ([]byte, error) {
	q := beaconRequest{}
	if nonce != [16]byte{} {
		q.Nonce = nonce[:]
	}
	var a beaconReply
	if err := c.ask(context.Background(), beaconPath, &q, &a); err != nil {
		if errors.Is(err, ErrAway) {
			return nil, nil
		}
		return nil, fmt.Errorf("ask for a beacon: %w", err)
	}
	return a.Beacon, nil
}

// Policy is for listener.Config.
func (c *Client) Policy(device uint32, user string) (listener.Policy, error) {
	who := whose{device, user}
	p, known := c.policies.find(who)
	own := p.ETag
	for range 2 {
		var a policyReply
		q := policyRequest{Device: device, User: user, Known: c.policies.etags(own)}
		err := c.ask(context.Background(), policyPath, &q, &a)
		if errors.Is(err, ErrAway) && known {
			return p, nil
		}
		if err != nil {
			return listener.Policy{}, fmt.Errorf("ask for policy: %w", err)
		}
		if p, ok := c.policies.take(who, &a); ok {
			return p, nil
		}
		// The body gave way to others since it was named; without names it comes.
		c.policies.forget(a.ETag)
		own = ""
	}
	return listener.Policy{}, errors.New("ask for policy: the site sent none")
}

// KeepAliveOf is for listener.Config.
func (c *Client) KeepAliveOf(device uint32) time.Duration { return c.policies.keepAlive(device) }

// Join is for listener.Config.
func (c *Client) Join(ctx context.Context, q wire.JoinRequest, address string) (a wire.JoinReply, err error) {
	err = c.ask(ctx, joinPath, &joinRequest{Address: address, Request: q}, &a)
	return a, err
}

// Renew is for listener.Config.
func (c *Client) Renew(ctx context.Context, device uint32, request wire.Renew) ([]byte, error) {
	var a renewReply
	err := c.ask(ctx, renewPath, &renewRequest{Device: device, CSR: request.CSR, Proof: request.Proof}, &a)
	return a.Certificate, err
}

// JoinListener makes this listener one of the site's; it needs no certificate.
func (c *Client) JoinListener(ctx context.Context, q wire.ListenerJoinRequest) (a wire.ListenerJoinReply, err error) {
	err = c.ask(ctx, listenerJoinPath, &q, &a)
	return a, err
}

// RenewListener gets this listener a new certificate.
func (c *Client) RenewListener(ctx context.Context, csr []byte) (a wire.ListenerRenewReply, err error) {
	err = c.ask(ctx, listenerRenewPath, &wire.RenewRequest{CSR: csr}, &a)
	return a, err
}

// NextEpoch gets this listener another epoch, whose files are signed with key.
func (c *Client) NextEpoch(ctx context.Context, key []byte) (epoch uint32, err error) {
	var a wire.ListenerEpochReply
	err = c.ask(ctx, listenerEpochPath, &wire.ListenerEpochRequest{BoxKey: key}, &a)
	return a.Epoch, err
}

// Send hands files to the site and returns how many of them, from the first on,
// it has now. The error is about the next one, or wraps [ErrAway].
func (c *Client) Send(ctx context.Context, files []box.Raw) (taken int, err error) {
	size := 0
	for i := range files {
		size += len(files[i].Data) + 64
	}
	body := make([]byte, 0, size)
	for i := range files {
		body = appendFile(body, &files[i])
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	status, answer, err := c.do(ctx, filesPath, "application/octet-stream", body)
	if err != nil {
		return 0, err
	}
	var a filesReply
	err = json.Unmarshal(answer, &a)
	switch {
	case status != http.StatusOK:
		err = &listener.JoinRefused{Status: status, Title: a.Title, Detail: a.Detail}
	case err != nil || a.Taken != len(files):
		err = fmt.Errorf("read answer to %s: %d of %d files taken: %w", filesPath, a.Taken, len(files), errors.Join(ErrAway, err))
	}
	return max(0, min(a.Taken, len(files))), err
}
