package wire

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// JoinPath is where the HTTPS port takes a [JoinRequest], as a POST of JSON.
// Until it has joined an agent has no certificate; this is all it can reach.
const JoinPath = "/join"

// MaxJoin is the longest join request or reply in bytes.
const MaxJoin = 64 << 10

// JoinRequest is how a device asks to be one of a site's.
type JoinRequest struct {
	Token string `json:"token"` // its whole text, see [Token]
	CSR   []byte `json:"csr"`   // PKCS #10 in DER, ECDSA P-256, made and signed on the device
	Name  string `json:"name"`  // host name
	OS    string `json:"os"`
	Arch  string `json:"arch"`
	Agent string `json:"agent"` // the agent's version
}

// JoinReply is what a device needs from then on.
type JoinReply struct {
	Site        string    `json:"site"`
	Device      uint32    `json:"device"`      // the device's number
	ID          string    `json:"id"`          // the device's UUID
	Certificate []byte    `json:"certificate"` // in DER
	Expires     time.Time `json:"expires"`
	CA          []byte    `json:"ca"`         // in DER
	TaskKeys    [][]byte  `json:"taskKeys"`   // Ed25519 public keys that sign tasks and beacons
	PolicyKeys  [][]byte  `json:"policyKeys"` // Ed25519 public keys that sign policy
	ResultKey   []byte    `json:"resultKey"`  // the site's public half for [task.ResultKey], P-256, uncompressed
	Listeners   []string  `json:"listeners"`  // host:port of the TCP carrier, best first

	// What follows came later; a reply without it is taken.
	Keyring uint32   `json:"keyring,omitempty"` // number of the ring that the keys are of; 0 is 1
	CAs     [][]byte `json:"cas,omitempty"`     // all authorities of that ring, in DER, CA among them; none is CA alone
	HTTPS   []string `json:"https,omitempty"`   // host:port of the HTTPS carrier, best first
}

// RenewPath is where the HTTPS port takes a [RenewRequest], as a POST of JSON,
// from a device whose certificate has expired; it shows that certificate in the
// handshake. Whose has not expired may renew here too.
const RenewPath = "/renew"

// RenewRequest asks for a new certificate. The answer is a [RenewReply], or a
// [JoinError].
type RenewRequest struct {
	CSR   []byte `json:"csr"`             // PKCS #10 in DER, signed by the key that the certificate is to have
	Proof []byte `json:"proof,omitempty"` // of a device, see [Renew.Prove]
}

// RenewReply answers a [RenewRequest].
type RenewReply struct {
	Certificate []byte   `json:"certificate"`     // in DER
	Rings       [][]byte `json:"rings,omitempty"` // all signed [task.Keyring], from 2 on: the device may have missed some
}

// ListenerJoinRequest is how a listener that runs apart asks to be one of a
// site's. The token says its name.
type ListenerJoinRequest struct {
	Token  string   `json:"token"`  // its whole text, see [Token]
	CSR    []byte   `json:"csr"`    // PKCS #10 in DER, ECDSA P-256: the key of its TLS certificate
	BoxKey []byte   `json:"boxKey"` // Ed25519 public key with which it signs its files
	TCP    []string `json:"tcp"`    // host:port where agents reach it, best first; hosts stand in its certificate
	HTTPS  []string `json:"https"`  // the same for the HTTPS carrier
}

// ListenerJoinReply is what a listener needs from then on.
type ListenerJoinReply struct {
	Site        string    `json:"site"`
	Name        string    `json:"name"`
	Epoch       uint32    `json:"epoch"`       // of its files, from number 1
	Certificate []byte    `json:"certificate"` // in DER, for both ends of a connection
	Expires     time.Time `json:"expires"`
	Issuer      []byte    `json:"issuer"` // in DER: the authority that signed Certificate
	CAs         [][]byte  `json:"cas"`    // all authorities of the newest ring, in DER
	Keyring     uint32    `json:"keyring"`
	TaskKeys    [][]byte  `json:"taskKeys"` // of the newest ring
	PolicyKeys  [][]byte  `json:"policyKeys"`
	Rings       [][]byte  `json:"rings"` // all signed [task.Keyring], from 2 on
}

// ListenerRenewReply answers a listener that renews its certificate with a
// [RenewRequest].
type ListenerRenewReply struct {
	Certificate []byte   `json:"certificate"` // in DER
	Issuer      []byte   `json:"issuer"`      // in DER
	CAs         [][]byte `json:"cas"`
}

// ListenerEpochRequest asks for the next epoch: the counter of the listener's
// files is gone, or its key is another one.
type ListenerEpochRequest struct {
	BoxKey []byte `json:"boxKey"`
}

// ListenerEpochReply answers a [ListenerEpochRequest].
type ListenerEpochReply struct {
	Epoch uint32 `json:"epoch"`
}

// JoinError is the body of an answer that is not 200, by RFC 9457.
type JoinError struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func (e *JoinError) Error() string { return e.Title + ": " + e.Detail }

// A Token lets devices join. Its text is
//
//	bugle1.ID.SECRET.HASH
//
// with HASH the SHA-256 of the site CA's public key (its SubjectPublicKeyInfo in
// DER) in hexadecimal: the agent knows by it whom it talks to before it sends
// the secret.
type Token struct {
	ID     string   // 16 hexadecimal digits
	Secret string   // 32 hexadecimal digits
	CA     [32]byte // what the agent pins
}

const tokenPrefix = "bugle1"

// String returns the text of the token. It holds the secret.
func (t Token) String() string {
	return strings.Join([]string{tokenPrefix, t.ID, t.Secret, hex.EncodeToString(t.CA[:])}, ".")
}

// ErrToken is wrapped by the errors of [ParseToken].
var ErrToken = errors.New("not a join token")

// ParseToken reads the text of a token.
func ParseToken(s string) (Token, error) {
	part := strings.Split(strings.TrimSpace(s), ".")
	switch {
	case len(part) != 4 || part[0] != tokenPrefix:
		return Token{}, fmt.Errorf("%w: it looks like bugle1.ID.SECRET.HASH", ErrToken)
	case !isHex(part[1], 16) || !isHex(part[2], 32) || !isHex(part[3], 64):
		return Token{}, fmt.Errorf("%w: a part of it is cut or mistyped", ErrToken)
	}
	t := Token{ID: part[1], Secret: part[2]}
	hex.Decode(t.CA[:], []byte(part[3]))
	return t, nil
}

func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
