package console_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

// call makes a call that must end with a status, and reads what it answers.
func call[T any](r *rig, status int, method, path string, body any) (v T) {
	r.t.Helper()
	a := r.do(method, path, body)
	if a.status != status {
		r.t.Fatalf("%s %s: status %d %s, want %d", method, path, a.status, a.body, status)
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		r.t.Fatalf("%s %s: %s: %v", method, path, a.body, err)
	}
	return v
}

func TestKeysAreRotatedAndRetired(t *testing.T) {
	r := newRig(t)
	r.join("pc-1", "pc-2")
	keys := call[console.KeyList](r, 200, "GET", console.PathKeys, nil)
	if keys.Ring != 1 || len(keys.Keys) != 3 || len(keys.Devices) != 1 || keys.Devices[0] != (console.RingCount{Ring: 1, Devices: 2}) {
		t.Errorf("keys %+v", keys)
	}
	targets, err := task.NewTargets(slices.Values([]uint32{1}))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := r.authority.SignTask(&task.Task{Operation: task.NewID(start), Kind: "policy.machine", Root: targets.Root(), Leaves: targets.Leaves(),
		NotBefore: start, DeliverBy: start.Add(time.Hour), RunTimeout: time.Minute, Requested: start})
	if err != nil {
		t.Fatal(err)
	}
	cancel, err := r.authority.SignCancel(&task.Cancel{Operation: task.NewID(start), At: start})
	if err != nil {
		t.Fatal(err)
	}
	rotate, retire := console.Path(console.PathKeyRotate, "task"), console.Path(console.PathKeyRetire, "task")
	call[console.Problem](r, 409, "POST", retire, console.RetireRequest{})
	call[console.Written](r, 200, "POST", rotate, console.ReasonRequest{Reason: "yearly"})
	r.mu.Lock()
	d := r.devices[2]
	d.Facts = []event.Fact{{Name: console.FactKeyring, Value: "2"}}
	r.devices[2] = d
	r.open = []operation.Open{{Signed: signed}}
	r.mu.Unlock()
	keys = call[console.KeyList](r, 200, "GET", console.PathKeys, nil)
	if keys.Ring != 2 || len(keys.Keys) != 4 || len(keys.Devices) != 2 || keys.Devices[1] != (console.RingCount{Ring: 2, Devices: 1}) {
		t.Errorf("keys %+v", keys)
	}
	call[console.Problem](r, 409, "POST", retire, console.RetireRequest{})
	r.mu.Lock()
	r.open, r.cancels = nil, []operation.Cancel{{Signed: cancel}}
	r.mu.Unlock()
	call[console.Problem](r, 409, "POST", retire, console.RetireRequest{})
	r.mu.Lock()
	r.open = []operation.Open{{Signed: signed}}
	r.mu.Unlock()
	call[console.Written](r, 200, "POST", retire, console.RetireRequest{Reason: "stolen", Force: true})
	if n := len(r.authority.TaskPublicKeys()); n != 1 {
		t.Errorf("%d task keys are trusted", n)
	}
	call[console.Problem](r, 422, "POST", console.Path(console.PathKeyRotate, "head"), console.ReasonRequest{})
}

func TestListenersAreAdmittedAndRevoked(t *testing.T) {
	r := newRig(t)
	r.join("pc-1", "pc-2", "pc-3")
	call[console.Problem](r, 422, "POST", console.PathTokens, console.TokenRequest{Scope: []string{"pc-1"}})
	call[console.Problem](r, 422, "POST", console.PathTokens, console.TokenRequest{Listener: "BGL01", Uses: 2})
	call[console.Problem](r, 422, "POST", console.PathTokens, console.TokenRequest{Listener: "bgl"})
	made := call[console.TokenReply](r, 200, "POST", console.PathTokens, console.TokenRequest{Listener: "BGL01", Scope: []string{"pc-1", "3"}})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = r.authority.JoinListener(t.Context(), wire.ListenerJoinRequest{Token: made.Token, CSR: csr,
		BoxKey: make(ed25519.PublicKey, ed25519.PublicKeySize), TCP: []string{"bgl.test:10123"}}); err != nil {
		t.Fatal(err)
	}
	tokens := call[console.TokenList](r, 200, "GET", console.PathTokens, nil)
	if len(tokens.Items) != 1 || tokens.Items[0].ID != made.ID || tokens.Items[0].Usable || tokens.Items[0].Used != 1 || tokens.Items[0].Listener != "BGL01" {
		t.Errorf("tokens %+v", tokens)
	}
	all := call[console.ListenerList](r, 200, "GET", console.PathListeners, nil)
	if len(all.Items) != 1 || all.Items[0].Name != "BGL01" || all.Items[0].Scope == nil || *all.Items[0].Scope != 2 || all.Items[0].Revoked || all.Items[0].HTTPS == nil {
		t.Errorf("listeners %+v", all)
	}
	scope := r.authority.ListenerScope("BGL01", 1)
	if !scope(1) || scope(2) || !scope(3) {
		t.Error("its scope is another one")
	}
	w := call[console.Written](r, 200, "POST", console.Path(console.PathListenerRevoke, "BGL01"), console.ReasonRequest{Reason: "stolen"})
	all = call[console.ListenerList](r, 200, "GET", console.PathListeners, nil)
	if !all.Items[0].Revoked || w.Event != r.journal.Head().Event {
		t.Errorf("revoked by event %d: %+v", w.Event, all)
	}
	call[console.Problem](r, 404, "POST", console.Path(console.PathListenerRevoke, "BGL09"), console.ReasonRequest{})
}
