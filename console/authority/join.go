package authority

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Join lets a device in: it becomes durable with the next number, or as the imported
// record that the token names, and gets its certificate. address is where it asked
// from, without port. What is refused is a [*Refusal]; any other error means that
// the site could not tell, and the device tries again.
func (a *Authority) Join(ctx context.Context, r wire.JoinRequest, address string) (wire.JoinReply, error) {
	t, public, err := checkJoin(r)
	if err != nil {
		return wire.JoinReply{}, err
	}
	number, err := a.admit(ctx, t, r, public, address)
	if err != nil {
		return wire.JoinReply{}, err
	}
	return a.reply(number, t.CA)
}

// checkJoin checks what can be checked without knowing the site.
func checkJoin(r wire.JoinRequest) (wire.Token, []byte, error) {
	t, err := wire.ParseToken(r.Token)
	if err != nil {
		return t, nil, refuseJoin(http.StatusBadRequest, "This is %s.", err)
	}
	for _, f := range []struct{ what, value string }{{"host name", r.Name}, {"operating system", r.OS}, {"architecture", r.Arch}, {"agent version", r.Agent}} {
		if !printable(f.value) {
			return t, nil, refuseJoin(http.StatusBadRequest, "The %s has to be printable text of 1 to %d bytes.", f.what, event.MaxName)
		}
	}
	public, err := requestedKey(r.CSR)
	if err != nil {
		return t, nil, refuseJoin(http.StatusBadRequest, "The certificate request cannot be taken: %v.", err)
	}
	return t, public, nil
}

func printable(s string) bool {
	if s == "" || len(s) > event.MaxName || !utf8.ValidString(s) || strings.TrimSpace(s) != s {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// requestedKey returns the public key of a certificate request as an
// uncompressed point. Nothing else of the request is used.
func requestedKey(der []byte) ([]byte, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, errors.New("it is not PKCS #10 in DER")
	}
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("its key is not ECDSA P-256")
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, errors.New("its signature does not match its key")
	}
	return key.Bytes()
}

// admit appends device.joined, or finds that this join is in the journal.
func (a *Authority) admit(ctx context.Context, t wire.Token, r wire.JoinRequest, public []byte, address string) (uint32, error) {
	j, err := a.attached()
	if err != nil {
		return 0, fmt.Errorf("join: %w", err)
	}
	if err := a.admissible(t, public); err != nil {
		return repeated(err)
	}
	now := a.now().UTC()
	p := &event.DeviceJoined{
		ID: task.NewRandomID(), Name: r.Name, Token: t.ID, PublicKey: public, Serial: newSerial().Bytes(),
		Expires: now.Add(a.validity).Truncate(time.Second), OS: r.OS, Arch: r.Arch, Agent: r.Agent,
	}
	e := &event.Event{Observed: now, Actor: event.Actor{Issuer: "token", Subject: t.ID, Address: address}, Payload: p}
	var named bool
	guard := func() error {
		if err := a.admissible(t, public); err != nil {
			return err
		}
		var err error
		named, err = a.place(p)
		return err
	}
	if err := j.AppendIf(ctx, guard, e); err != nil {
		return repeated(err)
	}
	if !named {
		a.newcomer(p)
	}
	return p.Device, nil
}

// place gives who joins its number: that of the imported record that the token names,
// whose id it keeps, or the next one.
func (a *Authority) place(p *event.DeviceJoined) (named bool, err error) {
	next := a.nextDevice()
	a.mu.RLock()
	defer a.mu.RUnlock()
	if record := a.tokens[p.Token].device; record != 0 {
		p.Device, p.ID = record, a.devices[record].id
		return true, nil
	}
	if next > task.MaxDevice {
		return false, refuseJoin(http.StatusForbidden, "The site has given all its %d device numbers.", task.MaxDevice)
	}
	p.Device = next
	return false, nil
}

// alreadyJoined is the error of a guard that found the join in the journal.
type alreadyJoined uint32

func (d alreadyJoined) Error() string { return fmt.Sprintf("joined already as device %d", uint32(d)) }

func repeated(err error) (uint32, error) {
	if d, ok := errors.AsType[alreadyJoined](err); ok {
		return uint32(d), nil
	}
	if r, ok := errors.AsType[*Refusal](err); ok {
		return 0, r
	}
	return 0, fmt.Errorf("join: %w", err)
}

// admissible is nil if a device with this key may join with the token,
// alreadyJoined if it has, and else a [*Refusal].
func (a *Authority) admissible(t wire.Token, public []byte) error {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if !a.pinned(t.CA) {
		return refuseJoin(http.StatusForbidden, "The token is of another site, or of another time of this one; ask for a new one.")
	}
	known := a.genuine(t)
	switch {
	case known == nil:
		return errTokenWrong
	case known.listener != "":
		return refuseJoin(http.StatusForbidden, "The token is for a listener; ask for one that is for devices.")
	}
	number, ok := a.joined[joinKeyOf(t.ID, public)]
	if !ok {
		return a.joinable(known)
	}
	d := a.device(number)
	switch {
	case known.revoked != 0:
		return errTokenRevoked
	case d.removed != 0:
		return refuseJoin(http.StatusForbidden, "The device was removed from the site; join with a new token.")
	case d.blocked:
		return refuseJoin(http.StatusForbidden, "The device is blocked; an administrator can unblock it.")
	case !a.now().Before(d.first.expires):
		return refuseJoin(http.StatusForbidden, "The certificate that came of this join has expired; join with a new token.")
	}
	return alreadyJoined(number)
}

// joinable says why no new device can join with t, or nil; the caller holds mu.
func (a *Authority) joinable(t *token) error {
	if err := t.usable(a.now()); err != nil || t.device == 0 {
		return err
	}
	if why := a.notToBecome(t.device); why != "" {
		return refuseJoin(http.StatusForbidden, "%s, for whose record the token was made; ask for another one.", why)
	}
	return nil
}

func (a *Authority) nextDevice() uint32 {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return uint32(len(a.devices))
}

// reply is the answer to a join with a token that pins a hash.
func (a *Authority) reply(number uint32, pin [32]byte) (wire.JoinReply, error) {
	a.mu.RLock()
	d, ring := *a.device(number), a.ring()
	addresses, https := a.addresses, a.https
	pinned, ok := a.pinnedCA(pin)
	a.mu.RUnlock()
	if !ok {
		return wire.JoinReply{}, fmt.Errorf("join: the authority of the token was retired meanwhile")
	}
	der, err := a.issue(number, d, d.first)
	if err != nil {
		return wire.JoinReply{}, fmt.Errorf("join: %w", err)
	}
	return wire.JoinReply{
		Site: a.site, Device: number, ID: d.id.String(), Certificate: der, Expires: d.first.expires, CA: pinned.Raw,
		TaskKeys: rawKeys(ring.Task), PolicyKeys: rawKeys(ring.Policy),
		ResultKey: a.keys.result.PublicKey().Bytes(), Listeners: append([]string(nil), addresses...),
		Keyring: ring.Number, CAs: ring.CA, HTTPS: append([]string(nil), https...),
	}, nil
}

func rawKeys(keys []ed25519.PublicKey) [][]byte {
	raw := make([][]byte, len(keys))
	for i, k := range keys {
		raw[i] = k
	}
	return raw
}
