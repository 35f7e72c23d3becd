package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func (f *fakeSite) joinHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+wire.JoinPath, func(w http.ResponseWriter, r *http.Request) {
		var q wire.JoinRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Token != f.token.String() {
			refuse(w, http.StatusForbidden, "Token is not valid")
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		switch {
		case f.silentJoin:
			refuse(w, http.StatusForbidden, "Token was revoked")
		case f.busyJoins > 0:
			f.busyJoins--
			refuse(w, http.StatusTooManyRequests, "Too many requests")
		default:
			answer(w, f.certifyDevice(&q))
		}
	})
	return mux
}

// certifyDevice makes a device; f.mu is held.
func (f *fakeSite) certifyDevice(q *wire.JoinRequest) *wire.JoinReply {
	csr, err := x509.ParseCertificateRequest(q.CSR)
	if err != nil {
		f.t.Error(err)
		return nil
	}
	f.devices++
	id := task.NewRandomID()
	c := f.certify(&x509.Certificate{URIs: identity(f.devices, id),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, csr.PublicKey.(*ecdsa.PublicKey))
	public := [][]byte{f.taskKey.Public().(ed25519.PublicKey)}
	return &wire.JoinReply{Site: "P01", Device: f.devices, ID: id.String(), Certificate: c.Raw, Expires: c.NotAfter, CA: f.ca.Raw,
		TaskKeys: public, PolicyKeys: public, ResultKey: f.resultKey.PublicKey().Bytes(), Listeners: []string{f.listener}}
}

func (f *fakeSite) apiHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+console.PathTokens, func(w http.ResponseWriter, r *http.Request) {
		answer(w, console.TokenReply{Token: f.token.String(), ID: f.token.ID})
	})
	mux.HandleFunc("DELETE "+console.PathToken, func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.revoked++
		answer(w, console.Written{})
	})
	mux.HandleFunc("POST "+console.PathOperations, f.push)
	mux.HandleFunc("GET "+console.PathOperation, f.show)
	mux.HandleFunc("GET "+console.PathOperationDevices, f.list)
	mux.HandleFunc("GET "+console.PathEvent, f.showEvent)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+adminToken {
			refuse(w, http.StatusUnauthorized, "Token is not valid")
			return
		}
		if r.Method != http.MethodGet && r.Header.Get(console.HeaderIdempotencyKey) == "" {
			f.t.Errorf("%s %s without an idempotency key", r.Method, r.URL)
		}
		mux.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, v any) { json.NewEncoder(w).Encode(v) }

func refuse(w http.ResponseWriter, status int, title string) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(wire.JoinError{Title: title, Status: status, Detail: "says the fake site"})
}

func (f *fakeSite) push(w http.ResponseWriter, r *http.Request) {
	var q console.PushRequest
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.All {
		refuse(w, http.StatusBadRequest, "Malformed")
		return
	}
	op := &fakeOperation{requested: time.Now(), states: map[uint32]task.State{}, events: map[uint32]uint64{}}
	for _, name := range q.Devices {
		n, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			f.t.Errorf("device %q: %v", name, err)
		}
		op.targets = append(op.targets, uint32(n))
		op.states[uint32(n)] = task.Waiting
	}
	targets, err := task.NewTargets(slices.Values(op.targets))
	if err != nil {
		f.t.Error(err)
		return
	}
	params, _ := json.Marshal(q.Params)
	if q.Params == nil {
		params = nil
	}
	t := task.Task{Site: "P01", Operation: task.NewID(op.requested), Kind: q.Kind, Params: params, Root: targets.Root(), Leaves: targets.Leaves(),
		NotBefore: op.requested, DeliverBy: op.requested.Add(time.Hour), Requested: op.requested}
	signed, err := t.Sign(f.taskKey)
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	f.mu.Lock()
	f.event++
	op.first = f.event
	f.operations[t.Operation.String()] = op
	f.mu.Unlock()
	f.deliver(op, targets, signed)
	answer(w, console.PushReply{Operation: t.Operation.String(), Targets: uint32(len(op.targets)), Online: uint32(len(op.targets)), Event: op.first})
}

func (f *fakeSite) deliver(op *fakeOperation, targets *task.Targets, signed task.Signed) {
	for _, device := range op.targets {
		f.mu.Lock()
		s := f.sessions[device]
		f.mu.Unlock()
		if proof, ok := targets.Prove(device); ok && s != nil && device != f.deaf {
			s.send(f.t, &wire.Task{Signed: signed, Proof: proof.Append(nil)})
		}
	}
}

func (f *fakeSite) show(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	op := f.operations[r.PathValue("id")]
	if op == nil || r.URL.Query().Get(console.QueryMinEvent) != fmt.Sprint(op.first) {
		refuse(w, http.StatusNotFound, "No such operation")
		return
	}
	reply := console.OperationReply{Operation: console.Operation{Event: f.event, Done: true, States: map[string]uint32{}}}
	for _, state := range op.states {
		reply.States[state.String()]++
		reply.Done = reply.Done && state.Final()
	}
	answer(w, reply)
}

// list answers with pages of two.
func (f *fakeSite) list(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	op := f.operations[r.PathValue("id")]
	after, err := strconv.ParseUint(r.URL.Query().Get("after"), 10, 32)
	if op == nil || err != nil {
		refuse(w, http.StatusNotFound, "No such operation")
		return
	}
	page := console.TargetPage{Event: f.event}
	for _, device := range slices.Sorted(slices.Values(op.targets)) {
		if device <= uint32(after) {
			continue
		}
		if len(page.Items) == 2 {
			page.Next = page.Items[1].Device
			break
		}
		page.Items = append(page.Items, console.Target{Device: device, State: op.states[device].String(), Event: op.events[device]})
	}
	answer(w, page)
}

func (f *fakeSite) showEvent(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, op := range f.operations {
		if r.PathValue("number") == fmt.Sprint(op.first) {
			answer(w, console.Event{Number: op.first, Accepted: op.requested})
			return
		}
	}
	refuse(w, http.StatusNotFound, "No such event")
}
