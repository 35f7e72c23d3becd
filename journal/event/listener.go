package event

import (
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// ListenerGranted gives a listener its name, its epoch and the right to sign
// box files with a key. A new epoch ends the earlier ones.
type ListenerGranted struct {
	Listener  string
	Epoch     uint32
	PublicKey []byte // Ed25519, 32 bytes
}

// Kind returns listener.granted.
func (*ListenerGranted) Kind() Kind { return KindListenerGranted }

func (p *ListenerGranted) encode(w *bounded.Writer) {
	w.Array(4)
	w.Uint(1)
	w.Exact(p.Listener, 16)
	w.Uint(uint64(p.Epoch))
	w.Bytes(p.PublicKey, 32)
}

func (p *ListenerGranted) decode(r *bounded.Reader) {
	r.Version(1)
	p.Listener = r.String(16)
	p.Epoch = r.Uint32()
	p.PublicKey = r.Bytes(32)
	r.End()
}

// ListenerStarted says that a listener serves agents, and where.
type ListenerStarted struct {
	Listener string
	Epoch    uint32
	Version  string
	Address  string // of the TCP carrier
}

// Kind returns listener.started.
func (*ListenerStarted) Kind() Kind { return KindListenerStarted }

func (p *ListenerStarted) encode(w *bounded.Writer) {
	w.Array(5)
	w.Uint(1)
	w.Exact(p.Listener, 16)
	w.Uint(uint64(p.Epoch))
	w.String(p.Version, MaxName)
	w.String(p.Address, MaxName)
}

func (p *ListenerStarted) decode(r *bounded.Reader) {
	r.Version(1)
	p.Listener = r.String(16)
	p.Epoch = r.Uint32()
	p.Version = r.String(MaxName)
	p.Address = r.String(MaxName)
	r.End()
}

// ListenerStopped says that a listener ended in good order; its devices are
// offline.
type ListenerStopped struct {
	Listener string
	Epoch    uint32
}

// Kind returns listener.stopped.
func (*ListenerStopped) Kind() Kind { return KindListenerStopped }

func (p *ListenerStopped) encode(w *bounded.Writer) {
	w.Array(3)
	w.Uint(1)
	w.Exact(p.Listener, 16)
	w.Uint(uint64(p.Epoch))
}

func (p *ListenerStopped) decode(r *bounded.Reader) {
	r.Version(1)
	p.Listener = r.String(16)
	p.Epoch = r.Uint32()
	r.End()
}

// ListenerLost says that nothing was heard of a listener for three of its
// intervals; what its devices are is unknown.
type ListenerLost struct {
	Listener string
	Epoch    uint32
	Heard    time.Time // when the last file came
}

// Kind returns listener.lost.
func (*ListenerLost) Kind() Kind { return KindListenerLost }

func (p *ListenerLost) encode(w *bounded.Writer) {
	w.Array(4)
	w.Uint(1)
	w.Exact(p.Listener, 16)
	w.Uint(uint64(p.Epoch))
	w.Int(nanos(p.Heard))
}

func (p *ListenerLost) decode(r *bounded.Reader) {
	r.Version(1)
	p.Listener = r.String(16)
	p.Epoch = r.Uint32()
	p.Heard = instant(r.Int64())
	r.End()
}
