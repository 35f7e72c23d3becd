package main

import (
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

// A site is where the fleet belongs: where devices join, and the API.
type site struct {
	join  string // host:port
	local bool   // its clock is this machine's
	base  string // of the API, such as https://127.0.0.1:8443
	token string
	http  *http.Client
}

// findSite reads what the options name. Flags win over what --data holds.
func findSite(o *options) (*site, error) {
	s := &site{join: o.site, base: o.console}
	tokenFile, caFile := o.tokenFile, o.caFile
	if o.data != "" {
		if err := s.readAddresses(filepath.Join(o.data, "run", "addresses.json")); err != nil {
			return nil, err
		}
		s.local = true
		tokenFile = cmp.Or(tokenFile, filepath.Join(o.data, "keys", "admin.token"))
		caFile = cmp.Or(caFile, filepath.Join(o.data, "keys", "ca.crt"))
	}
	if u, err := url.Parse(s.base); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("find site: %q is not a URL like https://127.0.0.1:8443", s.base)
	}
	s.base = strings.TrimSuffix(s.base, "/")
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
	if o.data != "" && o.caFile == "" {
		later, _ := filepath.Glob(filepath.Join(o.data, "keys", "ca-*.crt"))
		for _, name := range later { // what took over from the first one
			if pem, err := readSmall(name); err == nil {
				roots.AppendCertsFromPEM(pem)
			}
		}
	}
	s.http = &http.Client{Timeout: callTimeout, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, ForceAttemptHTTP2: true}}
	return s, nil
}

// readAddresses reads where a site on this machine listens.
func (s *site) readAddresses(name string) error {
	b, err := readSmall(name)
	if err != nil {
		return fmt.Errorf("find site: none runs with this folder: %w", err)
	}
	var a struct{ HTTP, Console string }
	if err := json.Unmarshal(b, &a); err != nil {
		return fmt.Errorf("find site: read %s: %w", name, err)
	}
	join, err := reachable(a.HTTP)
	if err != nil {
		return fmt.Errorf("find site: read %s: %w", name, err)
	}
	api, err := reachable(a.Console)
	if err != nil {
		return fmt.Errorf("find site: read %s: %w", name, err)
	}
	s.join, s.base = cmp.Or(s.join, join), cmp.Or(s.base, "https://"+api)
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

// call makes one call of the API and decodes its answer into out. A write has an
// idempotency key of its own.
func (s *site) call(ctx context.Context, method, path string, body, out any) error {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("ask site: %w", err)
		}
		content = bytes.NewReader(b)
	}
	request, err := http.NewRequestWithContext(ctx, method, s.base+path, content)
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

// createToken makes a join token for n devices.
func (s *site) createToken(ctx context.Context, n int) (reply console.TokenReply, err error) {
	err = s.call(ctx, http.MethodPost, console.PathTokens, console.TokenRequest{TTLSeconds: 24 * 3600, Uses: uint32(n)}, &reply)
	return reply, err
}

func (s *site) revokeToken(ctx context.Context, id string) error {
	return s.call(ctx, http.MethodDelete, console.Path(console.PathToken, id), nil, new(console.Written))
}

func (s *site) push(ctx context.Context, r console.PushRequest) (reply console.PushReply, err error) {
	err = s.call(ctx, http.MethodPost, console.PathOperations, r, &reply)
	return reply, err
}

// operation returns an operation as of event, or later.
func (s *site) operation(ctx context.Context, id string, event uint64) (reply console.OperationReply, err error) {
	query := url.Values{console.QueryMinEvent: {fmt.Sprint(event)}}
	err = s.call(ctx, http.MethodGet, console.Path(console.PathOperation, id)+"?"+query.Encode(), nil, &reply)
	return reply, err
}

// targets returns every device of an operation.
func (s *site) targets(ctx context.Context, id string) (all []console.Target, err error) {
	var after uint32
	for {
		query := url.Values{"limit": {fmt.Sprint(pageSize)}, "after": {fmt.Sprint(after)}}
		var page console.TargetPage
		path := console.Path(console.PathOperationDevices, id) + "?" + query.Encode()
		if err := s.call(ctx, http.MethodGet, path, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next <= after {
			return all, nil
		}
		after = page.Next
	}
}

// acceptedAt returns the time that the site wrote into an event.
func (s *site) acceptedAt(ctx context.Context, number uint64) (time.Time, error) {
	var e struct{ Accepted time.Time }
	err := s.call(ctx, http.MethodGet, console.Path(console.PathEvent, fmt.Sprint(number)), nil, &e)
	return e.Accepted, err
}
