package wire

import (
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A Type is the type of a message. Odd ones come from the agent, even ones from
// the listener. The numbers never change their meaning.
type Type uint8

// The types.
const (
	TypeSignIn        Type = 1
	TypeWelcome       Type = 2
	TypeTask          Type = 4
	TypeResult        Type = 5
	TypeResultAck     Type = 6
	TypeKeepAlive     Type = 7
	TypeKeepAliveAck  Type = 8
	TypePolicyRequest Type = 9
	TypePolicy        Type = 10
	TypeInventory     Type = 11
	TypeInventoryAck  Type = 12
	TypeBye           Type = 13
	TypeClose         Type = 14
	TypeRenew         Type = 15
	TypeRenewed       Type = 16
	TypeKeyring       Type = 18
	TypeCancel        Type = 20
	TypePolicyProofs  Type = 22
)

func (t Type) String() string {
	if n, ok := typeNames[t]; ok {
		return n
	}
	return fmt.Sprintf("message %d", uint8(t))
}

var typeNames = map[Type]string{TypeSignIn: "sign-in", TypeWelcome: "welcome", TypeTask: "task", TypeResult: "result",
	TypeResultAck: "result-ack", TypeKeepAlive: "keep-alive", TypeKeepAliveAck: "keep-alive-ack",
	TypePolicyRequest: "policy-request", TypePolicy: "policy", TypeInventory: "inventory",
	TypeInventoryAck: "inventory-ack", TypeBye: "bye", TypeClose: "close", TypeRenew: "renew", TypeRenewed: "renewed",
	TypeKeyring: "keyring", TypeCancel: "cancel", TypePolicyProofs: "policy-proofs"}

// A Message is one of the types of this package.
type Message interface {
	Type() Type
	encode(w *bounded.Writer)
	decode(r *bounded.Reader)
}

func newMessage(t Type) Message {
	switch t {
	case TypeSignIn:
		return new(SignIn)
	case TypeWelcome:
		return new(Welcome)
	case TypeTask:
		return new(Task)
	case TypeResult:
		return new(Result)
	case TypeResultAck:
		return new(ResultAck)
	case TypeKeepAlive:
		return new(KeepAlive)
	case TypeKeepAliveAck:
		return new(KeepAliveAck)
	case TypePolicyRequest:
		return new(PolicyRequest)
	case TypePolicy:
		return new(Policy)
	case TypeInventory:
		return new(Inventory)
	case TypeInventoryAck:
		return new(InventoryAck)
	case TypeBye:
		return new(Bye)
	case TypeClose:
		return new(Close)
	case TypeRenew:
		return new(Renew)
	case TypeRenewed:
		return new(Renewed)
	case TypeKeyring:
		return new(Keyring)
	case TypeCancel:
		return new(Cancel)
	case TypePolicyProofs:
		return new(PolicyProofs)
	}
	return nil
}

// Bounds of fields, in bytes or items.
const (
	MaxText     = 256
	MaxBeacon   = 256
	MaxOpen     = 1024     // operations that a sign-in lists
	MaxChunk    = 60 << 10 // of a longer message
	MaxTransfer = 4 << 20  // a message in chunks
)

// SignIn is an agent's first message. Its fields never change, only more may
// follow: a listener reads that of every later version.
type SignIn struct {
	Version uint64 // newest version that the agent speaks, from 1
	Agent   string // the agent's version
	Nonce   [16]byte
	Open    []task.ID // operations that the agent knows and has not reported finally
	Pending uint32    // results that it will send again
	Keyring uint32    // number of the newest [task.Keyring] that it trusts; 0 before there were any
}

// Type returns TypeSignIn.
func (*SignIn) Type() Type { return TypeSignIn }

func (m *SignIn) encode(w *bounded.Writer) {
	fields := 5
	if m.Keyring > 0 {
		fields = 6
	}
	w.Array(fields)
	w.Uint(m.Version)
	w.String(m.Agent, MaxText)
	w.Raw(m.Nonce[:])
	w.List(len(m.Open), MaxOpen)
	for i := range m.Open {
		w.Raw(m.Open[i][:])
	}
	w.Uint(uint64(m.Pending))
	if m.Keyring > 0 {
		w.Uint(uint64(m.Keyring))
	}
}

func (m *SignIn) decode(r *bounded.Reader) {
	r.Array(1 << 16)
	m.Version = r.Uint(1<<32 - 1)
	m.Agent = r.String(MaxText)
	r.Raw(m.Nonce[:])
	r.Array(MaxOpen)
	for r.More() {
		var id task.ID
		r.Raw(id[:])
		m.Open = append(m.Open, id)
	}
	r.End()
	m.Pending = r.Uint32()
	if r.More() {
		m.Keyring = r.Uint32()
	}
	r.End()
}

// Welcome is the listener's answer to a [SignIn] that it takes.
type Welcome struct {
	Version   uint64        // the version that both speak from now on
	History   [16]byte      // the identity of the site's journal
	Listener  string        // the listener's name
	KeepAlive time.Duration // how often the agent must be heard, unless policy says otherwise
	Beacon    []byte        // the site's time, a signed [task.Beacon]
	Spread    time.Duration // over which to spread a reconnect after an outage
}

// Type returns TypeWelcome.
func (*Welcome) Type() Type { return TypeWelcome }

func (m *Welcome) encode(w *bounded.Writer) {
	if m.Version == 0 {
		w.Fail("no version")
	}
	w.Array(6)
	w.Uint(m.Version)
	w.Raw(m.History[:])
	w.String(m.Listener, MaxText)
	writeDuration(w, m.KeepAlive)
	w.Bytes(m.Beacon, MaxBeacon)
	writeDuration(w, m.Spread)
}

func (m *Welcome) decode(r *bounded.Reader) {
	m.Version = r.Version(1<<32 - 1)
	r.Raw(m.History[:])
	m.Listener = r.String(MaxText)
	m.KeepAlive = readDuration(r)
	m.Beacon = r.Bytes(MaxBeacon)
	m.Spread = readDuration(r)
	r.End()
}

// Task hands a signed task to one of its targets.
type Task struct {
	Signed task.Signed
	Proof  []byte // see [task.ParseProof]
}

// Type returns TypeTask.
func (*Task) Type() Type { return TypeTask }

func (m *Task) encode(w *bounded.Writer) {
	w.Array(3)
	w.Uint(1)
	w.Bytes(m.Signed, 16<<10)
	w.Bytes(m.Proof, 32*(task.MaxPath+1))
}

func (m *Task) decode(r *bounded.Reader) {
	r.Version(1)
	m.Signed = r.Bytes(16 << 10)
	m.Proof = r.Bytes(32 * (task.MaxPath + 1))
	r.End()
}

// Result is one transition that the agent reports; the device is that of the
// certificate. The MAC covers Detail, so that is never cut on the way: at most
// [task.MaxDetail] bytes of UTF-8 are taken ([bounded.Cut] makes them).
type Result struct {
	Operation task.ID
	Attempt   uint8
	State     task.State
	Code      int32
	At        time.Time
	Detail    string
	MAC       [task.MACSize]byte
}

// Type returns TypeResult.
func (*Result) Type() Type { return TypeResult }

func (m *Result) encode(w *bounded.Writer) {
	switch {
	case m.Operation.IsZero():
		w.Fail("result of no operation")
	case !m.State.FromAgent():
		w.Fail("state %s is not an agent's to report", m.State)
	}
	w.Array(8)
	w.Uint(1)
	w.Raw(m.Operation[:])
	w.Uint(uint64(m.Attempt))
	w.Uint(uint64(m.State))
	w.Int(int64(m.Code))
	w.Int(m.At.UnixNano())
	w.Exact(m.Detail, task.MaxDetail)
	w.Raw(m.MAC[:])
}

func (m *Result) decode(r *bounded.Reader) {
	r.Version(1)
	r.Raw(m.Operation[:])
	m.Attempt = uint8(r.Uint(1<<8 - 1))
	m.State = task.State(r.Uint(1<<8 - 1))
	m.Code = int32(r.Int64())
	m.At = time.Unix(0, r.Int64()).UTC()
	m.Detail = r.String(task.MaxDetail)
	r.Raw(m.MAC[:])
	r.End()
	switch {
	case r.Err() != nil:
	case m.Operation.IsZero():
		r.Fail("result of no operation")
	case !m.State.FromAgent():
		r.Fail("state %s is not an agent's to report", m.State)
	}
}

// ResultAck says that a result is on disk; the agent may forget it.
type ResultAck struct {
	Operation task.ID
	Attempt   uint8
	State     task.State
}

// Type returns TypeResultAck.
func (*ResultAck) Type() Type { return TypeResultAck }

func (m *ResultAck) encode(w *bounded.Writer) {
	w.Array(4)
	w.Uint(1)
	w.Raw(m.Operation[:])
	w.Uint(uint64(m.Attempt))
	w.Uint(uint64(m.State))
}

func (m *ResultAck) decode(r *bounded.Reader) {
	r.Version(1)
	r.Raw(m.Operation[:])
	m.Attempt = uint8(r.Uint(1<<8 - 1))
	m.State = task.State(r.Uint(1<<8 - 1))
	r.End()
}

// KeepAlive says that the agent lives. With a nonce that is not zero it asks for
// a beacon made for it.
type KeepAlive struct{ Nonce [16]byte }

// Type returns TypeKeepAlive.
func (*KeepAlive) Type() Type { return TypeKeepAlive }

func (m *KeepAlive) encode(w *bounded.Writer) {
	w.Array(2)
	w.Uint(1)
	w.Raw(m.Nonce[:])
}

func (m *KeepAlive) decode(r *bounded.Reader) {
	r.Version(1)
	r.Raw(m.Nonce[:])
	r.End()
}

// KeepAliveAck answers a [KeepAlive] with the newest beacon.
type KeepAliveAck struct{ Beacon []byte }

// Type returns TypeKeepAliveAck.
func (*KeepAliveAck) Type() Type { return TypeKeepAliveAck }

func (m *KeepAliveAck) encode(w *bounded.Writer) {
	w.Array(2)
	w.Uint(1)
	w.Bytes(m.Beacon, MaxBeacon)
}

func (m *KeepAliveAck) decode(r *bounded.Reader) {
	r.Version(1)
	m.Beacon = r.Bytes(MaxBeacon)
	r.End()
}

// PolicyRequest asks for the device's policy, unless it is still the one that
// ETag names; with User, for that of a person who is signed in there.
type PolicyRequest struct {
	ETag string
	User string
}

// Type returns TypePolicyRequest.
func (*PolicyRequest) Type() Type { return TypePolicyRequest }

func (m *PolicyRequest) encode(w *bounded.Writer) {
	fields := 2
	if m.User != "" {
		fields = 3
	}
	w.Array(fields)
	w.Uint(1)
	w.Exact(m.ETag, MaxText)
	if m.User != "" {
		w.Exact(m.User, MaxText)
	}
}

func (m *PolicyRequest) decode(r *bounded.Reader) {
	r.Version(1)
	m.ETag = r.String(MaxText)
	if r.More() {
		m.User = r.String(MaxText)
	}
	r.End()
}

// Policy is one chunk of the answer to a [PolicyRequest]. Of is 0 if the policy
// is still the one that the agent has.
type Policy struct {
	ETag     string
	Part, Of uint32 // 1 … Of
	Chunk    []byte // of a signed [task.Policy]
}

// Type returns TypePolicy.
func (*Policy) Type() Type { return TypePolicy }

func (m *Policy) encode(w *bounded.Writer) {
	w.Array(5)
	w.Uint(1)
	w.Exact(m.ETag, MaxText)
	w.Uint(uint64(m.Part))
	w.Uint(uint64(m.Of))
	w.Bytes(m.Chunk, MaxChunk)
}

func (m *Policy) decode(r *bounded.Reader) {
	r.Version(1)
	m.ETag = r.String(MaxText)
	m.Part = r.Uint32()
	m.Of = r.Uint32()
	m.Chunk = r.Bytes(MaxChunk)
	r.End()
}

// MaxFacts is the largest number of facts in one [Inventory].
const MaxFacts = 512

// A Fact is one thing that an agent found out about its machine.
type Fact struct{ Name, Value string }

// Inventory brings facts about the device. ID is chosen by the agent, and the
// answer names it. What does not fit a frame is sent as several.
type Inventory struct {
	ID    uint64
	At    time.Time
	Facts []Fact
}

// Type returns TypeInventory.
func (*Inventory) Type() Type { return TypeInventory }

func (m *Inventory) encode(w *bounded.Writer) {
	w.Array(4)
	w.Uint(1)
	w.Uint(m.ID)
	w.Int(m.At.UnixNano())
	w.List(2*len(m.Facts), 2*MaxFacts)
	for _, f := range m.Facts {
		if f.Name == "" {
			w.Fail("fact without a name")
		}
		w.Exact(f.Name, MaxText)
		w.String(f.Value, 4<<10)
	}
}

func (m *Inventory) decode(r *bounded.Reader) {
	r.Version(1)
	m.ID = r.Uint64()
	m.At = time.Unix(0, r.Int64()).UTC()
	n := r.Array(2 * MaxFacts)
	if n%2 != 0 {
		r.Fail("facts of %d texts", n)
	}
	for i := 0; i < n/2 && r.Err() == nil; i++ {
		f := Fact{r.String(MaxText), r.String(4 << 10)}
		if f.Name == "" {
			r.Fail("fact without a name")
		}
		m.Facts = append(m.Facts, f)
	}
	r.End()
	r.End()
}

// InventoryAck says that an inventory is on disk.
type InventoryAck struct{ ID uint64 }

// Type returns TypeInventoryAck.
func (*InventoryAck) Type() Type { return TypeInventoryAck }

func (m *InventoryAck) encode(w *bounded.Writer) {
	w.Array(2)
	w.Uint(1)
	w.Uint(m.ID)
}

func (m *InventoryAck) decode(r *bounded.Reader) {
	r.Version(1)
	m.ID = r.Uint64()
	r.End()
}

// Bye is an agent that ends in good order.
type Bye struct{}

// Type returns TypeBye.
func (*Bye) Type() Type { return TypeBye }

func (m *Bye) encode(w *bounded.Writer) {
	w.Array(1)
	w.Uint(1)
}

func (m *Bye) decode(r *bounded.Reader) {
	r.Version(1)
	r.End()
}

// Unknown is a message of a later version; a receiver ignores it.
type Unknown struct{ Of Type }

// Type returns the type that the frame claims.
func (m *Unknown) Type() Type { return m.Of }

func (m *Unknown) encode(w *bounded.Writer) { w.Fail("message %d is not known here", m.Of) }
func (m *Unknown) decode(*bounded.Reader)   {}

// MaxDuration is the longest duration that a message can hold.
const MaxDuration = 366 * 24 * time.Hour

func writeDuration(w *bounded.Writer, d time.Duration) {
	if d < 0 || d > MaxDuration {
		w.Fail("duration of %s, 0 to %s are taken", d, MaxDuration)
	}
	w.Uint(uint64(d))
}

func readDuration(r *bounded.Reader) time.Duration {
	return time.Duration(r.Uint(uint64(MaxDuration)))
}
