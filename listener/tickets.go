package listener

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// ticketTime is how long after a full handshake a device may come with tickets: then
// it must prove again that it has the key of its certificate.
const ticketTime = 24 * time.Hour

const preSharedKey = 41 // the extension that shows a ticket, RFC 8446, 4.2

// withTickets lets sessions of base be resumed for [ticketTime]. The keys of the
// tickets are base's, which crypto/tls makes and changes daily: they are in memory
// alone and end with the process.
//
// With a the tickets hold who the device is instead of its certificate, for as long
// as that is known: a session that is resumed costs no certificate to be parsed, nor
// the memory to keep it. Without, connections have the certificate in any case.
func withTickets(base *tls.Config, a *admission) *tls.Config {
	newResumption(base, base, a)
	plain := base.Clone()
	spare := &sync.Pool{New: func() any { return newResumption(plain.Clone(), base, a) }}
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if !slices.Contains(hello.Extensions, preSharedKey) {
			return nil, nil // base will do
		}
		r := spare.Get().(*resumption)
		r.visitor, _ = hello.Conn.(visiting)
		if r.visitor != nil {
			r.visitor.lend(func() { r.visitor = nil; spare.Put(r) })
		}
		return r.config, nil
	}
	return base
}

// A resumption is the configuration of one handshake at a time that may resume a
// session. The connection keeps it, and asks it nothing about tickets any more: so
// the next handshake can have it too.
type resumption struct {
	config  *tls.Config
	base    *tls.Config
	a       *admission // may be nil
	visitor visiting   // whose handshake it is, nil if nobody is to be told
	taken   ticket     // the one that was taken
}

// newResumption makes c give and take tickets by the keys of base, which itself takes
// none. If one is taken, the ticket that follows is as old.
func newResumption(c, base *tls.Config, a *admission) *resumption {
	r := &resumption{config: c, base: base, a: a}
	c.WrapSession = r.wrap
	c.UnwrapSession = r.unwrap
	if c == base {
		c.UnwrapSession = func([]byte, tls.ConnectionState) (*tls.SessionState, error) { return nil, nil }
		return r
	}
	if a != nil {
		c.ClientAuth = tls.RequestClientCert // else crypto/tls takes no ticket without; check insists on one
		c.VerifyConnection = r.verify
	}
	return r
}

func (r *resumption) wrap(cs tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
	t := ticket{proven: uint64(time.Now().Unix())}
	if cs.DidResume {
		t = r.taken
	}
	if r.a != nil && len(cs.PeerCertificates) == 1 {
		s = r.slim(s, &t, cs.PeerCertificates[0])
	}
	s.Extra = append(s.Extra, t.append(nil))
	return r.base.EncryptTicket(cs, s)
}

// slim returns s without the certificate of the device, and notes it in t; or s as it
// is, if the certificate alone does not make it known. The device has proved its key:
// crypto/tls gives no ticket before.
func (r *resumption) slim(s *tls.SessionState, t *ticket, shown *x509.Certificate) *tls.SessionState {
	print := fingerprintOf(shown)
	id, err := wire.IdentityOf(shown)
	if err != nil || !r.a.known.meet(shown, print, time.Now()) {
		return s
	}
	slim, ok := withoutCertificate(s, shown)
	if !ok {
		return s
	}
	t.print, t.device, t.id = print, id.Device, id.ID
	return slim
}

// withoutCertificate returns s without the certificate that the client has shown. It
// looks for nothing but the list of RFC 8446, 4.4.2 that holds exactly this one, and
// makes it an empty one; false means that s is encoded otherwise, as it may be by
// another version of Go.
func withoutCertificate(s *tls.SessionState, shown *x509.Certificate) (*tls.SessionState, bool) {
	whole, err := s.Bytes()
	if err != nil {
		return nil, false
	}
	before, after, ok := bytes.Cut(whole, certificateList(shown.Raw))
	if !ok {
		return nil, false
	}
	slim, err := tls.ParseSessionState(slices.Concat(before, certificateList(nil), after))
	return slim, err == nil
}

// certificateList is a list of one certificate without extensions, or of none.
func certificateList(der []byte) []byte {
	if der == nil {
		return uint24(nil, 0)
	}
	b := uint24(nil, 3+len(der)+2)
	b = append(uint24(b, len(der)), der...)
	return append(b, 0, 0)
}

func uint24(b []byte, n int) []byte { return append(b, byte(n>>16), byte(n>>8), byte(n)) }

func (r *resumption) unwrap(encrypted []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
	s, err := r.base.DecryptTicket(encrypted, cs)
	if s == nil || err != nil {
		return nil, err
	}
	t, ok := ticketOf(s.Extra)
	switch {
	case !ok || !t.isFresh(time.Now()):
		return nil, nil
	case t.isSlim() && (r.a == nil || !r.a.isKnown(t.print)):
		return nil, nil // a full handshake shows the certificate
	}
	r.taken = t
	return s, nil
}

// verify is [admission.check] for who may have shown no certificate since the one
// that was checked before the ticket was made. The visitor is told who it is.
func (r *resumption) verify(cs tls.ConnectionState) error {
	if !cs.DidResume || !r.taken.isSlim() {
		return r.a.check(cs)
	}
	if r.visitor == nil {
		return errNoCertificate
	}
	if err := r.a.checkKnown(cs, r.taken.print); err != nil {
		return err
	}
	r.visitor.identify(wire.Identity{Site: r.a.site, Device: r.taken.device, ID: r.taken.id})
	return nil
}

// A ticket is what a TLS ticket holds of ours. What is behind the first field is
// there if the ticket holds no certificate.
type ticket struct {
	proven uint64 // the moment of the full handshake, Unix seconds
	print  fingerprint
	device uint32 // not 0
	id     task.ID
}

// ticketMark begins it.
var ticketMark = []byte("bugle2")

func (t *ticket) isSlim() bool { return t.device != 0 }

func (t *ticket) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(append(b, ticketMark...), t.proven)
	if !t.isSlim() {
		return b
	}
	b = binary.BigEndian.AppendUint32(append(b, t.print[:]...), t.device)
	return append(b, t.id[:]...)
}

func ticketOf(extra [][]byte) (t ticket, ok bool) {
	for _, e := range extra {
		b, ok := bytes.CutPrefix(e, ticketMark)
		if !ok || len(b) != 8 && len(b) != 8+len(t.print)+4+len(t.id) {
			continue
		}
		if t.proven = binary.BigEndian.Uint64(b); len(b) == 8 {
			return t, true
		}
		b = b[8+copy(t.print[:], b[8:]):]
		t.device = binary.BigEndian.Uint32(b)
		copy(t.id[:], b[4:])
		return t, t.isSlim()
	}
	return t, false
}

func (t *ticket) isFresh(now time.Time) bool {
	age := now.Unix() - int64(t.proven)
	return age >= 0 && age <= int64(ticketTime/time.Second)
}
