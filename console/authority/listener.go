package authority

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net/http"

	"github.com/bugle-fleet/bugle/journal/event"
)

// MaxEpoch is the last epoch of a listener: names of box files have 8 digits for
// it.
const MaxEpoch = 99_999_999

// GrantListener gives a listener the right to sign box files with a key, under
// the next epoch of its name, which has 3 to 16 of A-Z and 0-9. Files of earlier
// epochs that are still under way stay good.
func (a *Authority) GrantListener(ctx context.Context, name string, pub ed25519.PublicKey) (epoch uint32, err error) {
	switch {
	case !validCode(name):
		return 0, refuse(http.StatusUnprocessableEntity, titleListener, "The name %q does not have 3 to 16 of A-Z and 0-9.", name)
	case len(pub) != ed25519.PublicKeySize:
		return 0, refuse(http.StatusUnprocessableEntity, titleListener, "The key of %s is not an Ed25519 public key of 32 bytes.", name)
	}
	j, err := a.attached()
	if err != nil {
		return 0, fmt.Errorf("grant listener %s: %w", name, err)
	}
	p := &event.ListenerGranted{Listener: name, PublicKey: append([]byte(nil), pub...)}
	guard := func() error {
		a.mu.RLock()
		defer a.mu.RUnlock()
		p.Epoch = 1
		if l := a.listeners[name]; l != nil {
			p.Epoch = l.newest + 1
		}
		if p.Epoch > MaxEpoch {
			return refuse(http.StatusConflict, titleListener, "%s has used all its epochs; give it another name.", name)
		}
		return nil
	}
	e := a.event(event.Actor{Issuer: "local", Subject: name}, p)
	if _, err := appended(j.AppendIf(ctx, guard, e), e, "grant listener "+name); err != nil {
		return 0, err
	}
	return p.Epoch, nil
}

// ListenerKey returns the key with which the files of a listener's epoch are
// signed.
func (a *Authority) ListenerKey(name string, epoch uint32) (ed25519.PublicKey, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	l := a.listeners[name]
	if l == nil {
		return nil, false
	}
	k, ok := l.keys[epoch]
	return k, ok
}
