package site

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// Bounds of what is read.
const (
	maxSmall    = 1 << 20  // bytes of a file
	maxAnswer   = 16 << 20 // bytes of an answer of the API
	callTimeout = time.Minute
	pageSize    = 1000
)

// A Place says where a site is: the folder of one that runs on this machine, or the
// four others. They win over what the folder holds.
type Place struct {
	Data      string
	Join      string // host:port where devices join
	API       string // URL, such as https://127.0.0.1:8443
	TokenFile string // with an administrator's token
	CAFile    string // with the certificate of the site's CA
}

// A Client is a site as an administrator sees it.
type Client struct {
	Join     string // host:port where devices join
	Listener string // host:port where they sign in; empty if the site is not on this machine
	API      string // URL
	Local    bool   // its clock is this machine's
	Roots    *x509.CertPool
	token    string
	http     *http.Client
}

// Find reads what the place names.
func Find(at Place) (*Client, error) {
	s := &Client{Join: at.Join, API: at.API}
	tokenFile, caFile := at.TokenFile, at.CAFile
	if at.Data != "" {
		if err := s.readAddresses(at.Data); err != nil {
			return nil, err
		}
		s.Local = true
		tokenFile = cmp.Or(tokenFile, filepath.Join(at.Data, "keys", "admin.token"))
		caFile = cmp.Or(caFile, filepath.Join(at.Data, "keys", "ca.crt"))
	}
	if u, err := url.Parse(s.API); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("find site: %q is not a URL like https://127.0.0.1:8443", s.API)
	}
	s.API = strings.TrimSuffix(s.API, "/")
	token, err := readSmall(tokenFile)
	if err != nil {
		return nil, fmt.Errorf("read administrator's token: %w", err)
	}
	s.token = string(bytes.TrimSpace(token))
	pem, err := readSmall(caFile)
	if err != nil {
		return nil, fmt.Errorf("read certificate of the CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read certificate of the CA: %s holds no certificate in PEM", caFile)
	}
	if at.Data != "" && at.CAFile == "" {
		later, _ := filepath.Glob(filepath.Join(at.Data, "keys", "ca-*.crt"))
		for _, name := range later { // what took over from the first one
			if pem, err := readSmall(name); err == nil {
				roots.AppendCertsFromPEM(pem)
			}
		}
	}
	s.Roots = roots
	s.http = &http.Client{Timeout: callTimeout, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, ForceAttemptHTTP2: true}}
	return s, nil
}

// AddressFile is where a site, or a listener that runs apart, says where it listens
// while it runs.
func AddressFile(data string) string { return filepath.Join(data, "run", "addresses.json") }

// Addresses are what is in that file, as seen from this machine.
type Addresses struct {
	TCP     string // agents
	HTTP    string // agents that join
	Console string // administrators; a listener that runs apart has none
}

// ReadAddresses reads the file of the site or listener with this folder.
func ReadAddresses(data string) (a Addresses, err error) {
	name := AddressFile(data)
	b, err := readSmall(name)
	if err != nil {
		return a, fmt.Errorf("find site: none runs with this folder: %w", err)
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return a, fmt.Errorf("find site: read %s: %w", name, err)
	}
	for _, address := range []*string{&a.TCP, &a.HTTP, &a.Console} {
		if *address == "" {
			continue
		}
		if *address, err = reachable(*address); err != nil {
			return a, fmt.Errorf("find site: read %s: %w", name, err)
		}
	}
	return a, nil
}

// readAddresses reads where a site on this machine listens.
func (s *Client) readAddresses(data string) error {
	a, err := ReadAddresses(data)
	if err != nil {
		return err
	}
	s.Listener, s.Join, s.API = a.TCP, cmp.Or(s.Join, a.HTTP), cmp.Or(s.API, "https://"+a.Console)
	return nil
}

// reachable is the address of a socket as one from this machine reaches it: one
// that is bound to all addresses is reached by loopback.
func reachable(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
	if err == nil && len(b) > maxSmall {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxSmall)
	}
	return b, err
}

// Call makes one call of the API and decodes its answer into out. A write has an
// idempotency key of its own.
func (s *Client) Call(ctx context.Context, method, path string, body, out any) error {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("ask site: %w", err)
		}
		content = bytes.NewReader(b)
	}
	request, err := http.NewRequestWithContext(ctx, method, s.API+path, content)
	if err != nil {
		return fmt.Errorf("ask site: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if method != http.MethodGet {
		request.Header.Set(console.HeaderIdempotencyKey, rand.Text())
	}
	response, err := s.http.Do(request)
	if err != nil {
		return fmt.Errorf("ask site: %w", err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("ask site: %s %s: %w", method, path, err)
	case response.StatusCode/100 != 2:
		return fmt.Errorf("ask site: %s %s: %w", method, path, refusal(response.Status, b))
	case len(b) > maxAnswer:
		return fmt.Errorf("ask site: %s %s: answer of more than %d bytes", method, path, maxAnswer)
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("ask site: %s %s: %w", method, path, err)
	}
	return nil
}

// refusal is an answer that is not good, by RFC 9457.
func refusal(status string, body []byte) error {
	var p wire.JoinError // the same form
	if json.Unmarshal(body, &p) != nil || p.Title == "" {
		return errors.New(status)
	}
	return &p
}

// CreateToken makes a join token for n devices.
func (s *Client) CreateToken(ctx context.Context, n int) (reply console.TokenReply, err error) {
	err = s.Call(ctx, http.MethodPost, console.PathTokens, console.TokenRequest{TTLSeconds: 24 * 3600, Uses: uint32(n)}, &reply)
	return reply, err
}

// RevokeToken ends a token.
func (s *Client) RevokeToken(ctx context.Context, id string) error {
	return s.Call(ctx, http.MethodDelete, console.Path(console.PathToken, id), nil, new(console.Written))
}

// Push pushes an operation and returns once it is durable.
func (s *Client) Push(ctx context.Context, r console.PushRequest) (reply console.PushReply, err error) {
	err = s.Call(ctx, http.MethodPost, console.PathOperations, r, &reply)
	return reply, err
}

// Operation returns an operation as of event, or later; 0 is as of now.
func (s *Client) Operation(ctx context.Context, id string, event uint64) (console.OperationReply, error) {
	return s.operation(ctx, id, url.Values{console.QueryMinEvent: {fmt.Sprint(event)}})
}

// Counts is Operation without latencies, which cost the site a look at every device.
func (s *Client) Counts(ctx context.Context, id string, event uint64) (console.OperationReply, error) {
	return s.operation(ctx, id, url.Values{console.QueryMinEvent: {fmt.Sprint(event)}, console.QueryLatency: {"false"}})
}

func (s *Client) operation(ctx context.Context, id string, query url.Values) (reply console.OperationReply, err error) {
	err = s.Call(ctx, http.MethodGet, console.Path(console.PathOperation, id)+"?"+query.Encode(), nil, &reply)
	return reply, err
}

// Targets returns every device of an operation.
func (s *Client) Targets(ctx context.Context, id string) (all []console.Target, err error) {
	var after uint32
	for {
		query := url.Values{"limit": {fmt.Sprint(pageSize)}, "after": {fmt.Sprint(after)}}
		var page console.TargetPage
		path := console.Path(console.PathOperationDevices, id) + "?" + query.Encode()
		if err := s.Call(ctx, http.MethodGet, path, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next <= after {
			return all, nil
		}
		after = page.Next
	}
}

// AcceptedAt returns the time that the site wrote into an event.
func (s *Client) AcceptedAt(ctx context.Context, number uint64) (time.Time, error) {
	var e struct{ Accepted time.Time }
	err := s.Call(ctx, http.MethodGet, console.Path(console.PathEvent, fmt.Sprint(number)), nil, &e)
	return e.Accepted, err
}

// maxMetrics is how much of the metrics is read, in bytes.
const maxMetrics = 4 << 20

// Metrics returns those metrics of the site that have no labels, by name.
func (s *Client) Metrics(ctx context.Context) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.API+console.PathMetrics, nil)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read metrics: %s", response.Status)
	}
	all := map[string]float64{}
	lines := bufio.NewScanner(io.LimitReader(response.Body, maxMetrics))
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			all[name] = v
		}
	}
	return all, lines.Err()
}

// Close closes connections that are idle.
func (s *Client) Close() { s.http.CloseIdleConnections() }
