package tlsrecord

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// A suite is a cipher suite of TLS 1.3 (RFC 8446, B.4).
type suite struct {
	id   uint16
	key  int // its length
	hash func() hash.Hash
	aead func(key []byte) (cipher.AEAD, error)
}

var suites = [...]suite{
	{tls.TLS_AES_128_GCM_SHA256, 16, sha256.New, gcm},
	{tls.TLS_AES_256_GCM_SHA384, 32, sha512.New384, gcm},
	{tls.TLS_CHACHA20_POLY1305_SHA256, chacha20poly1305.KeySize, sha256.New, chacha20poly1305.New},
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// suiteOf is the place of a suite in the table.
func suiteOf(id uint16) (place uint8, ok bool) {
	for i := range suites {
		if suites[i].id == id {
			return uint8(i), true
		}
	}
	return 0, false
}

// expandLabel is HKDF-Expand-Label without context (RFC 8446, 7.1).
func (s *suite) expandLabel(secret []byte, label string, length int) ([]byte, error) {
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(length))
	info = append(info, byte(len(label)))
	info = append(info, label...)
	info = append(info, 0)
	return hkdf.Expand(s.hash, secret, string(info), length)
}

const ivSize = 12

// A half is one direction of a connection: what seals its records, and how many
// there were.
type half struct {
	key   [32]byte
	iv    [ivSize]byte
	count uint32 // the number of the next record (RFC 8446, 5.3)
}

// newHalf derives key and iv from a traffic secret (RFC 8446, 7.3).
func newHalf(s *suite, secret []byte, count uint32) (h half, err error) {
	key, err := s.expandLabel(secret, "key", s.key)
	if err != nil {
		return h, err
	}
	iv, err := s.expandLabel(secret, "iv", ivSize)
	if err != nil {
		return h, err
	}
	copy(h.key[:], key)
	copy(h.iv[:], iv)
	clear(key)
	clear(iv)
	h.count = count
	return h, nil
}

func (h *half) aead(s *suite) (cipher.AEAD, error) { return s.aead(h.key[:s.key]) }

// nonce puts that of the next record into n.
func (h *half) nonce(n *[ivSize]byte) {
	*n = h.iv
	last := n[ivSize-4:]
	binary.BigEndian.PutUint32(last, binary.BigEndian.Uint32(last)^h.count)
}
