package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/console"
)

// records are outside of the site and its disk: everything that anybody was told
// is done, under a name that is in the history once.
type records struct {
	mu    sync.Mutex
	acked map[string]bool
	calls int           // how many of them were calls of the API
	told  chan struct{} // closed and made anew at each record
}

func newRecords() *records { return &records{acked: map[string]bool{}, told: make(chan struct{})} }

func (r *records) add(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range names {
		r.acked[n] = true
		if !strings.HasPrefix(n, "fact ") {
			r.calls++
		}
	}
	close(r.told)
	r.told = make(chan struct{})
}

func (r *records) count() (n int, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.acked), r.told
}

// answered is how many calls were answered well.
func (r *records) answered() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

// A caller calls the API of a site.
type caller struct {
	url   string
	token string
	http  *http.Client
}

// learn reads how to call the site; its keys never change.
func (l *lab) learn() {
	l.t.Helper()
	c, err := newCaller(l.data(), "https://"+l.ip+":8443")
	if err != nil {
		l.t.Fatal(err)
	}
	l.api = c
}

// newCaller reads the keys with another program: the process that serves a disk
// must not wait for it.
func newCaller(data, url string) (*caller, error) {
	keys := filepath.Join(data, "keys")
	token, err := exec.Command("cat", filepath.Join(keys, "admin.token")).Output()
	if err != nil {
		return nil, fmt.Errorf("read the administrator's token: %w", err)
	}
	ca, err := exec.Command("cat", filepath.Join(keys, "ca.crt")).Output()
	if err != nil {
		return nil, fmt.Errorf("read the site's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &caller{url, strings.TrimSpace(string(token)), &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 8},
	}}, nil
}

// call makes one call. Whatever the answer is, only 2xx says that it is done.
func (c *caller) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Content-Type", "application/json")
	answer, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, b)
	}
	return json.Unmarshal(b, out)
}

// writers append to the site until they are stopped or it is gone.
type writers struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
	ended   chan struct{} // closed once nobody writes any more
	mu      sync.Mutex
	refused []error // why each of those who write no more has stopped
}

func (w *writers) refuse(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused = append(w.refused, err)
}

// refusals are why those who write no more have stopped.
func (w *writers) refusals() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refused
}

// write begins to write: tokens and pushes by the API, files into the box, and,
// if it is asked for, an operator's work over and over.
//
// They begin as fast as they can and slow down then, so that who waits for
// something rare does not get a history that takes long to read.
func (l *lab) write(epoch uint32, operator ...string) {
	ctx, cancel := context.WithCancel(l.t.Context())
	w := &writers{cancel: cancel, ended: make(chan struct{})}
	l.writers = w
	for _, step := range []func(context.Context) error{l.makeToken, l.makeToken, l.push} {
		w.running.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if n > burst {
					time.Sleep(25 * time.Millisecond)
				}
				if err := step(ctx); err != nil {
					w.refuse(err)
					return
				}
			}
		})
	}
	w.running.Go(func() {
		if err := l.drop(ctx, epoch); err != nil {
			w.refuse(err)
		}
	})
	w.running.Go(func() {
		for ctx.Err() == nil && len(operator) > 0 {
			if _, code, _ := l.try(operator...); code != 0 {
				return
			}
		}
	})
	go func() {
		w.running.Wait()
		close(w.ended)
	}()
}

// burst is how many steps a writer makes without a rest.
const burst = 25

func (l *lab) stopWriting() {
	if w := l.writers; w != nil {
		w.cancel()
		l.api.http.CloseIdleConnections()
		<-w.ended
		l.writers = nil
	}
}

func (l *lab) makeToken(ctx context.Context) error {
	var reply console.TokenReply
	if err := l.api.call(ctx, http.MethodPost, console.PathTokens, console.TokenRequest{Uses: 1}, &reply); err != nil {
		return err
	}
	l.records.add("token " + reply.ID)
	return nil
}

func (l *lab) push(ctx context.Context) error {
	var reply console.PushReply
	in := console.PushRequest{Kind: "policy.machine", All: true, Reason: "laboratory"}
	if err := l.api.call(ctx, http.MethodPost, console.PathOperations, in, &reply); err != nil {
		return err
	}
	l.records.add("operation " + reply.Operation)
	return nil
}
