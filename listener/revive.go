package listener

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// reviveGrace is how long after its end a certificate still serves to renew it.
// A machine that was off for weeks comes back by itself; who must not come back
// is blocked, which does not wait for the end of a certificate.
const reviveGrace = 90 * 24 * time.Hour

var errEnded = errors.New("certificate has ended")

// revive serves [wire.RenewPath].
func (l *Listener) revive(w http.ResponseWriter, r *http.Request) {
	reply, err := l.answerRevive(w, r)
	if err == nil {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		json.NewEncoder(w).Encode(reply)
		return
	}
	var no *JoinRefused
	if !errors.As(err, &no) {
		l.cfg.Log.Error("certificate cannot be renewed now", "listener", l.cfg.Name, "address", peerOf(r), "err", err)
		no = tryLater("the site cannot renew certificates at the moment")
	}
	l.answerRefused(w, r, no)
}

func (l *Listener) answerRevive(w http.ResponseWriter, r *http.Request) (*wire.RenewReply, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, &JoinRefused{http.StatusMethodNotAllowed, "Method not allowed", "a request to renew is a POST"}
	}
	if !l.joins.allow(peerOf(r), time.Now()) {
		return nil, &JoinRefused{http.StatusTooManyRequests, "Too many requests", "too many requests come from this address"}
	}
	id, err := l.revivable(r.TLS)
	if err != nil {
		return nil, err
	}
	if l.cfg.Renew == nil {
		return nil, &JoinRefused{http.StatusNotFound, "Not found", noRenewalHere}
	}
	if !l.renewals.allow(id.Device, time.Now()) {
		return nil, &JoinRefused{http.StatusTooManyRequests, "Too many requests", "this device asks for a new certificate again and again"}
	}
	var req wire.RenewRequest
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 2*wire.MaxCSR))
	if err := d.Decode(&req); err != nil || d.More() || len(req.CSR) > wire.MaxCSR || len(req.Proof) > wire.MaxRenewProof {
		return nil, &JoinRefused{http.StatusBadRequest, "Malformed request", "body is not a request to renew in JSON"}
	}
	reply := new(wire.RenewReply)
	done := awaited(r)
	reply.Certificate, err = l.cfg.Renew(r.Context(), id.Device, wire.Renew(req))
	done()
	if err != nil {
		return nil, err
	}
	if reply.Rings, err = l.table.signedRings(); err != nil {
		return nil, err
	}
	l.count.renewals.Add(1)
	return reply, nil
}

// revivable returns the device that has shown a certificate with which it may
// renew it.
func (l *Listener) revivable(state *tls.ConnectionState) (id wire.Identity, err error) {
	no := func(status int, detail string) error { return &JoinRefused{status, "Not renewed", detail} }
	if state == nil || len(state.PeerCertificates) == 0 {
		return id, no(http.StatusUnauthorized, "no certificate")
	}
	cert := state.PeerCertificates[0]
	if id, err = wire.IdentityOf(cert); err != nil || id.Site != l.cfg.Site {
		return id, no(http.StatusForbidden, "the certificate names no device of this site")
	}
	if err = l.verified.ended(cert, time.Now()); err != nil {
		return id, no(http.StatusForbidden, "the certificate is not valid here any more: join again")
	}
	if l.table.isBlocked(id.Device) {
		return id, no(http.StatusForbidden, "the device is blocked")
	}
	return id, nil
}

// signedRings are the keyrings to hand out, as the site signed them.
func (t *table) signedRings() ([][]byte, error) {
	t.mu.Lock()
	frames := t.rings.above(0)
	t.mu.Unlock()
	signed := make([][]byte, len(frames))
	for i, f := range frames {
		m, _, err := wire.ReadFrom(bufio.NewReader(bytes.NewReader(f)), nil)
		if err != nil {
			return nil, fmt.Errorf("read keyring: %w", err)
		}
		signed[i] = m.(*wire.Keyring).Signed
	}
	return signed, nil
}
