package simulator

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// An admin makes calls to the console of the site, and makes each again, with the
// same idempotency key, until it gets an answer.
type admin struct {
	w *world

	mu      sync.Mutex
	calls   int
	open    int
	answers []answer
}

// An answer is a call that was acknowledged: what it says must be in the history
// for ever.
type answer struct {
	call  string
	event uint64
	kind  event.Kind
	op    task.ID
}

func newAdmin(w *world) *admin { return &admin{w: w} }

// A request is a call that is made until it is answered.
type request struct {
	method, path string
	key          string
	body         any
	kind         event.Kind
	op           task.ID // that it is about, or zero
	then         func()  // is called once it is answered, or nil
}

// patience is how long an administrator waits before a call is made again.
const patience = 5 * time.Second

// do makes a call, without waiting for its answer.
func (a *admin) do(q request) {
	a.mu.Lock()
	a.calls++
	a.open++
	q.key = fmt.Sprintf("call-%d", a.calls)
	a.mu.Unlock()
	go a.try(q)
}

func (a *admin) try(q request) {
	status, body := a.call(q)
	switch {
	case status == http.StatusOK:
		a.took(q, body)
	case status == 0, status >= 500, status == http.StatusTooManyRequests:
		a.w.hit("admin's call made again")
		a.w.later(patience, func() { go a.try(q) })
		return
	default:
		a.w.hit(fmt.Sprintf("admin's call refused: %d", status))
	}
	a.mu.Lock()
	a.open--
	a.mu.Unlock()
	if q.then != nil {
		q.then()
	}
}

func (a *admin) took(q request, body []byte) {
	var reply struct {
		Operation string `json:"operation"`
		Event     uint64 `json:"event"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		a.w.violated(0, "answer to %s: %v in %s", q.path, err, body)
		return
	}
	done := answer{call: q.method + " " + q.path, event: reply.Event, kind: q.kind, op: q.op}
	if reply.Operation != "" {
		id, err := task.ParseID(reply.Operation)
		if err != nil {
			a.w.violated(0, "answer to %s: %v", q.path, err)
			return
		}
		done.op = id
	}
	a.w.hit("admin's calls acknowledged")
	a.mu.Lock()
	a.answers = append(a.answers, done)
	a.mu.Unlock()
}

// call makes one call. Status 0 means that no answer came.
func (a *admin) call(q request) (status int, body []byte) {
	r := a.w.site.enter()
	if r == nil {
		return 0, nil
	}
	defer r.calls.Done()
	raw, err := json.Marshal(q.body)
	if err != nil {
		a.w.violated(0, "encode call: %v", err)
		return 0, nil
	}
	req := httptest.NewRequestWithContext(r.parts.ctx, q.method, q.path, bytes.NewReader(raw))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(console.HeaderIdempotencyKey, q.key)
	answer := httptest.NewRecorder()
	r.handle(req, answer)
	if a.w.site.now() != r {
		return 0, nil // whatever it was, it did not reach the administrator
	}
	return answer.Code, answer.Body.Bytes()
}

// acknowledged is what was answered so far, and how many calls were not.
func (a *admin) acknowledged() (answers []answer, open int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.answers[:len(a.answers):len(a.answers)], a.open
}

// push asks for an operation on devices, or on all if there are none.
func (a *admin) push(kind string, devices []uint32, valid, after time.Duration) {
	body := console.PushRequest{Kind: kind, All: len(devices) == 0, DeliverBySeconds: int64(valid / time.Second), RunTimeoutSeconds: 60}
	for _, d := range devices {
		body.Devices = append(body.Devices, fmt.Sprint(d))
	}
	now := time.Now()
	if after > 0 {
		from, until := now.Add(after).UTC(), now.Add(after+valid).UTC()
		body.NotBefore, body.DeliverBy, body.DeliverBySeconds = &from, &until, 0
	}
	if kind == "scan.quick" || kind == "scan.full" {
		body.Params = map[string]any{"sha256": []string{marker(a.w)}}
	}
	a.do(request{method: http.MethodPost, path: console.PathOperations, body: body, kind: event.KindOperationRequest})
}

// marker is what nobody but the targets of one operation may ever see.
func marker(w *world) string {
	var b [32]byte
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range b {
		b[i] = byte(w.rng.IntN(256))
	}
	return hex.EncodeToString(b[:])
}

func (a *admin) cancel(op task.ID) {
	a.do(request{method: http.MethodPost, path: console.Path(console.PathOperationCancel, op.String()),
		body: console.ReasonRequest{Reason: "simulated"}, kind: event.KindOperationCancel, op: op})
}

func (a *admin) block(device uint32, blocked bool, then func()) {
	path, kind := console.PathDeviceUnblock, event.KindDeviceUnblocked
	if blocked {
		path, kind = console.PathDeviceBlock, event.KindDeviceBlocked
	}
	a.do(request{method: http.MethodPost, path: console.Path(path, fmt.Sprint(device)), body: console.ReasonRequest{Reason: "simulated"}, kind: kind, then: then})
}

// policy sets how often agents are heard.
func (a *admin) policy(keepAlive time.Duration) {
	a.do(request{method: http.MethodPut, path: console.PathPolicy, kind: event.KindPolicyChanged,
		body: console.PolicyRequest{Policy: console.PolicyBody{KeepAliveSeconds: int64(keepAlive / time.Second), PolicyPollSeconds: 300}}})
}
