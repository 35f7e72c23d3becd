package agent

import (
	"encoding/binary"
	"fmt"
	"path/filepath"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// proofsFile holds the proofs of the tasks in the stored policy, beside it:
//
//	"bugle proofs 1\n", then for the ETag and each proof: length uint16, bytes
//
// Big-endian. Nobody trusts it: each proof is checked against its task.
const (
	proofsFile   = "policy.proofs"
	proofsHeader = "bugle proofs 1\n"
	maxProofs    = len(proofsHeader) + 2 + wire.MaxText + wire.MaxProofs*(2+32*(task.MaxPath+1))
)

func appendProofs(m *wire.PolicyProofs) []byte {
	b := append([]byte(proofsHeader), 0, 0)
	binary.BigEndian.PutUint16(b[len(proofsHeader):], uint16(len(m.ETag)))
	b = append(b, m.ETag...)
	for _, p := range m.Proofs {
		b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
		b = append(b, p...)
	}
	return b
}

// parseProofs reads what appendProofs wrote.
func parseProofs(b []byte) (*wire.PolicyProofs, error) {
	if len(b) > maxProofs || len(b) < len(proofsHeader) || string(b[:len(proofsHeader)]) != proofsHeader {
		return nil, fmt.Errorf("read %s: not proofs", proofsFile)
	}
	var parts [][]byte
	for b = b[len(proofsHeader):]; len(b) > 0; {
		n := len(b)
		if n >= 2 {
			n = int(binary.BigEndian.Uint16(b))
		}
		if n > len(b)-2 || len(parts) > wire.MaxProofs {
			return nil, fmt.Errorf("read %s: cut short, or too many", proofsFile)
		}
		parts = append(parts, b[2:2+n])
		b = b[2+n:]
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("read %s: no policy is named", proofsFile)
	}
	return &wire.PolicyProofs{ETag: string(parts[0]), Proofs: parts[1:]}, nil
}

func (p *policyStore) proofsPath() string { return filepath.Join(filepath.Dir(p.path), proofsFile) }

func (p *policyStore) storeProofs(m *wire.PolicyProofs) error {
	return writeDurable(p.proofsPath(), appendProofs(m))
}

// loadProofs returns the stored proofs if they are of the policy that tag names.
func (p *policyStore) loadProofs(tag string) [][]byte {
	b, err := readBounded(p.proofsPath(), int64(maxProofs))
	if b == nil || err != nil {
		return nil
	}
	m, err := parseProofs(b)
	if err != nil || m.ETag != tag {
		return nil
	}
	return m.Proofs
}

// orders returns the tasks of the policy in force as they would come on a
// connection.
func (p *policyStore) orders() []*wire.Task {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.proofs) != len(p.what.Tasks) {
		return nil
	}
	orders := make([]*wire.Task, len(p.proofs))
	for i, signed := range p.what.Tasks {
		orders[i] = &wire.Task{Signed: signed, Proof: p.proofs[i]}
	}
	return orders
}

// takeFromPolicy judges the tasks that policy lists. One that is known, from
// whatever way it came, is not started again. What is not genuine is reported
// once, when the policy is new.
func (a *Agent) takeFromPolicy(isNew bool) {
	for _, m := range a.policy.orders() {
		if _, err := a.genuine(m); err != nil && !isNew {
			continue
		}
		a.judge(m, false)
	}
}

func windowNames(l window.List) (names []string) {
	for i := range l {
		if l[i].Enabled {
			names = append(names, l[i].Name)
		}
	}
	return names
}
