package peer

import (
	"crypto/tls"
	"testing"
	"time"
)

// TestStrangersAreRefused holds for every peer: no certificate, one of another CA, and
// an older TLS.
func TestStrangersAreRefused(t *testing.T) { each(t, strangersAreRefused) }

func strangersAreRefused(t *testing.T, name string) {
	s := open(t, name, 1, -1)
	other, err := makeTrust(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	own := s.settings(&s.trust.agents[0], nil)
	older := own.Clone()
	older.MinVersion, older.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for what, config := range map[string]*tls.Config{
		"no certificate": s.settings(new(tls.Certificate), nil),
		"another CA's":   s.settings(&other.agents[0], nil),
		"TLS 1.2":        older,
	} {
		if err := taken(t, s, config); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	if err := taken(t, s, own); err != nil {
		t.Errorf("an agent is refused: %v", err)
	}
}

// taken tells whether a server lets a client say something. It learns of a refused
// certificate only by reading.
func taken(t *testing.T, s *stage, config *tls.Config) error {
	t.Helper()
	c, err := tls.Dial("tcp4", s.address, config)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(s.kind.speak(0).hello(0)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

func TestEachHasItsCertificate(t *testing.T) {
	const n = 600 // more than a batch
	tr, err := makeTrust(t.TempDir(), n)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, c := range tr.agents {
		if len(c.Certificate) != 1 {
			t.Fatalf("agent %d has no certificate", i)
		}
		seen[string(c.Certificate[0])] = true
	}
	if len(seen) != n {
		t.Errorf("%d certificates for %d agents", len(seen), n)
	}
}
