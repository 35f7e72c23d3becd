package fleet

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/site"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const (
	joining     = 32  // under way at once
	joinTries   = 100 // of one agent that is told to come later
	joinAgain   = time.Second
	joinTimeout = time.Minute
	sayEvery    = 5 * time.Second
)

// join makes more devices of the site until there are as many as wanted, and stores
// those that it made also after an error. It returns how many are new.
func (ids *identities) join(ctx context.Context, at *site.Client, c *Config, name string) (joined int, err error) {
	have := len(ids.all)
	if have >= c.Agents {
		return 0, nil
	}
	token, err := at.CreateToken(ctx, c.Agents-have)
	if err != nil {
		return 0, err
	}
	defer func() {
		if joined < c.Agents-have {
			err = errors.Join(err, at.RevokeToken(context.WithoutCancel(ctx), token.ID))
		}
	}()
	fresh := make([]identity, c.Agents-have)
	replies := make([]*wire.JoinReply, len(fresh))
	var done atomic.Int64
	defer say(ctx, c.Log, func() string { return fmt.Sprintf("joined %d of %d agents", have+int(done.Load()), c.Agents) })()
	g, limited := errgroup.WithContext(ctx)
	g.SetLimit(joining)
	for i := range fresh {
		g.Go(func() (err error) {
			if limited.Err() != nil {
				return limited.Err()
			}
			if replies[i], err = fresh[i].join(limited, at, token.Token, have+i, c.Addresses); err != nil {
				return fmt.Errorf("join agent %d: %w", have+i, err)
			}
			done.Add(1)
			return nil
		})
	}
	err = g.Wait()
	for i, reply := range replies {
		if reply == nil {
			continue
		}
		if ids.Version == 0 {
			ids.header = header{fileVersion, reply.Site, reply.CA, reply.TaskKeys, reply.Listeners}
		}
		err = errors.Join(err, fresh[i].ready(ids.Site))
		ids.all = append(ids.all, fresh[i])
		joined++
	}
	if joined > 0 {
		err = errors.Join(err, ids.store(name))
	}
	return joined, err
}

// join makes one device, of which it fills in the identity.
func (i *identity) join(ctx context.Context, at *site.Client, token string, agent, addresses int) (*wire.JoinReply, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	if i.Key, err = key.Bytes(); err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	host := fmt.Sprintf("light-%06d", agent+1)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: host}}, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	body, err := json.Marshal(wire.JoinRequest{Token: token, CSR: csr, Name: host, OS: runtime.GOOS, Arch: runtime.GOARCH, Agent: version})
	if err != nil {
		return nil, err
	}
	reply, err := ask(ctx, at, body, source(agent, addresses))
	if err != nil {
		return nil, err
	}
	i.Device, i.Certificate = reply.Device, reply.Certificate
	i.ResultKey, err = resultKey(key, reply)
	return reply, err
}

// resultKey is what the device and the site know and no listener.
func resultKey(key *ecdsa.PrivateKey, reply *wire.JoinReply) ([]byte, error) {
	private, err := key.ECDH()
	if err != nil {
		return nil, fmt.Errorf("result key: %w", err)
	}
	public, err := ecdh.P256().NewPublicKey(reply.ResultKey)
	if err != nil {
		return nil, fmt.Errorf("result key: %w", err)
	}
	id, err := task.ParseID(reply.ID)
	if err != nil {
		return nil, fmt.Errorf("result key: %w", err)
	}
	return task.ResultKey(private, public, reply.Site, id)
}

// ask sends a join request, and again if the listener says to come later.
func ask(ctx context.Context, at *site.Client, body []byte, from net.Addr) (*wire.JoinReply, error) {
	client := &http.Client{Timeout: joinTimeout, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext:     (&net.Dialer{LocalAddr: from}).DialContext,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: at.Roots}}}
	var err error
	for range joinTries {
		var reply *wire.JoinReply
		if reply, err = post(ctx, client, "https://"+at.Join+wire.JoinPath, body); err == nil {
			return reply, nil
		}
		var no *wire.JoinError
		if !errors.As(err, &no) || no.Status != http.StatusTooManyRequests && no.Status != http.StatusServiceUnavailable {
			return nil, err
		}
		if serr := sleep(ctx, joinAgain); serr != nil {
			return nil, errors.Join(err, serr)
		}
	}
	return nil, err
}

func post(ctx context.Context, client *http.Client, url string, body []byte) (*wire.JoinReply, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(io.LimitReader(response.Body, wire.MaxJoin))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		no := &wire.JoinError{Status: response.StatusCode, Title: response.Status}
		_ = json.Unmarshal(b, no) // what is no problem is told by its status
		return nil, no
	}
	reply := new(wire.JoinReply)
	return reply, json.Unmarshal(b, reply)
}

// say writes what to the log from time to time, until the function that it returns
// is called.
func say(ctx context.Context, log io.Writer, what func() string) (enough func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sleep(ctx, sayEvery) == nil {
			fmt.Fprintln(log, "bugle-sim:", what())
		}
	}()
	return func() { cancel(); <-done }
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
