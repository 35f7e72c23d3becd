package event

import "github.com/bugle-fleet/bugle/listener/wire/bounded"

// FileQuarantined says that a whole file was put aside.
type FileQuarantined struct {
	Name   string // as it was in the box
	Digest [32]byte
	Size   uint64
	Reason string
}

// Kind returns file.quarantined.
func (*FileQuarantined) Kind() Kind { return KindFileQuarantined }

func (p *FileQuarantined) encode(w *bounded.Writer) {
	w.Array(5)
	w.Uint(1)
	w.String(p.Name, MaxName)
	w.Raw(p.Digest[:])
	w.Uint(p.Size)
	w.String(p.Reason, MaxText)
}

func (p *FileQuarantined) decode(r *bounded.Reader) {
	r.Version(1)
	p.Name = r.String(MaxName)
	r.Raw(p.Digest[:])
	p.Size = r.Uint64()
	p.Reason = r.String(MaxText)
	r.End()
}

// FileRequeued says that an administrator put a quarantined file back.
type FileRequeued struct{ Name string }

// Kind returns file.requeued.
func (*FileRequeued) Kind() Kind { return KindFileRequeued }

func (p *FileRequeued) encode(w *bounded.Writer) {
	w.Array(2)
	w.Uint(1)
	w.String(p.Name, MaxName)
}

func (p *FileRequeued) decode(r *bounded.Reader) {
	r.Version(1)
	p.Name = r.String(MaxName)
	r.End()
}

// RecordQuarantined says that one record of a file was put aside; the rest of
// the file took effect.
type RecordQuarantined struct {
	File   string
	Index  uint32 // of the record in the file, from 0
	Reason string
	Raw    []byte // the record as the file has it, cut at 1 KiB
}

// Kind returns record.quarantined.
func (*RecordQuarantined) Kind() Kind { return KindRecordQuarantined }

func (p *RecordQuarantined) encode(w *bounded.Writer) {
	w.Array(5)
	w.Uint(1)
	w.String(p.File, MaxName)
	w.Uint(uint64(p.Index))
	w.String(p.Reason, MaxText)
	w.Bytes(p.Raw, 1<<10)
}

func (p *RecordQuarantined) decode(r *bounded.Reader) {
	r.Version(1)
	p.File = r.String(MaxName)
	p.Index = r.Uint32()
	p.Reason = r.String(MaxText)
	p.Raw = r.Bytes(1 << 10)
	r.End()
}

// A Severity grades a status message. The numbers are on disk.
type Severity uint8

// The severities.
const (
	Info    Severity = 1
	Warning Severity = 2
	Error   Severity = 3
)

// String returns the name that people and the API use.
func (s Severity) String() string {
	switch s {
	case Info:
		return "info"
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return "unknown"
}

// StatusMessage is what a component has to say to operators. Its number is
// stable: tools may look for it.
type StatusMessage struct {
	Component string // "listener", "agent", "inbox"
	Message   uint32
	Severity  Severity
	Device    uint32 // whom it is about, or 0
	Text      string
}

// Kind returns status.message.
func (*StatusMessage) Kind() Kind { return KindStatusMessage }

func (p *StatusMessage) encode(w *bounded.Writer) {
	if p.Severity > Error {
		w.Fail("severity %d", p.Severity)
	}
	w.Array(6)
	w.Uint(1)
	w.String(p.Component, MaxName)
	w.Uint(uint64(p.Message))
	w.Uint(uint64(p.Severity))
	w.Uint(uint64(p.Device))
	w.String(p.Text, MaxText)
}

func (p *StatusMessage) decode(r *bounded.Reader) {
	r.Version(1)
	p.Component = r.String(MaxName)
	p.Message = r.Uint32()
	p.Severity = Severity(r.Uint(uint64(Error)))
	p.Device = r.Uint32()
	p.Text = r.String(MaxText)
	r.End()
}

// ViewRebuilt says that a view was folded anew from the journal and now serves.
type ViewRebuilt struct {
	View       string
	Generation uint32
	Position   uint64 // the event that Digest is of
	Digest     [32]byte
	Same       bool // the view that served until then had the same digest there
}

// Kind returns view.rebuilt.
func (*ViewRebuilt) Kind() Kind { return KindViewRebuilt }

func (p *ViewRebuilt) encode(w *bounded.Writer) {
	w.Array(6)
	w.Uint(1)
	w.String(p.View, MaxName)
	w.Uint(uint64(p.Generation))
	w.Uint(p.Position)
	w.Raw(p.Digest[:])
	w.Bool(p.Same)
}

func (p *ViewRebuilt) decode(r *bounded.Reader) {
	r.Version(1)
	p.View = r.String(MaxName)
	p.Generation = r.Uint32()
	p.Position = r.Uint64()
	r.Raw(p.Digest[:])
	p.Same = r.Bool()
	r.End()
}

// SignInFailed counts refused agents from one address within a minute, so that a
// storm of them costs one event and not a thousand.
type SignInFailed struct {
	Where   string // "listener" or "join"
	Address string // without port
	Reason  string
	Count   uint32
}

// Kind returns signin.failed.
func (*SignInFailed) Kind() Kind { return KindSignInFailed }

func (p *SignInFailed) encode(w *bounded.Writer) {
	encodeRefused(w, p.Where, p.Address, p.Reason, p.Count)
}

func (p *SignInFailed) decode(r *bounded.Reader) {
	p.Where, p.Address, p.Reason, p.Count = decodeRefused(r)
}

// LoginFailed counts refused administrators from one address within a minute.
type LoginFailed struct {
	Where   string // "console"
	Address string // without port
	Reason  string
	Count   uint32
}

// Kind returns login.failed.
func (*LoginFailed) Kind() Kind { return KindLoginFailed }

func (p *LoginFailed) encode(w *bounded.Writer) {
	encodeRefused(w, p.Where, p.Address, p.Reason, p.Count)
}

func (p *LoginFailed) decode(r *bounded.Reader) {
	p.Where, p.Address, p.Reason, p.Count = decodeRefused(r)
}

func encodeRefused(w *bounded.Writer, where, address, reason string, count uint32) {
	w.Array(5)
	w.Uint(1)
	w.String(where, MaxName)
	w.String(address, MaxName)
	w.String(reason, MaxText)
	w.Uint(uint64(count))
}

func decodeRefused(r *bounded.Reader) (where, address, reason string, count uint32) {
	r.Version(1)
	where = r.String(MaxName)
	address = r.String(MaxName)
	reason = r.String(MaxText)
	count = r.Uint32()
	r.End()
	return where, address, reason, count
}
