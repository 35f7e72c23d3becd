package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// settings are what a policy document says. Fields that this agent does not know
// are for later ones.
type settings struct {
	Version           int      `json:"version"`
	User              string   `json:"user"` // of a policy for a person, which is never the machine's
	KeepAliveSeconds  int64    `json:"keepAliveSeconds"`
	PolicyPollSeconds int64    `json:"policyPollSeconds"`
	Indicators        []string `json:"indicators"`  // SHA-256 of files, in hexadecimal
	ScanFolders       []string `json:"scanFolders"` // full paths
	LogFiles          []string `json:"logFiles"`    // see [action.Host]

	Tasks     [][]byte    `json:"tasks"` // signed tasks that are open for this device, oldest first
	Windows   window.List `json:"windows"`
	Listeners []listener  `json:"listeners"` // best first

	digests []action.Digest
}

// Bounds of a policy's settings.
const (
	minSeconds     = 1
	maxSeconds     = 7 * 24 * 3600
	maxScanFolders = 256
	maxLogFiles    = 256
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
	if s.User != "" {
		return nil, fmt.Errorf("policy: of %q, where that of the machine must be", cut(s.User, 80))
	}
	for name, v := range map[string]int64{"keepAliveSeconds": s.KeepAliveSeconds, "policyPollSeconds": s.PolicyPollSeconds} {
		if v != 0 && (v < minSeconds || v > maxSeconds) {
			return nil, fmt.Errorf("policy: %s is %d, it must be from %d to %d", name, v, minSeconds, maxSeconds)
		}
	}
	if len(s.ScanFolders) > maxScanFolders {
		return nil, fmt.Errorf("policy: %d scan folders, at most %d are taken", len(s.ScanFolders), maxScanFolders)
	}
	if err := s.checkLists(); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
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

func (s *settings) checkLists() error {
	switch {
	case len(s.LogFiles) > maxLogFiles:
		return fmt.Errorf("%d log files, at most %d are taken", len(s.LogFiles), maxLogFiles)
	case len(s.Tasks) > wire.MaxProofs:
		return fmt.Errorf("%d tasks, at most %d are taken", len(s.Tasks), wire.MaxProofs)
	case len(s.Windows) > window.MaxWindows:
		return fmt.Errorf("%d windows, at most %d are taken", len(s.Windows), window.MaxWindows)
	case len(s.Listeners) > maxListeners:
		return fmt.Errorf("%d listeners, at most %d are taken", len(s.Listeners), maxListeners)
	}
	for i := range s.Listeners {
		if err := s.Listeners[i].check(); err != nil {
			return err
		}
	}
	return nil
}

// policyStore is the policy in force.
type policyStore struct {
	path string
	id   *credentials

	fetching chan struct{} // one token: one fetch at a time
	polling  sync.Mutex    // one poll waits at most

	mu      sync.Mutex
	tag     string
	what    *settings
	sure    bool          // what is what the site said last, if only that there is none
	proofs  [][]byte      // of the tasks, nil without them
	changed chan struct{} // closed when another policy is in force
}

// load reads the stored policy. Without a usable one the defaults are in force.
func (p *policyStore) load(path string, id *credentials) error {
	p.path, p.id, p.what = path, id, &settings{}
	p.fetching = make(chan struct{}, 1)
	p.changed = make(chan struct{})
	signed, err := readBounded(path, wire.MaxTransfer)
	if signed == nil || err != nil {
		return err
	}
	tag, s, err := p.check(signed)
	if err == nil {
		p.tag, p.what, p.sure = tag, s, true
		p.proofs = p.loadProofs(tag)
	}
	return err
}

func (p *policyStore) check(signed []byte) (string, *settings, error) {
	doc, err := task.VerifyPolicy(signed, p.id.Site, p.id.policyKeys()...)
	if err != nil {
		return "", nil, err
	}
	s, err := parseSettings(doc.Body)
	return doc.ETag(), s, err
}

// put checks a signed policy, stores it with the proofs that came with it, and
// puts it in force.
func (p *policyStore) put(signed []byte, tag string, proofs *wire.PolicyProofs) error {
	real, s, err := p.check(signed)
	if err != nil {
		return err
	}
	if real != tag {
		return fmt.Errorf("policy: named %q, it is %q", tag, real)
	}
	if proofs == nil || proofs.ETag != real || len(proofs.Proofs) != len(s.Tasks) {
		proofs = &wire.PolicyProofs{ETag: real}
	}
	// First the proofs: those of a policy that is not there are of no use, and do
	// no harm.
	if err := p.storeProofs(proofs); err != nil {
		return err
	}
	if err := writeDurable(p.path, signed); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tag, p.what, p.proofs, p.sure = real, s, proofs.Proofs, true
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

// none takes in that the site has no policy for this device.
func (p *policyStore) none() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.sure {
		p.sure = true
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

// isSure tells whether it is known what the policy says: not on a machine that is
// new, or whose stored policy cannot be read, until the site has answered.
func (p *policyStore) isSure() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sure
}

// next returns a channel that is closed when another policy is in force.
func (p *policyStore) next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// known names the policy for a request: nothing if its tasks cannot be proven to
// be for this device, so that all of it comes again.
func (p *policyStore) known() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.proofs) != len(p.what.Tasks) {
		return ""
	}
	return p.tag
}

// distrusted tells whether the stored policy could not be read again, for its
// key is not trusted any more. It stays in force and is fetched anew.
func (p *policyStore) distrusted() bool {
	signed, err := readBounded(p.path, wire.MaxTransfer)
	if signed == nil || err != nil {
		return false
	}
	if _, _, err = p.check(signed); !errors.Is(err, task.ErrRefused) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tag = ""
	return true
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
	proofs *wire.PolicyProofs // that came before, or nil
	done   chan struct{}
	fence  uint64 // nobody waits any more: no answer comes behind that of this keep-alive; 0: somebody does
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
		s.endTransfer()
	}
	return nil
}

// endTransfer makes room for the next one; the caller holds mu.
func (s *session) endTransfer() {
	close(s.transfer.done)
	s.transfer = nil
}

// policyProofs takes what comes before a policy that lists tasks.
func (s *session) policyProofs(m *wire.PolicyProofs) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.transfer != nil && s.transfer.next == 1 {
		s.transfer.proofs = m
	}
}

// request asks for the policy of the device, or of a person, and waits for all of
// it.
func (s *session) request(ctx context.Context, etag, user string) (*transfer, error) {
	t := &transfer{next: 1, done: make(chan struct{})}
	for before := s.begin(t); before != nil; before = s.begin(t) {
		if err := s.await(ctx, before); err != nil {
			return nil, err
		}
	}
	if err := s.send(&wire.PolicyRequest{ETag: etag, User: user}); err != nil {
		return nil, err
	}
	err := s.await(ctx, t)
	if err != nil {
		s.leave(t)
		return nil, err
	}
	return t, nil
}

// begin makes t the transfer under way, or returns the one that is: its answer may
// come yet, and must not be taken for that of another request.
func (s *session) begin(t *transfer) (before *transfer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.transfer == nil {
		s.transfer = t
		return nil
	}
	return s.transfer
}

func (s *session) await(ctx context.Context, t *transfer) error {
	select {
	case <-t.done:
		return nil
	case <-s.done:
		return errSessionEnded
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave gives up waiting for a transfer. It ends with its answer, or, for there may
// be none, with that to a keep-alive: a listener answers in order.
func (s *session) leave(t *transfer) {
	s.mu.Lock()
	left := s.transfer == t
	if left {
		t.fence = s.asks + 1
	}
	s.mu.Unlock()
	if left {
		s.ask(&wire.KeepAlive{}) // fails only if the session has ended
	}
}

// ask sends a keep-alive.
func (s *session) ask(m *wire.KeepAlive) error {
	s.mu.Lock()
	s.asks++
	s.mu.Unlock()
	return s.send(m)
}

// answered counts the answers to keep-alives.
func (s *session) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers++
	if t := s.transfer; t != nil && t.fence > 0 && s.answers >= t.fence {
		s.endTransfer()
	}
}

var errSessionEnded = errors.New("the connection ended")

// fetchPolicy fetches this device's policy and applies it. What it returns is for
// people.
func (a *Agent) fetchPolicy(ctx context.Context) (detail string, err error) {
	err = a.transfer(ctx, a.policy.known, "", func(s *session, t *transfer) error {
		detail, err = a.apply(s, t)
		return err
	})
	return detail, err
}

// transfer fetches the policy of the device, or of a person, and hands it to use;
// one at a time. If the connection ends meanwhile it waits for the next one, as
// long as ctx allows.
func (a *Agent) transfer(ctx context.Context, known func() string, user string, use func(*session, *transfer) error) error {
	select {
	case a.policy.fetching <- struct{}{}:
		defer func() { <-a.policy.fetching }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		s, err := a.session(ctx)
		if err != nil {
			return err
		}
		t, err := s.request(ctx, known(), user)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			<-s.done
			continue
		}
		return use(s, t)
	}
}

// apply puts what came in force.
func (a *Agent) apply(s *session, t *transfer) (string, error) {
	tag := a.policy.known()
	switch {
	case t.of == 0 && tag == "":
		a.policy.none()
		return "the site has no policy for this device", nil
	case t.of == 0 || t.etag == tag:
		a.takeFromPolicy(false)
		return "policy " + tag + " unchanged", nil
	}
	before := s.keepAlive()
	if err := a.policy.put(t.signed, t.etag, t.proofs); err != nil {
		a.cfg.Log.Error("policy is not applied", "err", err)
		a.status.update(func(st *Status) { st.LastError = err.Error() })
		return "", err
	}
	now := s.keepAlive()
	a.cfg.Log.Info("policy applied", "etag", t.etag, "keep-alive", now)
	a.status.update(func(st *Status) {
		st.Policy, st.KeepAliveSeconds = t.etag, now.Seconds()
		st.Schedule = a.policy.settings().Windows
		st.Windows = windowNames(st.Schedule)
	})
	select {
	case s.retime <- struct{}{}:
	default:
	}
	a.event(Event{What: PolicyApplied, Detail: t.etag})
	a.takeFromPolicy(true)
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
	begun := a.beside(func() {
		defer a.policy.polling.Unlock()
		ctx, cancel := context.WithTimeout(a.work, 5*time.Minute)
		defer cancel()
		_, err := a.fetchPolicy(ctx)
		if err == nil {
			_, err = a.fetchUserPolicies(ctx, "")
		}
		if err != nil && a.work.Err() == nil && !errors.Is(err, errNoSessions) {
			a.cfg.Log.Warn("fetch policy", "err", err)
		}
	})
	if !begun {
		a.policy.polling.Unlock()
	}
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
