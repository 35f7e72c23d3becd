package task

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// MaxDetail is the longest text of a result in bytes.
const MaxDetail = 4 << 10

// A Result is what an agent says of itself in one operation. An agent sends one
// for every state that it reaches.
type Result struct {
	Operation ID
	Device    uint32
	Attempt   uint8 // 1, or more for a kind that may be started again
	State     State
	Code      int32     // the action's own code, 0 if it has none
	At        time.Time // when the state was reached, by the site's clock as the agent knows it
	Detail    string    // for people: what was found, or why it failed
}

// MACSize is the size of [Result.MAC] in bytes.
const MACSize = 16

const resultContext = "bugle result 1\n"

// MAC is the code that proves to the site that the device with this key said r:
// HMAC-SHA-256 over the canonical bytes, cut to 16 bytes.
func (r *Result) MAC(key []byte) [MACSize]byte {
	var fixed [64]byte
	b := append(fixed[:0], resultContext...)
	b = append(b, r.Operation[:]...)
	b = binary.BigEndian.AppendUint32(b, r.Device)
	b = append(b, r.Attempt, byte(r.State))
	b = binary.BigEndian.AppendUint32(b, uint32(r.Code))
	b = appendTime(b, r.At)
	m := hmac.New(sha256.New, key)
	m.Write(b)
	m.Write([]byte(r.Detail))
	return [MACSize]byte(m.Sum(nil))
}

// Genuine tells whether mac is r's under key.
func (r *Result) Genuine(key []byte, mac [MACSize]byte) bool {
	want := r.MAC(key)
	return hmac.Equal(want[:], mac[:])
}

// ResultKey derives the key that one device and the site share and no listener
// knows: HKDF-SHA-256 over the ECDH of the device's certificate key and the
// site's, both P-256. Either side calls it with its private and the other's
// public half.
func ResultKey(private *ecdh.PrivateKey, public *ecdh.PublicKey, site string, device ID) ([]byte, error) {
	secret, err := private.ECDH(public)
	if err != nil {
		return nil, fmt.Errorf("derive result key: %w", err)
	}
	key, err := hkdf.Key(sha256.New, secret, []byte(site), "bugle result key 1 "+device.String(), 32)
	if err != nil {
		return nil, fmt.Errorf("derive result key: %w", err)
	}
	return key, nil
}
