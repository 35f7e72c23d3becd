package console

import (
	"bytes"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
)

// DefaultPolicy is the policy of a site that has never set one: agents are heard
// every 15 minutes and ask for policy every hour.
const DefaultPolicy = `{"version":1,"keepAliveSeconds":900,"policyPollSeconds":3600}`

// Everybody is whose policy counts for people who have none of their own.
const Everybody = "*"

// Bounds of what is known of policies.
const (
	// MaxPolicies is how many policies of machines are found again by the event that
	// set them, the newest.
	MaxPolicies = 100_000
	// MaxUserPolicies is how many people may have a policy of their own; those whose
	// policy was removed longest ago make room.
	MaxUserPolicies = 1000
	// MaxUserSettings is the longest policy of people in bytes.
	MaxUserSettings = 16 << 10

	maxUserEvents = 100 // that set the policy of one person and are found again
)

// A PolicySigner signs policy; the authority is one.
type PolicySigner interface {
	SignPolicy(body []byte) (etag string, signed []byte, err error)
}

// Policies is the fold of the journal that knows the site's policies: that of the
// machines, and those of people who are signed in there. It is safe for concurrent
// use; the zero value is not, call [NewPolicies].
type Policies struct {
	signer PolicySigner
	render renderer

	mu      sync.RWMutex
	machine policyLine
	parsed  PolicyBody // of machine
	users   map[string]*policyLine
}

// A policyLine is the policy of the machines or of a person, and its history.
type policyLine struct {
	body    []byte // a JSON object; nil if there is none
	event   uint64 // that set it, or removed it
	version uint64 // how many were set and removed, ever
	events  []uint64
}

// NewPolicies returns a fold with [DefaultPolicy], for the journal's options.
func NewPolicies(signer PolicySigner) *Policies {
	p := &Policies{signer: signer}
	p.forget()
	return p
}

// Wants implements [journal.SelectiveFold].
func (p *Policies) Wants(k event.Kind) bool {
	return k == event.KindPolicyChanged || k == event.KindKeysChanged
}

// Apply implements [journal.Fold].
func (p *Policies) Apply(e *event.Event) {
	switch c := e.Payload.(type) {
	case *event.KeysChanged:
		p.render.resign()
	case *event.PolicyChanged:
		if c.User == "" {
			p.set(c.Body, e.Number)
		} else {
			p.setUser(c.User, c.Body, e.Number)
		}
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
	p.parsed = parsed
	p.machine.take(body, number, MaxPolicies)
	return true
}

func (l *policyLine) take(body []byte, number uint64, most int) {
	l.body, l.event = body, number
	if number > 0 {
		l.version++
		l.events = append(l.events, number)
		l.events = l.events[max(0, len(l.events)-most):]
	}
}

// setUser takes the policy of a person, or removes it if body is empty.
func (p *Policies) setUser(user string, body []byte, number uint64) (taken bool) {
	if len(body) > MaxUserSettings || len(body) > 0 && !isObject(body) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.users[user]
	if l == nil {
		if len(body) == 0 || !p.room() {
			return false
		}
		l = &policyLine{}
		p.users[user] = l
	}
	if len(body) == 0 {
		body = nil
	}
	l.take(body, number, maxUserEvents)
	return true
}

// room makes room for one more person, if any policy was removed.
func (p *Policies) room() bool {
	if len(p.users) < MaxUserPolicies {
		return true
	}
	oldest := ""
	for name, l := range p.users {
		if l.body == nil && (oldest == "" || l.event < p.users[oldest].event) {
			oldest = name
		}
	}
	delete(p.users, oldest)
	return oldest != ""
}

// full tells whether the policy of a person would not be taken.
func (p *Policies) full(user string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.users[user] != nil || len(p.users) < MaxUserPolicies {
		return false
	}
	for _, l := range p.users {
		if l.body == nil {
			return false
		}
	}
	return true
}

func isObject(b []byte) bool { return json.Valid(b) && bytes.TrimLeft(b, " \t\r\n")[0] == '{' }

// line returns the policy of the machines or of a person; nobody changes what it
// holds.
func (p *Policies) line(user string) policyLine {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if user == "" {
		return p.machine
	}
	if l := p.users[user]; l != nil {
		return *l
	}
	return policyLine{}
}

// holds returns the settings that count for a person and whose they are: the
// person's own, [Everybody], or nobody's.
func (p *Policies) holds(user string) (l policyLine, of string) {
	if l = p.line(user); l.body != nil {
		return l, user
	}
	if l = p.line(Everybody); l.body != nil {
		return l, Everybody
	}
	return policyLine{body: []byte("{}")}, ""
}

// people returns who has a policy, in order.
func (p *Policies) people() (names []string) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for name, l := range p.users {
		if l.body != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// before returns the event that set the policy which held after event number, 0
// for the one before all; ok is false if that is not known any more.
func (l *policyLine) before(number uint64) (event uint64, ok bool) {
	i, found := slices.BinarySearch(l.events, number)
	switch {
	case found:
		return number, true
	case i > 0:
		return l.events[i-1], true
	}
	return 0, uint64(len(l.events)) == l.version
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
	return p.machine.body, p.parsed, p.machine.event
}
