package console

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
)

// DefaultPolicy is the policy of a site that has never set one: agents are heard
// every 15 minutes and ask for policy every hour.
const DefaultPolicy = `{"version":1,"keepAliveSeconds":900,"policyPollSeconds":3600}`

// A PolicySigner signs policy; the authority is one.
type PolicySigner interface {
	SignPolicy(body []byte) (etag string, signed []byte, err error)
}

// Policies is the fold of the journal that knows the site's policy. It is safe
// for concurrent use; the zero value is not, call [NewPolicies].
type Policies struct {
	signer PolicySigner

	mu     sync.RWMutex
	body   []byte
	parsed PolicyBody
	event  uint64
	events []uint64 // that set a policy, the newest MaxPolicies in order
}

// MaxPolicies is how many policies are found again by the event that set them, the
// newest.
const MaxPolicies = 100_000

// NewPolicies returns a fold with [DefaultPolicy], for the journal's options.
func NewPolicies(signer PolicySigner) *Policies {
	p := &Policies{signer: signer}
	p.set([]byte(DefaultPolicy), 0)
	return p
}

// Wants implements [journal.SelectiveFold].
func (p *Policies) Wants(k event.Kind) bool { return k == event.KindPolicyChanged }

// Apply implements [journal.Fold].
func (p *Policies) Apply(e *event.Event) {
	if c, ok := e.Payload.(*event.PolicyChanged); ok {
		p.set(c.Body, e.Number)
	}
}

// set takes a policy unless it cannot be read: the console appends no such body,
// and agents keep what they have.
func (p *Policies) set(body []byte, number uint64) (taken bool) {
	var parsed PolicyBody
	if json.Unmarshal(body, &parsed) != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.body, p.parsed, p.event = body, parsed, number
	if number > 0 {
		p.events = append(p.events, number)
		p.events = p.events[max(0, len(p.events)-MaxPolicies):]
	}
	return true
}

// setBy returns the event that set the policy which held after event number, 0 for
// the built-in one; ok is false if that was more than [MaxPolicies] ago.
func (p *Policies) setBy(number uint64) (event uint64, ok bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	i, found := slices.BinarySearch(p.events, number)
	switch {
	case found:
		return number, true
	case i > 0:
		return p.events[i-1], true
	}
	return 0, len(p.events) < MaxPolicies
}

// For returns a device's policy, signed, with its ETag. All devices have the same
// one. Nobody changes the bytes.
func (p *Policies) For(uint32, string) (etag string, signed []byte, proofs [][]byte, err error) {
	body, _, _ := p.current()
	if etag, signed, err = p.signer.SignPolicy(body); err != nil {
		return "", nil, nil, fmt.Errorf("sign policy: %w", err)
	}
	return etag, signed, nil, nil
}

// KeepAlive returns how often a device must be heard, 0 if its policy does not
// say.
func (p *Policies) KeepAlive(uint32) time.Duration {
	_, parsed, _ := p.current()
	return time.Duration(parsed.KeepAliveSeconds) * time.Second
}

func (p *Policies) current() (body []byte, parsed PolicyBody, number uint64) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.body, p.parsed, p.event
}

// policyVersion is the version of the document that agents read.
const policyVersion = 1

// encodePolicy checks what the schema cannot and returns the body that is signed.
func encodePolicy(p PolicyBody) ([]byte, error) {
	const title = "The policy cannot be taken"
	for i, s := range p.Indicators {
		if b, err := hex.DecodeString(s); err != nil || len(b) != 32 {
			return nil, badRequest(title, "policy.indicators[%d]: %q is not a SHA-256 of 64 hexadecimal digits.", i, clip(s))
		}
	}
	for i, s := range p.ScanFolders {
		if s == "" || len(s) > event.MaxName || strings.ContainsRune(s, 0) {
			return nil, badRequest(title, "policy.scanFolders[%d]: a folder has 1 to %d bytes.", i, event.MaxName)
		}
	}
	p.Indicators = slices.Compact(slices.Sorted(slices.Values(lower(p.Indicators))))
	body, err := json.Marshal(struct {
		Version int `json:"version"` // of the document, which an agent checks
		PolicyBody
	}{policyVersion, p})
	if err != nil {
		return nil, fmt.Errorf("encode policy: %w", err)
	}
	if len(body) > event.MaxPolicyBody {
		return nil, badRequest(title, "The policy has %d bytes, at most %d are taken; name fewer indicators or folders.", len(body), event.MaxPolicyBody)
	}
	return body, nil
}

func lower(all []string) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = strings.ToLower(s)
	}
	return out
}

// clip shortens what a caller sent for an answer.
func clip(s string) string {
	const max = 80
	if len(s) <= max {
		return s
	}
	return strings.ToValidUTF8(s[:max], "") + "…"
}
