package event

import "github.com/bugle-fleet/bugle/listener/wire/bounded"

// MaxPolicyBody is the longest policy in bytes.
const MaxPolicyBody = 64 << 10

// PolicyChanged is a new policy for all devices of the site, or for the people
// who are signed in there. The one before it is of no more use.
type PolicyChanged struct {
	Body   []byte // a JSON object, the settings; empty: there are none any more
	Reason string
	// User is empty for the policy of machines, "*" for that of all people who have
	// none of their own, else whose it is. Since version 2.
	User string
}

// Kind returns policy.changed.
func (*PolicyChanged) Kind() Kind { return KindPolicyChanged }

func (p *PolicyChanged) encode(w *bounded.Writer) {
	w.Array(4)
	w.Uint(2)
	w.Bytes(p.Body, MaxPolicyBody)
	w.String(p.Reason, MaxText)
	w.Exact(p.User, MaxName)
}

func (p *PolicyChanged) decode(r *bounded.Reader) {
	version := r.Version(2)
	p.Body = r.Bytes(MaxPolicyBody)
	p.Reason = r.String(MaxText)
	if version >= 2 {
		p.User = r.String(MaxName)
	}
	r.End()
}
