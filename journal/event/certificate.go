package event

import (
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// CertificateIssued is a further certificate of a device or a listener; the first
// one of a device is in its [DeviceJoined]. The earlier ones stay good until they
// expire, for the answer may be lost.
type CertificateIssued struct {
	Device    uint32 // 0 if it is a listener's
	Listener  string // empty if it is a device's
	PublicKey []byte // P-256, uncompressed point of 65 bytes
	Serial    []byte // big endian
	Expires   time.Time
}

// Kind returns certificate.issued.
func (*CertificateIssued) Kind() Kind { return KindCertificateIssued }

func (p *CertificateIssued) encode(w *bounded.Writer) {
	w.Array(6)
	w.Uint(1)
	w.Uint(uint64(p.Device))
	w.Exact(p.Listener, 16)
	w.Bytes(p.PublicKey, 256)
	w.Bytes(p.Serial, 32)
	w.Int(nanos(p.Expires))
}

func (p *CertificateIssued) decode(r *bounded.Reader) {
	r.Version(1)
	p.Device = r.Uint32()
	p.Listener = r.String(16)
	p.PublicKey = r.Bytes(256)
	p.Serial = r.Bytes(32)
	p.Expires = instant(r.Int64())
	r.End()
}

// KeysChanged is a new signed [task.Keyring]: a key came, took over, or went.
type KeysChanged struct {
	Number uint32
	Ring   []byte
	What   string // "task", "policy" or "ca"
	Reason string
}

// Kind returns keys.changed.
func (*KeysChanged) Kind() Kind { return KindKeysChanged }

func (p *KeysChanged) encode(w *bounded.Writer) {
	w.Array(5)
	w.Uint(1)
	w.Uint(uint64(p.Number))
	w.Bytes(p.Ring, task.MaxKeyring)
	w.String(p.What, MaxName)
	w.String(p.Reason, MaxText)
}

func (p *KeysChanged) decode(r *bounded.Reader) {
	r.Version(1)
	p.Number = r.Uint32()
	p.Ring = r.Bytes(task.MaxKeyring)
	p.What = r.String(MaxName)
	p.Reason = r.String(MaxText)
	r.End()
}
