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

	// Since version 2. Empty for the listener in the site's own process.
	Token string   // with which it joined; a renewal repeats it
	TCP   []string // addresses for agents, host:port, the best first
	HTTPS []string
	Scope []byte // the devices that it may speak for, a roaring bitmap; empty for all
}

// MaxAddresses is the largest number of addresses of one listener's carrier.
const MaxAddresses = 16

// Kind returns listener.granted.
func (*ListenerGranted) Kind() Kind { return KindListenerGranted }

func (p *ListenerGranted) encode(w *bounded.Writer) {
	w.Array(8)
	w.Uint(2)
	w.Exact(p.Listener, 16)
	w.Uint(uint64(p.Epoch))
	w.Bytes(p.PublicKey, 32)
	w.Exact(p.Token, MaxName)
	for _, list := range [][]string{p.TCP, p.HTTPS} {
		w.List(len(list), MaxAddresses)
		for _, a := range list {
			w.Exact(a, MaxName)
		}
	}
	w.Bytes(p.Scope, MaxBitmap)
}

func (p *ListenerGranted) decode(r *bounded.Reader) {
	version := r.Version(2)
	p.Listener = r.String(16)
	p.Epoch = r.Uint32()
	p.PublicKey = r.Bytes(32)
	if version >= 2 {
		p.Token = r.String(MaxName)
		p.TCP = decodeAddresses(r)
		p.HTTPS = decodeAddresses(r)
		p.Scope = r.Bytes(MaxBitmap)
	}
	r.End()
}

func decodeAddresses(r *bounded.Reader) (list []string) {
	r.Array(MaxAddresses)
	for r.More() {
		list = append(list, r.String(MaxName))
	}
	r.End()
	return list
}

// ListenerRevoked ends a listener: none of its keys and certificates is good any
// more, whatever its epoch.
type ListenerRevoked struct {
	Listener string
	Reason   string
}

// Kind returns listener.revoked.
func (*ListenerRevoked) Kind() Kind { return KindListenerRevoked }

func (p *ListenerRevoked) encode(w *bounded.Writer) {
	w.Array(3)
	w.Uint(1)
	w.Exact(p.Listener, 16)
	w.String(p.Reason, MaxText)
}

func (p *ListenerRevoked) decode(r *bounded.Reader) {
	r.Version(1)
	p.Listener = r.String(16)
	p.Reason = r.String(MaxText)
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
