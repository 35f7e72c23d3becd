package task

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

func appendField(b, field []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
	return append(b, field...)
}

func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixNano()))
}

func seal(body []byte, key ed25519.PrivateKey) []byte {
	return append(body, ed25519.Sign(key, body)...)
}

// open splits what seal made.
func open(sealed []byte) (body, signature []byte, err error) {
	if len(sealed) > maxSigned {
		return nil, nil, fmt.Errorf("%d bytes, at most %d are taken", len(sealed), maxSigned)
	}
	n := len(sealed) - ed25519.SignatureSize
	if n <= 0 {
		return nil, nil, errCut
	}
	return sealed[:n], sealed[n:], nil
}

func verify(sealed []byte, id KeyID, keys []ed25519.PublicKey) error {
	body, signature, err := open(sealed)
	if err != nil {
		return err
	}
	return verifySplit(body, signature, id, keys)
}

func verifySplit(body, signature []byte, id KeyID, keys []ed25519.PublicKey) error {
	for _, k := range keys {
		if len(k) != ed25519.PublicKeySize || KeyIDOf(k) != id {
			continue
		}
		if ed25519.Verify(k, body, signature) {
			return nil
		}
		return fmt.Errorf("%w: signature does not match its bytes", ErrRefused)
	}
	return fmt.Errorf("%w: signed by key %s, which this device does not trust", ErrRefused, id)
}

var errCut = errors.New("cut short")

// fields reads canonical bytes; the first thing that does not hold stays in err.
type fields struct {
	rest []byte
	err  error
}

func (f *fields) take(n int) []byte {
	if f.err == nil && n > len(f.rest) {
		f.err = errCut
	}
	if f.err != nil {
		return nil
	}
	b := f.rest[:n:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) context(want string) {
	if b := f.take(len(want)); f.err == nil && string(b) != want {
		f.err = errors.New("not of this kind or version")
	}
}

func (f *fields) raw(dst []byte) { copy(dst, f.take(len(dst))) }

func (f *fields) uint32() uint32 {
	if b := f.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (f *fields) uint64() uint64 {
	if b := f.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (f *fields) time() time.Time { return time.Unix(0, int64(f.uint64())).UTC() }

func (f *fields) bytes(max int) []byte {
	n := f.uint32()
	if f.err == nil && n > uint32(max) {
		f.err = fmt.Errorf("field of %d bytes, at most %d are taken", n, max)
	}
	return f.take(int(n))
}

func (f *fields) end() error {
	if f.err == nil && len(f.rest) > 0 {
		f.err = fmt.Errorf("%d bytes left over", len(f.rest))
	}
	return f.err
}
