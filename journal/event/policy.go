package event

import "github.com/bugle-fleet/bugle/listener/wire/bounded"

// MaxPolicyBody is the longest policy in bytes.
const MaxPolicyBody = 64 << 10

// PolicyChanged is a new policy for all devices of the site. The one before it
// is of no more use.
type PolicyChanged struct {
	Body   []byte // a JSON object, the settings of agents
	Reason string
}

// Kind returns policy.changed.
func (*PolicyChanged) Kind() Kind { return KindPolicyChanged }

func (p *PolicyChanged) encode(w *bounded.Writer) {
	w.Array(3)
	w.Uint(1)
	w.Bytes(p.Body, MaxPolicyBody)
	w.String(p.Reason, MaxText)
}

func (p *PolicyChanged) decode(r *bounded.Reader) {
	r.Version(1)
	p.Body = r.Bytes(MaxPolicyBody)
	p.Reason = r.String(MaxText)
	r.End()
}
