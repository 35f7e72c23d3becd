package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bugle-fleet/bugle/console"
)

// Bounds of a call.
const (
	callTimeout  = time.Minute
	dialTimeout  = 10 * time.Second
	maxAnswer    = 256 << 20 // bytes
	maxProblem   = 64 << 10
	pushAttempts = 5
	firstPause   = 250 * time.Millisecond // before the second attempt; doubles
)

// A client makes calls of one site's API.
type client struct {
	at    *location
	http  *http.Client
	pause func(ctx context.Context, d time.Duration) error
	err   error // why there is no site to call
}

// connect finds the site. The client is there with an error too, and cannot call.
func (o *Options) connect() (*client, error) {
	at, err := o.find()
	if err != nil {
		return &client{http: new(http.Client), pause: o.pause}, err
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: at.roots},
		ForceAttemptHTTP2:   true,
	}
	if at.local {
		transport.Proxy = nil
	}
	// A redirect would carry the token elsewhere.
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{at: at, http: &http.Client{Transport: transport, CheckRedirect: refuse}, pause: o.pause}, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

// A request is one call.
type request struct {
	method string
	path   string
	query  url.Values
	body   any
	lines  []byte // lines of JSON, instead of body
	key    string // idempotency key
	match  string // If-Match: the version that is to be changed
	last   string // last event id, of a stream
	stream bool
	event  *uint64 // where the event goes that the answer is as of
}

func (c *client) get(ctx context.Context, path string, query url.Values, out any) error {
	return c.call(ctx, request{method: http.MethodGet, path: path, query: query}, out)
}

func (c *client) post(ctx context.Context, path string, body, out any) error {
	return c.call(ctx, request{method: http.MethodPost, path: path, body: body}, out)
}

// call makes one call and decodes its answer into out.
func (c *client) call(ctx context.Context, r request, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return c.unreachable(ctx, err)
	case len(b) > maxAnswer:
		return fmt.Errorf("read answer of %s: more than %d bytes", c.at.base.Host, maxAnswer)
	}
	if r.event != nil {
		*r.event, _ = strconv.ParseUint(response.Header.Get(console.HeaderEvent), 10, 64)
	}
	if err := unmarshal(b, out); err != nil {
		return fmt.Errorf("read answer of %s: it is not of bugle's API (%w)", c.at.base.Host, err)
	}
	return nil
}

// callAgain is call that is tried again if the site was not reached or is not
// available: only for what may arrive twice.
func (c *client) callAgain(ctx context.Context, r request, out any) error {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := c.call(ctx, r, out)
		if !mayPass(err) || attempt == pushAttempts || ctx.Err() != nil {
			return err
		}
		if c.pause(ctx, pause) != nil {
			return err
		}
		pause *= 2
	}
}

// send makes a call and returns the answer if it is a good one.
func (c *client) send(ctx context.Context, r request) (*http.Response, error) {
	if c.err != nil {
		return nil, c.err
	}
	request, err := c.request(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("ask site: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if response.StatusCode/100 != 2 {
		defer response.Body.Close()
		return nil, c.readProblem(response)
	}
	return response, nil
}

func (c *client) request(ctx context.Context, r request) (*http.Request, error) {
	u := strings.TrimSuffix(c.at.base.String(), "/") + r.path
	if len(r.query) > 0 {
		u += "?" + r.query.Encode()
	}
	var body io.Reader
	if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	} else if r.lines != nil {
		body = bytes.NewReader(r.lines)
	}
	request, err := http.NewRequestWithContext(ctx, r.method, u, body)
	if err != nil {
		return nil, err
	}
	set := func(name, value string) {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	set("Authorization", "Bearer "+c.at.token)
	set("Accept", "application/json, application/problem+json")
	set(console.HeaderIdempotencyKey, r.key)
	set("If-Match", r.match)
	set(console.HeaderLastEventID, r.last)
	if r.body != nil {
		set("Content-Type", "application/json")
	} else if r.lines != nil {
		set("Content-Type", "application/x-ndjson")
	}
	if r.stream {
		set("Accept", "text/event-stream, application/problem+json")
	}
	return request, nil
}

// A problem is an answer that is not good, by RFC 9457.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`

	Errors []refusedPart `json:"errors"` // what does not hold, one by one; nil if the detail says it all
}

// A refusedPart is one thing that does not hold in what was sent.
type refusedPart struct {
	Path    string `json:"path"`
	Line    int    `json:"line"` // in the text of a query, from 1; 0 elsewhere
	Column  int    `json:"column"`
	Message string `json:"message"`
}

// Error is one plain sentence.
func (p *problem) Error() string {
	if p.Detail == "" {
		return clean(p.Title)
	}
	return clean(p.Title + ": " + p.Detail)
}

// readProblem is the error for an answer. What the site cannot take as it is was
// a wrong call.
func (c *client) readProblem(response *http.Response) error {
	p := new(problem)
	b, err := io.ReadAll(io.LimitReader(response.Body, maxProblem))
	if err != nil || json.Unmarshal(b, p) != nil || p.Title == "" {
		p.Title = fmt.Sprintf("what is at %s answers %s and is no site of bugle", c.at.base.Host, response.Status)
		p.Detail = ""
	}
	switch p.Status = response.StatusCode; p.Status {
	case http.StatusUnauthorized:
		p.Detail = "" // which header to send is for those who write clients
		return fmt.Errorf("%w; the file with the administrator's token is not this site's", p)
	case http.StatusUnprocessableEntity:
		return &ExitError{codeUsage, p}
	}
	return p
}

// An unreachableError says that no answer came: whether the call took effect is
// not known.
type unreachableError struct {
	text  string
	cause error
}

func (e *unreachableError) Error() string { return e.text }
func (e *unreachableError) Unwrap() error { return e.cause }

// unreachable says why there is no answer and what to do.
func (c *client) unreachable(ctx context.Context, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return errors.New("interrupted")
	}
	where := c.at.base.Host
	what := "look whether it runs, and whether --url is right"
	if c.at.local {
		what = fmt.Sprintf("look whether it runs; if not, start it with 'bugle serve --data %s'", c.at.data)
	}
	cause := err.Error()
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("reach site at %s: its certificate is not signed by the CA that is trusted here: name the site's keys/ca.crt with --ca-file or BUGLE_CA_FILE, or the newest keys/ca-N.crt if the CA was changed and the old one retired", where)
	case errors.As(err, &host):
		return fmt.Errorf("reach site at %s: its certificate is for another name (%w): use a name that the site was started with (bugle serve --hosts)", where, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		cause = "nothing listens there"
	case errors.Is(err, context.DeadlineExceeded):
		cause = fmt.Sprintf("no answer within %s", callTimeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		cause = "the connection ended before the answer"
	}
	return &unreachableError{fmt.Sprintf("reach site at %s: %s: %s", where, clean(cause), what), err}
}

// mayPass tells whether err may be gone at the next attempt.
func mayPass(err error) bool {
	var u *unreachableError
	var p *problem
	return errors.As(err, &u) || errors.As(err, &p) &&
		(p.Status == http.StatusServiceUnavailable || p.Status == http.StatusBadGateway || p.Status == http.StatusGatewayTimeout || p.Status == http.StatusTooManyRequests)
}
