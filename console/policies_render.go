package console

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

// PolicyParts is what the policy of machines holds besides the settings. What is
// nil is left out.
type PolicyParts struct {
	// Operations says which operations are open; those that are durable stand in the
	// policy of their targets.
	Operations interface {
		Open() (open []operation.Open, position uint64, err error)
	}
	// Listeners returns the listeners that devices may use, best first, in a slice of
	// the caller's; a device is told of at most [MaxPolicyListeners].
	Listeners func() []PolicyListener
	// Windows returns the maintenance windows that a device has of its collections,
	// beside those in the settings; nil means none. See [WindowsOf].
	Windows func(device uint32) (*PolicyWindows, error)
	Now     func() time.Time // default time.Now
}

// A PolicyListener is a listener as agents learn of it.
type PolicyListener struct {
	Name  string   `json:"name"`
	TCP   []string `json:"tcp,omitempty"`   // host:port
	HTTPS []string `json:"https,omitempty"` // host:port
	// Scope is the devices that may use it; nil means all. Nobody changes it.
	Scope *roaring.Bitmap `json:"-"`
	Apart bool            `json:"-"` // it runs apart: devices take turns in who is told of which such listener first
}

// ListenersOf returns the listeners that an authority has granted and not revoked,
// the site's own last, for [PolicyParts].
func ListenersOf(a interface {
	Listeners() []authority.ListenerState
}) func() []PolicyListener {
	return func() (all []PolicyListener) {
		for _, l := range a.Listeners() {
			if l.Revoked || len(l.TCP)+len(l.HTTPS) == 0 {
				continue
			}
			told := PolicyListener{l.Name, l.TCP, l.HTTPS, l.Scope, !l.Own}
			if l.Own {
				all = append(all, told)
			} else {
				all = slices.Insert(all, 0, told)
			}
		}
		return all
	}
}

// Bounds of a machine's policy and of what is kept to save work.
const (
	// MaxPolicyTasks is how many tasks one policy holds, the oldest ones; the others
	// follow when those are answered.
	MaxPolicyTasks = 64
	// MaxPolicyListeners is how many listeners one policy names.
	MaxPolicyListeners = 32

	keptPolicies = 64 << 20 // bytes of signed policies
	keptProofs   = 32 << 20 // bytes of proofs
)

// Attach gives the policies what they are made of besides settings. It is called
// once, before agents are served.
func (p *Policies) Attach(parts PolicyParts) {
	r := &p.render
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parts = parts
	if r.parts.Now == nil {
		r.parts.Now = time.Now
	}
}

// PolicyStats counts what policies cost.
type PolicyStats struct {
	Asked    uint64 // policies that were asked for
	Rendered uint64 // bodies that were made, and signed: one per distinct content
	Proofs   uint64 // proofs that were made: one per task and 256 devices
}

// Stats returns what was counted since the start.
func (p *Policies) Stats() PolicyStats {
	p.render.mu.Lock()
	defer p.render.mu.Unlock()
	return p.render.stats
}

// For returns the policy of a device, or that of a person who is signed in there if
// user is not empty: its ETag, the signed document, and for each of its tasks, in
// order, the proof that the device is a target. Devices whose policies hold the
// same share one document. Nobody changes the bytes.
func (p *Policies) For(device uint32, user string) (etag string, signed []byte, proofs [][]byte, err error) {
	r := &p.render
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Asked++
	if user != "" {
		l, _ := p.holds(user)
		s, err := r.user(p.signer, user, &l)
		return s.etag, s.signed, nil, err
	}
	if err := r.refresh(); err != nil {
		return "", nil, nil, fmt.Errorf("read open operations for policy: %w", err)
	}
	l := p.line("")
	windows, err := r.windowsOf(device)
	if err != nil {
		return "", nil, nil, fmt.Errorf("read maintenance windows for policy: %w", err)
	}
	tasks := r.tasksOf(device, len(l.body)+windows.Size)
	listeners, err := r.listenersOf(device)
	if err != nil {
		return "", nil, nil, err
	}
	s, err := r.machine(p.signer, &l, windows, listeners, tasks)
	if err != nil {
		return "", nil, nil, err
	}
	for _, t := range tasks {
		proof, err := r.proof(t, device)
		if err != nil {
			return "", nil, nil, err
		}
		proofs = append(proofs, proof)
	}
	return s.etag, s.signed, proofs, nil
}

// A renderer makes the documents that agents get, each distinct one once.
type renderer struct {
	mu    sync.Mutex
	parts PolicyParts
	stats PolicyStats

	open  []operation.Open // that durable was made of
	tasks []*policyTask    // the durable ones, in the order of their requests
	known map[task.ID]*policyTask

	told     []PolicyListener // that toldJSON was made of
	toldJSON json.RawMessage

	bodies     kept[[sha256.Size]byte, signedPolicy]
	proofBytes int
}

type signedPolicy struct {
	etag   string
	signed []byte
}

// A policyTask is an open operation whose task stands in policies.
type policyTask struct {
	operation.Open
	size    int // in a document
	targets *task.Targets
	proofs  map[uint32][]byte // by leaf: the devices of one leaf share them
}

// refresh takes over what is open. A task that is known keeps its proofs.
func (r *renderer) refresh() error {
	if r.parts.Operations == nil {
		return nil
	}
	open, _, err := r.parts.Operations.Open()
	if err != nil || len(open) == len(r.open) && (len(open) == 0 || &open[0] == &r.open[0]) {
		return err
	}
	known := make(map[task.ID]*policyTask)
	r.tasks = r.tasks[:0:0]
	for i := range open {
		if !open[i].Durable {
			continue
		}
		t := r.known[open[i].ID]
		if t == nil {
			t = &policyTask{size: base64.StdEncoding.EncodedLen(len(open[i].Signed)) + len(`"",`), proofs: map[uint32][]byte{}}
		}
		t.Open = open[i]
		known[t.ID] = t
		r.tasks = append(r.tasks, t)
	}
	for id, t := range r.known {
		if known[id] == nil {
			r.proofBytes -= t.proofSize()
		}
	}
	r.open, r.known = open, known
	return nil
}

// tasksOf returns the tasks that stand in the policy of a device now: the oldest
// ones, as many as fit beside so many bytes of settings.
func (r *renderer) tasksOf(device uint32, settings int) (tasks []*policyTask) {
	if len(r.tasks) == 0 {
		return nil
	}
	now := r.parts.Now()
	left := task.MaxPolicy - settings - MaxPolicyListeners<<10
	for _, t := range r.tasks {
		if !t.Targets.Contains(device) || t.Final.Contains(device) || !now.Before(t.DeliverBy) || !t.released(device, now) {
			continue
		}
		if left -= t.size; left < 0 || len(tasks) == MaxPolicyTasks {
			break
		}
		tasks = append(tasks, t)
	}
	return tasks
}

// released tells whether the task may go to a device by now.
func (t *policyTask) released(device uint32, now time.Time) bool {
	if !t.Held {
		return true
	}
	for i := range t.Waves {
		if w := &t.Waves[i]; w.Devices.Contains(device) {
			return !now.Before(w.At.Add(share(w.Spread, t.ID, device)))
		}
	}
	return false
}

// noWindows are those of a device whose collections have none.
var noWindows PolicyWindows

func (r *renderer) windowsOf(device uint32) (*PolicyWindows, error) {
	if r.parts.Windows == nil {
		return &noWindows, nil
	}
	w, err := r.parts.Windows(device)
	if w == nil {
		w = &noWindows
	}
	return w, err
}

// machine returns the document of the machines that have these windows and tasks.
func (r *renderer) machine(signer PolicySigner, l *policyLine, windows *PolicyWindows, listeners json.RawMessage, tasks []*policyTask) (signedPolicy, error) {
	h := sha256.New()
	binary.Write(h, binary.BigEndian, []uint64{0, l.event, uint64(len(listeners))})
	h.Write(windows.Key[:])
	h.Write(listeners)
	for _, t := range tasks {
		h.Write(t.ID[:])
	}
	return r.document(signer, h.Sum(nil), func() ([]byte, error) {
		if len(tasks) == 0 && listeners == nil && len(windows.Items) == 0 {
			return l.body, nil
		}
		fields := map[string]any{}
		var settings map[string]json.RawMessage
		if err := json.Unmarshal(l.body, &settings); err != nil {
			return nil, err
		}
		for name, value := range settings {
			fields[name] = value
		}
		if len(windows.Items) > 0 {
			all, err := addWindows(settings["windows"], windows.Items)
			if err != nil {
				return nil, err
			}
			fields["windows"] = all
		}
		if listeners != nil {
			fields["listeners"] = listeners
		}
		if len(tasks) > 0 {
			all := make([]task.Signed, len(tasks)) // base64 each
			for i, t := range tasks {
				all[i] = t.Signed
			}
			fields["tasks"] = all
		}
		return json.Marshal(fields)
	})
}

// user returns the document of a person.
func (r *renderer) user(signer PolicySigner, user string, l *policyLine) (signedPolicy, error) {
	h := sha256.New()
	binary.Write(h, binary.BigEndian, []uint64{1, l.event, uint64(len(user))})
	h.Write([]byte(user))
	return r.document(signer, h.Sum(nil), func() ([]byte, error) {
		return json.Marshal(struct {
			Version  int             `json:"version"`
			User     string          `json:"user"`
			Settings json.RawMessage `json:"settings"`
		}{policyVersion, user, l.body})
	})
}

// document returns what is kept under a key, or makes and signs it.
func (r *renderer) document(signer PolicySigner, key []byte, body func() ([]byte, error)) (signedPolicy, error) {
	k := [sha256.Size]byte(key)
	if s, ok := r.bodies.get(k); ok {
		return s, nil
	}
	b, err := body()
	if err != nil {
		return signedPolicy{}, fmt.Errorf("render policy: %w", err)
	}
	var s signedPolicy
	if s.etag, s.signed, err = signer.SignPolicy(b); err != nil {
		return signedPolicy{}, fmt.Errorf("sign policy: %w", err)
	}
	r.stats.Rendered++
	r.bodies.put(k, s, len(s.signed)+len(s.etag)+len(k), keptPolicies)
	return s, nil
}

// resign forgets what was signed: the key may be another one.
func (r *renderer) resign() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies = kept[[sha256.Size]byte, signedPolicy]{}
}

// listenersOf returns the list of the listeners of a device as JSON, nil if there
// is none.
func (r *renderer) listenersOf(device uint32) (json.RawMessage, error) {
	if r.parts.Listeners == nil {
		return nil, nil
	}
	told := r.parts.Listeners()
	told = slices.DeleteFunc(told, func(l PolicyListener) bool { return l.Scope != nil && !l.Scope.Contains(device) })
	takeTurns(told, device)
	if told = told[:min(len(told), MaxPolicyListeners)]; len(told) == 0 {
		return nil, nil
	}
	if slices.EqualFunc(told, r.told, sameListener) {
		return r.toldJSON, nil
	}
	b, err := json.Marshal(told)
	if err != nil {
		return nil, fmt.Errorf("render listeners: %w", err)
	}
	r.told, r.toldJSON = told, b
	return b, nil
}

// takeTurns makes the device's own one of the listeners that run apart, which stand
// in front, the first, so that they share the fleet.
func takeTurns(told []PolicyListener, device uint32) {
	n := 0
	for n < len(told) && told[n].Apart {
		n++
	}
	if n > 1 {
		first := int(device % uint32(n))
		copy(told, slices.Concat(told[first:n], told[:first]))
	}
}

func sameListener(a, b PolicyListener) bool {
	return a.Name == b.Name && slices.Equal(a.TCP, b.TCP) && slices.Equal(a.HTTPS, b.HTTPS)
}
