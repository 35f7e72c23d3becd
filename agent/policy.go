package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// settings are what a policy document says. Fields that this agent does not know
// are for later ones.
type settings struct {
	Version           int      `json:"version"`
	KeepAliveSeconds  int64    `json:"keepAliveSeconds"`
	PolicyPollSeconds int64    `json:"policyPollSeconds"`
	Indicators        []string `json:"indicators"`  // SHA-256 of files, in hexadecimal
	ScanFolders       []string `json:"scanFolders"` // full paths

	digests []action.Digest
}

// Bounds of a policy's settings.
const (
	minSeconds     = 1
	maxSeconds     = 7 * 24 * 3600
	maxScanFolders = 256
)

func (s *settings) keepAlive() time.Duration { return time.Duration(s.KeepAliveSeconds) * time.Second }

func (s *settings) poll() time.Duration {
	if s.PolicyPollSeconds == 0 {
		return defaultPolicyPoll
	}
	return time.Duration(s.PolicyPollSeconds) * time.Second
}

func parseSettings(body []byte) (*settings, error) {
	s := &settings{}
	if err := json.Unmarshal(body, s); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if s.Version != 1 {
		return nil, fmt.Errorf("policy: version %d, this agent reads version 1", s.Version)
	}
	for name, v := range map[string]int64{"keepAliveSeconds": s.KeepAliveSeconds, "policyPollSeconds": s.PolicyPollSeconds} {
		if v != 0 && (v < minSeconds || v > maxSeconds) {
			return nil, fmt.Errorf("policy: %s is %d, it must be from %d to %d", name, v, minSeconds, maxSeconds)
		}
	}
	if len(s.ScanFolders) > maxScanFolders {
		return nil, fmt.Errorf("policy: %d scan folders, at most %d are taken", len(s.ScanFolders), maxScanFolders)
	}
	for _, text := range s.Indicators {
		d, err := action.ParseDigest(text)
		if err != nil {
			return nil, fmt.Errorf("policy: indicators: %w", err)
		}
		s.digests = append(s.digests, d)
	}
	s.Indicators = nil
	return s, nil
}

// policyStore is the policy in force.
type policyStore struct {
	path string
	id   *credentials

	fetching chan struct{} // one token: one fetch at a time
	polling  sync.Mutex    // one poll waits at most

	mu   sync.Mutex
	tag  string
	what *settings
}

// load reads the stored policy. Without a usable one the defaults are in force.
func (p *policyStore) load(path string, id *credentials) error {
	p.path, p.id, p.what = path, id, &settings{}
	p.fetching = make(chan struct{}, 1)
	signed, err := readBounded(path, wire.MaxTransfer)
	if signed == nil || err != nil {
		return err
	}
	tag, s, err := p.check(signed)
	if err == nil {
		p.tag, p.what = tag, s
	}
	return err
}

func (p *policyStore) check(signed []byte) (string, *settings, error) {
	doc, err := task.VerifyPolicy(signed, p.id.Site, p.id.policyKeys...)
	if err != nil {
		return "", nil, err
	}
	s, err := parseSettings(doc.Body)
	return doc.ETag(), s, err
}

// put checks a signed policy, stores it, and puts it in force.
func (p *policyStore) put(signed []byte, tag string) error {
	real, s, err := p.check(signed)
	if err != nil {
		return err
	}
	if real != tag {
		return fmt.Errorf("policy: named %q, it is %q", tag, real)
	}
	if err := writeDurable(p.path, signed); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tag, p.what = real, s
	return nil
}

func (p *policyStore) etag() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tag
}

func (p *policyStore) settings() *settings {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.what
}

// transfer is a policy that comes in chunks.
type transfer struct {
	etag   string
	of     uint32
	next   uint32
	signed []byte
	done   chan struct{}
}

// policyPart takes one chunk. Chunks that nobody asked for are ignored.
func (s *session) policyPart(m *wire.Policy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.transfer
	if t == nil {
		return nil
	}
	if t.next == 1 {
		t.etag, t.of = m.ETag, m.Of
	}
	if m.Of > 0 {
		if m.Part != t.next || m.Of != t.of || m.ETag != t.etag {
			return fmt.Errorf("%w: policy part %d of %d where part %d of %d must be", wire.ErrFrame, m.Part, m.Of, t.next, t.of)
		}
		if len(t.signed)+len(m.Chunk) > wire.MaxTransfer {
			return fmt.Errorf("%w: policy of more than %d bytes", wire.ErrFrame, wire.MaxTransfer)
		}
		t.signed = append(t.signed, m.Chunk...)
		t.next++
	}
	if t.next > t.of {
		s.transfer = nil
		close(t.done)
	}
	return nil
}

// request asks for the policy and waits for all of it.
func (s *session) request(ctx context.Context, etag string) (*transfer, error) {
	t := &transfer{next: 1, done: make(chan struct{})}
	s.mu.Lock()
	s.transfer = t
	s.mu.Unlock()
	if err := s.send(&wire.PolicyRequest{ETag: etag}); err != nil {
		return nil, err
	}
	select {
	case <-t.done:
		return t, nil
	case <-s.done:
		return nil, errSessionEnded
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var errSessionEnded = errors.New("the connection ended")

// fetchPolicy fetches this device's policy and applies it. If the connection
// ends meanwhile it waits for the next one, as long as ctx allows. What it
// returns is for people.
func (a *Agent) fetchPolicy(ctx context.Context) (string, error) {
	select {
	case a.policy.fetching <- struct{}{}:
		defer func() { <-a.policy.fetching }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	for {
		s, err := a.session(ctx)
		if err != nil {
			return "", err
		}
		t, err := s.request(ctx, a.policy.etag())
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err != nil {
			<-s.done
			continue
		}
		return a.apply(s, t)
	}
}

// apply puts what came in force.
func (a *Agent) apply(s *session, t *transfer) (string, error) {
	tag := a.policy.etag()
	switch {
	case t.of == 0 && tag == "":
		return "the site has no policy for this device", nil
	case t.of == 0 || t.etag == tag:
		return "policy " + tag + " unchanged", nil
	}
	before := s.keepAlive()
	if err := a.policy.put(t.signed, t.etag); err != nil {
		a.cfg.Log.Error("policy is not applied", "err", err)
		a.status.update(func(st *Status) { st.LastError = err.Error() })
		return "", err
	}
	now := s.keepAlive()
	a.cfg.Log.Info("policy applied", "etag", t.etag, "keep-alive", now)
	a.status.update(func(st *Status) { st.Policy, st.KeepAliveSeconds = t.etag, now.Seconds() })
	select {
	case s.retime <- struct{}{}:
	default:
	}
	a.event(Event{What: PolicyApplied, Detail: t.etag})
	if now != before {
		return fmt.Sprintf("policy %s applied, keep-alive now every %s (was %s)", t.etag, now, before), nil
	}
	return fmt.Sprintf("policy %s applied", t.etag), nil
}

// pollPolicy fetches policy beside whatever runs.
func (a *Agent) pollPolicy() {
	if !a.policy.polling.TryLock() {
		return
	}
	a.working.Go(func() {
		defer a.policy.polling.Unlock()
		ctx, cancel := context.WithTimeout(a.work, 5*time.Minute)
		defer cancel()
		if _, err := a.fetchPolicy(ctx); err != nil && a.work.Err() == nil {
			a.cfg.Log.Warn("fetch policy", "err", err)
		}
	})
}

// session returns a session that has not ended, for which it waits.
func (a *Agent) session(ctx context.Context) (*session, error) {
	for {
		s, joined := a.online()
		if s != nil && !s.over() {
			return s, nil
		}
		select {
		case <-joined:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *session) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}
