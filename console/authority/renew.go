package authority

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// RenewGrace is how long after its end a certificate still serves to renew it: a
// machine that was off for a while comes back by itself. Who must not come back
// is blocked; that does not wait for a certificate to end.
const RenewGrace = 90 * 24 * time.Hour

// Renew gives a device a new certificate for the key of a request, PKCS #10 in
// DER. It is on record before it is signed. Who asks again with the same key,
// because the answer was lost, gets the same once more: same serial, same dates.
// The earlier certificates stay good until they end. Whoever hands in the request,
// its proof says that the device asks: one of the device's keys made it. What is
// refused is a [*Refusal]; after any other error the device asks again.
func (a *Authority) Renew(ctx context.Context, number uint32, request wire.Renew) ([]byte, error) {
	public, err := requestedKey(request.CSR)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, titleRenew, "The certificate request cannot be taken: %v.", err)
	}
	if !a.proven(number, &request) {
		return nil, refuse(http.StatusForbidden, titleRenew, "No key that this site knows of device %d has signed the request; if that goes on, join again.", number)
	}
	j, err := a.attached()
	if err != nil {
		return nil, fmt.Errorf("renew certificate of device %d: %w", number, err)
	}
	p := a.newCertificate(public, a.validity)
	p.Device = number
	e := a.event(event.Actor{Issuer: "device", Subject: fmt.Sprint(number)}, p)
	guard := func() error {
		a.mu.RLock()
		defer a.mu.RUnlock()
		return a.renewable(number, public)
	}
	if err := guard(); err == nil {
		_, err = appended(j.AppendIf(ctx, guard, e), e, fmt.Sprintf("renew certificate of device %d", number))
		if err != nil {
			return nil, err
		}
	} else if _, err := appended(err, e, "renew certificate"); err != nil {
		return nil, err
	}
	a.mu.RLock()
	d := *a.device(number)
	a.mu.RUnlock()
	return a.issue(number, d, d.certificate())
}

// proven tells whether a key of the device signed the request. The key of the join
// serves for ever, the others until [RenewGrace] is over. If there is no such
// device, that is for the guard to say.
func (a *Authority) proven(number uint32, request *wire.Renew) bool {
	a.mu.RLock()
	d := a.device(number)
	if d == nil {
		a.mu.RUnlock()
		return true
	}
	keys, now := [][]byte{d.first.public}, a.now()
	for _, c := range []certificate{d.newest, d.before} {
		if !now.After(c.expires.Add(RenewGrace)) {
			keys = append(keys, c.public)
		}
	}
	a.mu.RUnlock()
	return slices.ContainsFunc(keys, func(public []byte) bool {
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), public)
		return err == nil && request.ProvenBy(key, a.site, number)
	})
}

// renewable is nil if the device may have a certificate for the key, alreadyDone
// if it has it, and else a [*Refusal]; the caller holds mu.
func (a *Authority) renewable(number uint32, public []byte) error {
	d := a.device(number)
	if d == nil {
		return refuse(http.StatusNotFound, titleRenew, "There is no device %d.", number)
	}
	c, now := d.certificate(), a.now()
	switch {
	case d.removed != 0:
		return refuse(http.StatusForbidden, titleRenew, "The device was removed from the site; join with a new token.")
	case d.blocked:
		return refuse(http.StatusForbidden, titleRenew, "The device is blocked; an administrator can unblock it.")
	case now.After(c.expires.Add(RenewGrace)):
		return refuse(http.StatusForbidden, titleRenew, "The last certificate ended at %s, too long ago; join again.", c.expires.Format(time.RFC3339))
	case c.answers(public, now):
		return alreadyDone(c.event)
	}
	return nil
}
