package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// JoinConfig says how to join a site.
type JoinConfig struct {
	Dir     string // the agent's folder; made if it is not there
	Site    string // host:port of the site's HTTPS port
	Token   string // see [wire.Token]
	Name    string // of the machine, by default its host name
	Version string // of the agent

	// Dial connects, by default directly or through the proxy that the
	// environment names.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Proxy is as in [Config].
	Proxy func(*http.Request) (*url.URL, error)
}

// ErrOtherSite is wrapped by the error of [Join] if the folder belongs to a
// device of another site.
var ErrOtherSite = errors.New("this folder holds a device of another site")

// ErrUnreachable is wrapped by the error of [Join] if the exchange with the site
// failed for a reason that may pass: no network, a reply that was cut, a site
// that says to try again. What else Join returns needs somebody's help.
var ErrUnreachable = errors.New("site cannot be reached")

const joinTimeout = time.Minute

// Join makes this machine a device of a site. It makes a key in the folder, lets
// the site certify it, and stores what the site says; when it returns nil all of
// that survives a power cut. Nothing is sent before whoever answers has proved
// to be the site that the token names ([ErrPin]).
//
// A folder that has joined the site of the token is left alone. Join may be
// repeated after any failure: it uses the same key again. What the site answers
// if it refuses is a [*wire.JoinError].
func Join(ctx context.Context, cfg JoinConfig) (wire.Identity, error) {
	token, err := wire.ParseToken(cfg.Token)
	if err != nil {
		return wire.Identity{}, err
	}
	host, err := hostOf(cfg.Site)
	if err != nil {
		return wire.Identity{}, fmt.Errorf("join: %w", err)
	}
	if err := makeDir(cfg.Dir); err != nil {
		return wire.Identity{}, err
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return wire.Identity{}, err
	}
	defer lock.Close()

	have, err := loadCredentials(cfg.Dir)
	switch {
	case err == nil && have.caHash() == token.CA:
		return have.Identity, nil
	case err == nil:
		return wire.Identity{}, fmt.Errorf("join: %w: %s, device %d", ErrOtherSite, have.Site, have.Device)
	case !errors.Is(err, ErrNotJoined):
		return wire.Identity{}, err
	}
	id, err := cfg.join(ctx, token, host)
	if err != nil {
		return wire.Identity{}, fmt.Errorf("join %s: %w", cfg.Site, err)
	}
	return id, nil
}

func (cfg *JoinConfig) join(ctx context.Context, token wire.Token, host string) (wire.Identity, error) {
	key, err := keyIn(cfg.Dir)
	if err != nil {
		return wire.Identity{}, err
	}
	request, err := cfg.request(token, key)
	if err != nil {
		return wire.Identity{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	reply, err := cfg.post(ctx, request, token.CA, host)
	if err != nil {
		return wire.Identity{}, err
	}
	c, err := newCredentials(reply, key)
	if err == nil && sha256.Sum256(c.ca.RawSubjectPublicKeyInfo) != token.CA {
		err = ErrPin
	}
	if err != nil {
		return wire.Identity{}, fmt.Errorf("check reply: %w", err)
	}
	return c.Identity, storeIdentity(cfg.Dir, reply)
}

// request returns the body: the token's id and secret, and a request for a
// certificate that shows that the key is here.
func (cfg *JoinConfig) request(token wire.Token, key *ecdsa.PrivateKey) ([]byte, error) {
	name := cfg.Name
	if name == "" {
		name, _ = os.Hostname()
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader,
		&x509.CertificateRequest{Subject: pkix.Name{CommonName: cut(name, 64)}}, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return json.Marshal(wire.JoinRequest{Token: token.String(), CSR: csr, Name: name,
		OS: runtime.GOOS, Arch: runtime.GOARCH, Agent: cfg.Version})
}

func (cfg *JoinConfig) post(ctx context.Context, body []byte, ca [32]byte, host string) (*wire.JoinReply, error) {
	proxy := cfg.Proxy
	if proxy == nil && cfg.Dial == nil {
		proxy = http.ProxyFromEnvironment
	}
	client := newHTTPS(pinned(ca, host), cfg.Dial, proxy, false)
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+cfg.Site+wire.JoinPath, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, ErrPin) || errors.Is(err, ErrServer):
		return nil, errors.Unwrap(err) // without the address, which the caller adds
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	return readJSON[wire.JoinReply](resp, wire.MaxJoin)
}
