package task

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Bounds of a task's fields, in bytes.
const (
	MaxSite   = 16
	MaxKind   = 64
	MaxParams = 8 << 10
	maxSigned = 16 << 10
)

// A KeyID names a signing key: the first 8 bytes of the SHA-256 of its public
// half.
type KeyID [8]byte

// KeyIDOf returns the id of a public key.
func KeyIDOf(pub ed25519.PublicKey) KeyID {
	sum := sha256.Sum256(pub)
	return KeyID(sum[:8])
}

func (k KeyID) String() string { return hex.EncodeToString(k[:]) }

// A Task is one operation as its targets see it. Every field is covered by the
// site's signature.
type Task struct {
	Site       string // the site's code, such as P01
	Key        KeyID  // the key that signed
	Operation  ID
	Kind       string // such as scan.quick
	Params     []byte // a JSON object, or empty
	Root       [32]byte
	Leaves     uint32 // leaves of the target tree, see [Targets]
	NotBefore  time.Time
	DeliverBy  time.Time // no start at or after this instant
	RunTimeout time.Duration
	Requested  time.Time
}

const taskContext = "bugle task 1\n"

// canonical returns the bytes that are signed.
func (t *Task) canonical() []byte {
	b := make([]byte, 0, 256+len(t.Params))
	b = append(b, taskContext...)
	b = appendField(b, []byte(t.Site))
	b = append(b, t.Key[:]...)
	b = append(b, t.Operation[:]...)
	b = appendField(b, []byte(t.Kind))
	b = appendField(b, t.Params)
	b = append(b, t.Root[:]...)
	b = binary.BigEndian.AppendUint32(b, t.Leaves)
	b = appendTime(b, t.NotBefore)
	b = appendTime(b, t.DeliverBy)
	b = binary.BigEndian.AppendUint64(b, uint64(t.RunTimeout))
	return appendTime(b, t.Requested)
}

// Sign signs t, whose Key it sets, and returns the bytes that travel: canonical
// bytes and signature.
func (t *Task) Sign(key ed25519.PrivateKey) (Signed, error) {
	t.Key = KeyIDOf(key.Public().(ed25519.PublicKey))
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("sign task: %w", err)
	}
	return seal(t.canonical(), key), nil
}

func (t *Task) check() error {
	switch {
	case t.Site == "" || len(t.Site) > MaxSite:
		return errors.New("no site, or its code is too long")
	case t.Kind == "" || len(t.Kind) > MaxKind:
		return errors.New("no kind, or its name is too long")
	case len(t.Params) > MaxParams:
		return fmt.Errorf("parameters of %d bytes, at most %d are taken", len(t.Params), MaxParams)
	case t.Operation.IsZero():
		return errors.New("no operation id")
	case t.Leaves == 0:
		return errors.New("no targets")
	case !t.DeliverBy.After(t.NotBefore):
		return errors.New("deliver-by is not after not-before")
	case t.RunTimeout < 0:
		return errors.New("run timeout below zero")
	}
	return nil
}

// Signed is a task as it travels and as the journal keeps it.
type Signed []byte

// Task reads the fields without checking the signature: for a listener, which
// must know targets and deadline, and for whoever shows the task.
func (s Signed) Task() (Task, error) {
	body, _, err := open(s)
	if err != nil {
		return Task{}, fmt.Errorf("read task: %w", err)
	}
	t, err := parseTask(body)
	if err != nil {
		return Task{}, fmt.Errorf("read task: %w", err)
	}
	return t, nil
}

// Verify reads the task and checks the signature against the keys that the
// agent trusts.
func (s Signed) Verify(site string, keys ...ed25519.PublicKey) (Task, error) {
	t, err := s.Task()
	if err != nil {
		return Task{}, err
	}
	if t.Site != site {
		return Task{}, fmt.Errorf("%w: task of site %q, this device is of %q", ErrRefused, t.Site, site)
	}
	if err := verify(s, t.Key, keys); err != nil {
		return Task{}, err
	}
	return t, nil
}

// ErrRefused is wrapped by every error that means: this is not from the site, or
// not for this device.
var ErrRefused = errors.New("refused")

func parseTask(body []byte) (t Task, err error) {
	f := fields{rest: body}
	f.context(taskContext)
	t.Site = string(f.bytes(MaxSite))
	f.raw(t.Key[:])
	f.raw(t.Operation[:])
	t.Kind = string(f.bytes(MaxKind))
	t.Params = f.bytes(MaxParams)
	f.raw(t.Root[:])
	t.Leaves = f.uint32()
	t.NotBefore = f.time()
	t.DeliverBy = f.time()
	t.RunTimeout = time.Duration(f.uint64())
	t.Requested = f.time()
	if err := f.end(); err != nil {
		return Task{}, err
	}
	return t, t.check()
}
