package site

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/bugle-fleet/bugle/journal/durable"
)

// listenerKey loads the key with which the listener of this process signs its
// files, or makes it: PKCS #8 in PEM, mode 0600, durable before it is used.
func listenerKey(name string) (ed25519.PrivateKey, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return newListenerKey(name)
	}
	if err != nil {
		return nil, fmt.Errorf("read listener's key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("read listener's key: %s holds no PEM; remove it to have another made", name)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read listener's key %s: %w", name, err)
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read listener's key: %s is not an Ed25519 key", name)
	}
	return key, nil
}

func newListenerKey(name string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make listener's key: %w", err)
	}
	b, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make listener's key: %w", err)
	}
	if err := durable.Replace(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b})); err != nil {
		return nil, fmt.Errorf("keep listener's key: %w", err)
	}
	return key, nil
}
