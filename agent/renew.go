package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

const (
	renewRetry   = 20 * time.Minute // between two requests that are not answered
	renewCheck   = time.Hour        // how often it is looked whether one is due
	renewSpread  = 12               // requests are spread over a 12th of a certificate's time
	renewTimeout = time.Minute      // for one request over HTTPS
	maxOwnFile   = 16 << 10
)

// A wallet is the certificates of a device. A new one takes the place of the one
// in use once a listener has taken it; until then each is shown in turn. What is
// on disk is always enough to go on:
//
//	certificate.key.pem   a key, stored before a certificate is asked for it
//	certificate.next.pem  key and certificate, stored when the answer came
//	certificate.pem       the same file renamed, once a listener has taken it
//
// Without the last one the certificate in use is what joining brought.
type wallet struct {
	dir string

	mu      sync.Mutex
	current proof
	next    proof             // no certificate: there is none
	asked   *ecdsa.PrivateKey // nil: nothing is asked for
	early   float64           // of the spread, this device's share
	doubted bool              // the last request was refused: the key of the join proves the next
	turn    int               // odd: the one in use is shown, for the new one was not taken
	renewed time.Time         // when a certificate came last, monotonic
}

// load reads what is stored. What a power cut left half done is finished.
func (w *wallet) load(c *credentials) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.early = mrand.Float64()
	var err error
	if own, e := readProof(filepath.Join(w.dir, ownFile), c); e != nil {
		err = e
	} else if own.cert != nil {
		w.current = own
	}
	next, e := readProof(filepath.Join(w.dir, nextFile), c)
	err = errors.Join(err, e)
	w.next = next
	asked, e := readKey(filepath.Join(w.dir, askedFile))
	err = errors.Join(err, e)
	w.asked = asked
	if w.holds(asked) { // its certificate came, only the file had not gone
		w.forgetAsked()
	}
	return err
}

// holds tells whether a certificate for the key is here; the caller holds mu.
func (w *wallet) holds(key *ecdsa.PrivateKey) bool {
	return key != nil && (key.Equal(w.current.key) || w.next.key != nil && key.Equal(w.next.key))
}

func (w *wallet) forgetAsked() {
	w.asked = nil
	os.Remove(filepath.Join(w.dir, askedFile)) // load removes it if this fails
}

// readProof reads a file with a key and a certificate of this device; without
// the file there is no certificate in what it returns.
func readProof(path string, c *credentials) (proof, error) {
	b, err := readBounded(path, maxOwnFile)
	if b == nil || err != nil {
		return proof{}, err
	}
	first, rest := pem.Decode(b)
	var second *pem.Block
	if first != nil {
		second, _ = pem.Decode(rest)
	}
	if second == nil {
		return proof{}, fmt.Errorf("read %s: it does not hold a key and a certificate", path)
	}
	key, err := parseKey(first.Bytes)
	if err != nil {
		return proof{}, fmt.Errorf("read %s: %w", path, err)
	}
	cert, err := x509.ParseCertificate(second.Bytes)
	if err != nil {
		return proof{}, fmt.Errorf("read %s: %w", path, err)
	}
	if id, err := wire.IdentityOf(cert); err != nil || id != c.Identity || !key.PublicKey.Equal(cert.PublicKey) {
		return proof{}, fmt.Errorf("read %s: not a certificate of this device and its key", path)
	}
	return proof{key, cert}, nil
}

// newest is the certificate that came last; the caller holds mu.
func (w *wallet) newest() proof {
	if w.next.cert != nil {
		return w.next
	}
	return w.current
}

// show returns the certificate for a connection: the new one, unless it is the
// turn of the one in use.
func (w *wallet) show() tls.Certificate {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next.cert != nil && w.turn%2 == 0 {
		return w.next.tls()
	}
	return w.current.tls()
}

// refused says that no session came of what show returned.
func (w *wallet) refused() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turn++
}

func (p proof) tls() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.cert.Raw}, PrivateKey: p.key, Leaf: p.cert}
}

// taken says that a listener took what show returned. If that is the new one, it
// is the one in use from now on; if not, the new one is tried again next time. A
// new one comes only in a session or between two connections, so that show still
// returns the same.
func (w *wallet) taken() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next.cert == nil || w.turn%2 == 1 {
		w.turn = 0
		return nil
	}
	if err := os.Rename(filepath.Join(w.dir, nextFile), filepath.Join(w.dir, ownFile)); err != nil {
		return fmt.Errorf("keep new certificate: %w", err)
	}
	w.current, w.next, w.turn = w.next, proof{}, 0
	return syncDir(w.dir)
}

// due is how long it is until a certificate is to be asked for, at now.
func (w *wallet) due(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.newest().cert
	life := c.NotAfter.Sub(c.NotBefore)
	at := c.NotBefore.Add(life/3*2 + time.Duration(w.early*float64(life/renewSpread)))
	return at.Sub(now)
}

func (w *wallet) expired(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return now.After(w.newest().cert.NotAfter)
}

// request returns a certificate request for a key that is stored: as long as no
// answer came, for the same key.
func (w *wallet) request() ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked == nil {
		key, err := makeKey(filepath.Join(w.dir, askedFile))
		if err != nil {
			return nil, err
		}
		w.asked = key
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader,
		&x509.CertificateRequest{Subject: pkix.Name{CommonName: w.current.cert.Subject.CommonName}}, w.asked)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return csr, nil
}

// renewal is the request for a new certificate, with the proof that this device
// asks: by the key of its newest certificate. If that was refused the key of the
// join proves the next, and so in turn: a site that was restored from a copy may
// know that one alone.
func (c *credentials) renewal() (*wire.Renew, error) {
	csr, err := c.own.request()
	if err != nil {
		return nil, err
	}
	w := &c.own
	w.mu.Lock()
	key := w.newest().key
	if w.doubted {
		key = c.joined.key
	}
	w.mu.Unlock()
	m := &wire.Renew{CSR: csr}
	if err := m.Prove(key, c.Site, c.Device); err != nil {
		return nil, err
	}
	return m, nil
}

// doubt says that the site refused what renewal returned.
func (w *wallet) doubt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doubted = !w.doubted
}

// put checks and stores the certificate that was asked for. One that nobody asked
// for changes nothing.
func (w *wallet) put(der []byte, c *credentials) (*x509.Certificate, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked == nil {
		return nil, nil
	}
	p, err := newProof(der, w.asked, c.keys.Load())
	if err != nil {
		return nil, err
	}
	if id, err := wire.IdentityOf(p.cert); err != nil || id != c.Identity {
		return nil, fmt.Errorf("certificate: names %v, not this device: %w", id.URI(), errors.Join(err, errNotOurs))
	}
	b, err := keyPEM(p.key)
	if err != nil {
		return nil, err
	}
	b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := writeDurable(filepath.Join(w.dir, nextFile), b); err != nil {
		return nil, err
	}
	w.next, w.turn, w.doubted, w.renewed = p, 0, false, time.Now()
	w.forgetAsked()
	return p.cert, nil
}

var errNotOurs = errors.New("it is another's")

// now is the site's time if it is known, else the machine's.
func (a *Agent) now() time.Time {
	if now, _, _ := a.clock.read(); !now.IsZero() {
		return now
	}
	return a.cfg.Clocks().Wall
}

// renew asks for a new certificate if that is due, and returns when to look
// again.
func (s *session) renew() time.Duration {
	if wait := s.a.id.own.due(s.a.now()); wait > 0 {
		return min(wait, renewCheck)
	}
	m, err := s.a.id.renewal()
	if err == nil {
		s.a.cfg.Log.Debug("ask for a new certificate")
		err = s.send(m)
	}
	if err != nil {
		s.a.cfg.Log.Error("certificate is not renewed", "err", err)
	}
	return renewRetry/2 + jitter(renewRetry)
}

// renewed takes the answer. What is wrong with it concerns nothing else: the
// certificate in use goes on, and the agent asks again.
func (s *session) renewed(m *wire.Renewed) {
	if len(m.Certificate) == 0 {
		s.a.id.own.doubt()
		s.a.notRenewed(fmt.Errorf("renew certificate: the site refuses: %s", cut(m.Reason, wire.MaxText)))
		return
	}
	s.a.putCertificate(m.Certificate)
}

func (a *Agent) putCertificate(der []byte) error {
	cert, err := a.id.own.put(der, a.id)
	if err != nil {
		a.notRenewed(fmt.Errorf("renew certificate: %w", err))
		return err
	}
	if cert != nil {
		a.cfg.Log.Info("new certificate", "expires", cert.NotAfter)
		a.status.update(func(s *Status) { s.Certificate = cert.NotAfter })
	}
	return nil
}

func (a *Agent) notRenewed(err error) {
	a.cfg.Log.Error("certificate is not renewed", "err", err)
	a.status.update(func(s *Status) { s.LastError = err.Error() })
}

// certificateTaken follows a sign-in.
func (a *Agent) certificateTaken() {
	if err := a.id.own.taken(); err != nil {
		a.cfg.Log.Error("new certificate", "err", err)
	}
}

// revive renews a certificate that has expired while the machine was off: no
// listener takes it any more, but the HTTPS port does, for this alone. It says
// what came of it; nil if nothing is to be done.
func (a *Agent) revive(ctx context.Context) error {
	w := &a.id.own
	w.mu.Lock()
	recent := !w.renewed.IsZero() && time.Since(w.renewed) < renewCheck
	w.mu.Unlock()
	if recent || !w.expired(a.now()) {
		return nil
	}
	m, err := a.id.renewal()
	if err != nil {
		return err
	}
	err = errors.New("certificate has expired, and no HTTPS port of the site is known: join again")
	for _, address := range a.httpsAddresses() {
		var reply *wire.RenewReply
		if reply, err = a.postRenew(ctx, address, m); err == nil {
			if err = a.takeRings(reply.Rings); err == nil {
				err = a.putCertificate(reply.Certificate)
			}
		}
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		if no := (*wire.JoinError)(nil); errors.As(err, &no) && !errors.Is(err, ErrUnreachable) {
			w.doubt()
		}
		return fmt.Errorf("renew expired certificate: %w", err)
	}
	return nil
}

func (a *Agent) takeRings(rings [][]byte) error {
	changed := false
	for _, signed := range rings {
		taken, err := a.id.takeKeyring(a.dir, signed)
		if err != nil {
			return fmt.Errorf("keyring: %w", err)
		}
		changed = changed || taken
	}
	if changed {
		a.keysChanged()
	}
	return nil
}

func (a *Agent) postRenew(ctx context.Context, address string, m *wire.Renew) (*wire.RenewReply, error) {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	body, err := json.Marshal(wire.RenewRequest{CSR: m.CSR, Proof: m.Proof})
	if err != nil {
		return nil, err
	}
	client, err := a.httpsClient(address, false)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+wire.RenewPath, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer resp.Body.Close()
	return readJSON[wire.RenewReply](resp, maxReply)
}

// readJSON reads what the HTTPS port answers: a reply, or a refusal.
func readJSON[R any](resp *http.Response, max int64) (*R, error) {
	b, err := io.ReadAll(io.LimitReader(resp.Body, max+1))
	if err != nil {
		return nil, fmt.Errorf("%w: read reply: %w", ErrUnreachable, err)
	}
	if int64(len(b)) > max {
		return nil, fmt.Errorf("read reply: more than %d bytes", max)
	}
	if resp.StatusCode != http.StatusOK {
		refusal := &wire.JoinError{}
		if json.Unmarshal(b, refusal) != nil || refusal.Title == "" {
			refusal = &wire.JoinError{Title: http.StatusText(resp.StatusCode), Detail: "no reason was given"}
		}
		refusal.Status = resp.StatusCode
		if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, refusal)
		}
		return nil, refusal
	}
	reply := new(R)
	if err := json.Unmarshal(b, reply); err != nil {
		return nil, fmt.Errorf("read reply: %w", err)
	}
	return reply, nil
}

// maxReply bounds an answer of the HTTPS port: a renewal brings all rings.
const maxReply = 16 << 20

// expires is when the newest certificate does.
func (w *wallet) expires() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.newest().cert.NotAfter
}
