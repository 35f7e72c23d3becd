package event

import (
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// DeviceJoined says that a device showed a token and was given a number and a
// certificate. It also uses up one use of the token.
type DeviceJoined struct {
	Device    uint32 // dense, from 1, never given again
	ID        task.ID
	Name      string // the host name that the device gave
	Token     string // the token's id
	PublicKey []byte // the certificate's key, P-256, uncompressed point of 65 bytes
	Serial    []byte // the certificate's serial number, big endian
	Expires   time.Time
	OS, Arch  string
	Agent     string // the agent's version
}

// Kind returns device.joined.
func (*DeviceJoined) Kind() Kind { return KindDeviceJoined }

func (p *DeviceJoined) encode(w *bounded.Writer) {
	w.Array(11)
	w.Uint(1)
	w.Uint(uint64(p.Device))
	w.Raw(p.ID[:])
	w.String(p.Name, MaxName)
	w.Exact(p.Token, MaxName)
	w.Bytes(p.PublicKey, 256)
	w.Bytes(p.Serial, 32)
	w.Int(nanos(p.Expires))
	w.String(p.OS, MaxName)
	w.String(p.Arch, MaxName)
	w.String(p.Agent, MaxName)
}

func (p *DeviceJoined) decode(r *bounded.Reader) {
	r.Version(1)
	p.Device = r.Uint32()
	r.Raw(p.ID[:])
	p.Name = r.String(MaxName)
	p.Token = r.String(MaxName)
	p.PublicKey = r.Bytes(256)
	p.Serial = r.Bytes(32)
	p.Expires = instant(r.Int64())
	p.OS = r.String(MaxName)
	p.Arch = r.String(MaxName)
	p.Agent = r.String(MaxName)
	r.End()
}

// A Fact is one thing known of a device: "os.version" is "12.11".
type Fact struct{ Name, Value string }

// MaxFacts is the largest number of facts in one event.
const MaxFacts = 512

// DeviceDiscovered brings facts about a device; each replaces the earlier value
// of its name, others stay. One without a value says that it holds no more.
type DeviceDiscovered struct {
	Device uint32
	Facts  []Fact
}

// Kind returns device.discovered.
func (*DeviceDiscovered) Kind() Kind { return KindDeviceDiscovered }

func (p *DeviceDiscovered) encode(w *bounded.Writer) {
	w.Array(3)
	w.Uint(1)
	w.Uint(uint64(p.Device))
	w.List(2*len(p.Facts), 2*MaxFacts)
	for _, f := range p.Facts {
		w.String(f.Name, MaxName)
		w.String(f.Value, MaxText)
	}
}

func (p *DeviceDiscovered) decode(r *bounded.Reader) {
	r.Version(1)
	p.Device = r.Uint32()
	n := r.Array(2 * MaxFacts)
	for i := 0; i < n/2 && r.Err() == nil; i++ {
		p.Facts = append(p.Facts, Fact{r.String(MaxName), r.String(MaxText)})
	}
	r.End()
	r.End()
}

// DeviceBlocked says that a device may not connect any more.
type DeviceBlocked struct {
	Device uint32
	Reason string
}

// Kind returns device.blocked.
func (*DeviceBlocked) Kind() Kind { return KindDeviceBlocked }

func (p *DeviceBlocked) encode(w *bounded.Writer) { encodeDeviceReason(w, p.Device, p.Reason) }
func (p *DeviceBlocked) decode(r *bounded.Reader) { p.Device, p.Reason = decodeDeviceReason(r) }

// DeviceUnblocked takes a [DeviceBlocked] back.
type DeviceUnblocked struct {
	Device uint32
	Reason string
}

// Kind returns device.unblocked.
func (*DeviceUnblocked) Kind() Kind { return KindDeviceUnblocked }

func (p *DeviceUnblocked) encode(w *bounded.Writer) { encodeDeviceReason(w, p.Device, p.Reason) }
func (p *DeviceUnblocked) decode(r *bounded.Reader) { p.Device, p.Reason = decodeDeviceReason(r) }

func encodeDeviceReason(w *bounded.Writer, device uint32, reason string) {
	w.Array(3)
	w.Uint(1)
	w.Uint(uint64(device))
	w.String(reason, MaxText)
}

func decodeDeviceReason(r *bounded.Reader) (device uint32, reason string) {
	r.Version(1)
	device = r.Uint32()
	reason = r.String(MaxText)
	r.End()
	return device, reason
}

// TokenCreated is a join token, of which the journal keeps only a hash.
type TokenCreated struct {
	Token   string   // the id, the public half
	Hash    [32]byte // SHA-256 of the secret half
	Uses    uint32   // how many devices may join with it
	Expires time.Time

	// Since version 2: the listener that may join with it, and the devices that it
	// will speak for (a roaring bitmap, empty for all). Empty: it is for devices.
	Listener string
	Scope    []byte

	// Since version 3: the imported record that the device that joins becomes. 0: it
	// is a new one.
	Device uint32
}

// Kind returns token.created.
func (*TokenCreated) Kind() Kind { return KindTokenCreated }

func (p *TokenCreated) encode(w *bounded.Writer) {
	w.Array(8)
	w.Uint(3)
	w.Exact(p.Token, MaxName)
	w.Raw(p.Hash[:])
	w.Uint(uint64(p.Uses))
	w.Int(nanos(p.Expires))
	w.Exact(p.Listener, 16)
	w.Bytes(p.Scope, MaxBitmap)
	w.Uint(uint64(p.Device))
}

func (p *TokenCreated) decode(r *bounded.Reader) {
	version := r.Version(3)
	p.Token = r.String(MaxName)
	r.Raw(p.Hash[:])
	p.Uses = r.Uint32()
	p.Expires = instant(r.Int64())
	if version >= 2 {
		p.Listener = r.String(16)
		p.Scope = r.Bytes(MaxBitmap)
	}
	if version >= 3 {
		p.Device = r.Uint32()
	}
	r.End()
}

// TokenRevoked ends a token before its time.
type TokenRevoked struct{ Token string }

// Kind returns token.revoked.
func (*TokenRevoked) Kind() Kind { return KindTokenRevoked }

func (p *TokenRevoked) encode(w *bounded.Writer) {
	w.Array(2)
	w.Uint(1)
	w.Exact(p.Token, MaxName)
}

func (p *TokenRevoked) decode(r *bounded.Reader) {
	r.Version(1)
	p.Token = r.String(MaxName)
	r.End()
}
