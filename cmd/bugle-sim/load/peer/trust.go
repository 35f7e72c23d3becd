package peer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// The files of trust that the server reads, in the peer's folder.
const (
	caFile   = "ca.crt"
	certFile = "server.crt"
	keyFile  = "server.key"
)

// The common names in certificates, by which a server knows who signs in.
const (
	agentPrefix = "agent-"
	backEndName = "back-end"
)

// firstAgent is the serial number of the first agent's certificate.
const firstAgent = 1000

// validity is how long certificates hold, which is longer than any run.
const validity = 7 * 24 * time.Hour

// trust is the CA and the certificates.
type trust struct {
	ca     *x509.Certificate
	key    crypto.Signer
	pool   *x509.CertPool
	agents []tls.Certificate
	back   tls.Certificate
}

// makeTrust makes a CA and the certificates that n agents, the back end and the server
// need, and writes what the server reads into dir.
func makeTrust(dir string, n int) (*trust, error) {
	tr := &trust{agents: make([]tls.Certificate, n), pool: x509.NewCertPool()}
	if err := tr.makeCA(dir); err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	var err error
	if tr.back, err = tr.certify(2, backEndName, x509.ExtKeyUsageClientAuth); err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	server, err := tr.certify(3, "server", x509.ExtKeyUsageServerAuth)
	if err == nil {
		err = writePair(dir, server)
	}
	if err != nil {
		return nil, fmt.Errorf("make certificate of server: %w", err)
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	const batch = 256
	for from := 0; from < n; from += batch {
		g.Go(func() (err error) {
			for i := from; i < min(n, from+batch); i++ {
				if tr.agents[i], err = tr.certify(int64(firstAgent+i), agentPrefix+strconv.Itoa(i), x509.ExtKeyUsageClientAuth); err != nil {
					return fmt.Errorf("make certificate of agent %d: %w", i, err)
				}
			}
			return nil
		})
	}
	return tr, g.Wait()
}

func (tr *trust) makeCA(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bugle-sim peer CA"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validity),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		return err
	}
	if tr.ca, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	tr.key = key
	tr.pool.AddCert(tr.ca)
	return writePEM(filepath.Join(dir, caFile), "CERTIFICATE", der)
}

// certify makes a key and a certificate. An agent's names a device of a site too, as
// listeners want it.
func (tr *trust) certify(serial int64, name string, usage x509.ExtKeyUsage) (c tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: tr.ca.NotBefore, NotAfter: tr.ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	if usage == x509.ExtKeyUsageServerAuth {
		form.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	if serial >= firstAgent {
		id := wire.Identity{Site: siteCode, Device: uint32(serial - firstAgent + 1), ID: task.NewRandomID()}
		form.URIs = []*url.URL{id.URI()}
	}
	der, err := x509.CreateCertificate(rand.Reader, form, tr.ca, key.Public(), tr.key)
	if err != nil {
		return c, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// client is how a client with a certificate shakes hands; sessions may be nil.
func (tr *trust) client(c *tls.Certificate, sessions tls.ClientSessionCache) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP256},
		RootCAs: tr.pool, ServerName: "127.0.0.1", ClientSessionCache: sessions,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil },
	}
}

// serverTLS is how the servers of Go shake hands, by the files in dir.
func serverTLS(dir string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("read certificate of server: %w", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		return nil, fmt.Errorf("read CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("read CA: %s holds no certificate", caFile)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP256},
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}

// whoIs is the agent's number by the name in its certificate, or whether it is the
// back end's.
func whoIs(state tls.ConnectionState) (agent int, back bool, err error) {
	name := state.PeerCertificates[0].Subject.CommonName
	if name == backEndName {
		return 0, true, nil
	}
	text, ok := strings.CutPrefix(name, agentPrefix)
	if agent, err = strconv.Atoi(text); !ok || err != nil || agent < 0 || agent >= maxAgents {
		return 0, false, fmt.Errorf("certificate of %q is no agent's", name)
	}
	return agent, false, nil
}

func writePair(dir string, c tls.Certificate) error {
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, keyFile), "PRIVATE KEY", der); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, certFile), "CERTIFICATE", c.Certificate[0])
}

func writePEM(name, kind string, der []byte) error {
	return os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
