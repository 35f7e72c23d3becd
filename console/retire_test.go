package console_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/projectors/status"
)

// An authority is not retired while a listener may not know the one that follows: it
// would not know the site again.
func TestAuthorityStaysUntilListenersKnow(t *testing.T) {
	r := newRig(t)
	made := call[console.TokenReply](r, 200, "POST", console.PathTokens, console.TokenRequest{Listener: "BGL01"})
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
	heard := func(at time.Time) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.listeners = []status.Listener{{Name: "BGL01", Epoch: 1, Granted: start, Heard: at}}
	}
	retire := console.Path(console.PathKeyRetire, "ca")
	refused := func(when string) {
		t.Helper()
		if p := r.do("POST", retire, console.RetireRequest{}).problem(409, "BGL01"); p.Title != "The keys are in use" {
			t.Errorf("%s: %+v", when, p)
		}
	}
	r.clock.Add(time.Hour)
	call[console.Written](r, 200, "POST", console.Path(console.PathKeyRotate, "ca"), console.ReasonRequest{})
	refused("nothing is known of it")
	heard(start.Add(time.Minute))
	refused("it was heard before")
	heard(start.Add(2 * time.Hour))
	call[console.Written](r, 200, "POST", retire, console.RetireRequest{})

	r.clock.Add(2 * time.Hour)
	call[console.Written](r, 200, "POST", console.Path(console.PathKeyRotate, "ca"), console.ReasonRequest{})
	refused("it is not heard any more")
	call[console.Written](r, 200, "POST", console.Path(console.PathListenerRevoke, "BGL01"), console.ReasonRequest{})
	call[console.Written](r, 200, "POST", retire, console.RetireRequest{})
}

// A view that is behind may not know an operation yet that a key has signed.
func TestKeysStayWhileAViewIsBehind(t *testing.T) {
	r := newRig(t)
	retire := console.Path(console.PathKeyRetire, "task")
	call[console.Written](r, 200, "POST", console.Path(console.PathKeyRotate, "task"), console.ReasonRequest{})
	r.mu.Lock()
	r.onWait = func() error { return context.DeadlineExceeded }
	r.mu.Unlock()
	r.do("POST", retire, console.RetireRequest{}).problem(503, "behind")
	if n := len(r.authority.TaskPublicKeys()); n != 2 {
		t.Errorf("%d task keys are trusted", n)
	}
	call[console.Written](r, 200, "POST", retire, console.RetireRequest{Force: true})
}
