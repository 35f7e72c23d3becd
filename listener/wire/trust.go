package wire

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Bounds of what is signed and travels, in bytes.
const (
	MaxCSR         = 4 << 10
	MaxCertificate = 4 << 10
	MaxRenewProof  = 128
	MaxProofs      = 64 // tasks in one policy
)

// Cancel hands on a signed [task.Cancel] to a device that has the task and has
// not answered finally.
type Cancel struct{ Signed []byte }

// Type returns TypeCancel.
func (*Cancel) Type() Type { return TypeCancel }

func (m *Cancel) encode(w *bounded.Writer) {
	w.Array(2)
	w.Uint(1)
	w.Bytes(m.Signed, task.MaxCancel)
}

func (m *Cancel) decode(r *bounded.Reader) {
	r.Version(1)
	m.Signed = r.Bytes(task.MaxCancel)
	r.End()
}

// Keyring hands on a signed [task.Keyring]. After the welcome come all that are
// newer than the one the sign-in named, in order; then each when it is made.
type Keyring struct{ Signed []byte }

// Type returns TypeKeyring.
func (*Keyring) Type() Type { return TypeKeyring }

func (m *Keyring) encode(w *bounded.Writer) {
	w.Array(2)
	w.Uint(1)
	w.Bytes(m.Signed, task.MaxKeyring)
}

func (m *Keyring) decode(r *bounded.Reader) {
	r.Version(1)
	m.Signed = r.Bytes(task.MaxKeyring)
	r.End()
}

// Renew asks for a new certificate: a PKCS #10 request in DER, signed by the key
// that the certificate is to have. That a device asks for it is proven by one of
// the keys that it has a certificate for, see [Renew.Prove]: the site believes no
// listener who asks.
type Renew struct {
	CSR   []byte
	Proof []byte // a request without one is refused by the site
}

// Type returns TypeRenew.
func (*Renew) Type() Type { return TypeRenew }

func (m *Renew) encode(w *bounded.Writer) {
	fields := 2
	if len(m.Proof) > 0 {
		fields = 3
	}
	w.Array(fields)
	w.Uint(1)
	w.Bytes(m.CSR, MaxCSR)
	if len(m.Proof) > 0 {
		w.Bytes(m.Proof, MaxRenewProof)
	}
}

func (m *Renew) decode(r *bounded.Reader) {
	r.Version(1)
	m.CSR = r.Bytes(MaxCSR)
	if r.More() {
		m.Proof = r.Bytes(MaxRenewProof)
	}
	r.End()
}

// Prove sets Proof: the ECDSA signature, in ASN.1, of key over the SHA-256 of
//
//	"bugle renew 1\n" SITE "\n" DEVICE "\n" CSR
//
// with the device's number in decimal and the request in DER. It says who asks for
// which certificate, so it serves for no other request and no other device.
func (m *Renew) Prove(key *ecdsa.PrivateKey, site string, device uint32) (err error) {
	digest := m.digest(site, device)
	if m.Proof, err = ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
		return fmt.Errorf("prove who renews: %w", err)
	}
	return nil
}

// ProvenBy tells whether Proof is by this key of the device, see [Renew.Prove].
func (m *Renew) ProvenBy(key *ecdsa.PublicKey, site string, device uint32) bool {
	digest := m.digest(site, device)
	return len(m.Proof) <= MaxRenewProof && ecdsa.VerifyASN1(key, digest[:], m.Proof)
}

func (m *Renew) digest(site string, device uint32) [sha256.Size]byte {
	return sha256.Sum256(append(fmt.Appendf(nil, "bugle renew 1\n%s\n%d\n", site, device), m.CSR...))
}

// Renewed answers a [Renew]: the certificate in DER, or none and why. If the site
// cannot be asked at the moment there is no answer.
type Renewed struct {
	Certificate []byte
	Reason      string
}

// Type returns TypeRenewed.
func (*Renewed) Type() Type { return TypeRenewed }

func (m *Renewed) encode(w *bounded.Writer) {
	w.Array(3)
	w.Uint(1)
	w.Bytes(m.Certificate, MaxCertificate)
	w.String(m.Reason, MaxText)
}

func (m *Renewed) decode(r *bounded.Reader) {
	r.Version(1)
	m.Certificate = r.Bytes(MaxCertificate)
	m.Reason = r.String(MaxText)
	r.End()
}

// PolicyProofs comes before the policy that ETag names, if that lists tasks: for
// each of its tasks, in order, the proof that this device is a target.
type PolicyProofs struct {
	ETag   string
	Proofs [][]byte // see [task.ParseProof]
}

// Type returns TypePolicyProofs.
func (*PolicyProofs) Type() Type { return TypePolicyProofs }

func (m *PolicyProofs) encode(w *bounded.Writer) {
	w.Array(3)
	w.Uint(1)
	w.Exact(m.ETag, MaxText)
	w.List(len(m.Proofs), MaxProofs)
	for _, p := range m.Proofs {
		w.Bytes(p, 32*(task.MaxPath+1))
	}
}

func (m *PolicyProofs) decode(r *bounded.Reader) {
	r.Version(1)
	m.ETag = r.String(MaxText)
	r.Array(MaxProofs)
	for r.More() {
		m.Proofs = append(m.Proofs, r.Bytes(32*(task.MaxPath+1)))
	}
	r.End()
	r.End()
}
