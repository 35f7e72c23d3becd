package task

import (
	"crypto/ed25519"
	"fmt"
	"time"
)

// A Beacon is the site's time, signed: an agent judges validity by it and by its
// own monotonic clock since, never by its wall clock and never by a listener's.
type Beacon struct {
	Site  string
	Key   KeyID
	Time  time.Time
	Nonce [16]byte // zero, or the nonce of the agent that asked
}

const beaconContext = "bugle beacon 1\n"

// Sign signs b, whose Key it sets, and returns the bytes that travel.
func (b *Beacon) Sign(key ed25519.PrivateKey) []byte {
	b.Key = KeyIDOf(key.Public().(ed25519.PublicKey))
	body := append([]byte(nil), beaconContext...)
	body = appendField(body, []byte(b.Site))
	body = append(body, b.Key[:]...)
	body = appendTime(body, b.Time)
	body = append(body, b.Nonce[:]...)
	return seal(body, key)
}

// VerifyBeacon reads a beacon and checks its signature.
func VerifyBeacon(signed []byte, site string, keys ...ed25519.PublicKey) (Beacon, error) {
	body, _, err := open(signed)
	if err != nil {
		return Beacon{}, fmt.Errorf("read beacon: %w", err)
	}
	var b Beacon
	f := fields{rest: body}
	f.context(beaconContext)
	b.Site = string(f.bytes(MaxSite))
	f.raw(b.Key[:])
	b.Time = f.time()
	f.raw(b.Nonce[:])
	if err := f.end(); err != nil {
		return Beacon{}, fmt.Errorf("read beacon: %w", err)
	}
	if b.Site != site {
		return Beacon{}, fmt.Errorf("%w: beacon of site %q, this device is of %q", ErrRefused, b.Site, site)
	}
	if err := verify(signed, b.Key, keys); err != nil {
		return Beacon{}, err
	}
	return b, nil
}
