package agent

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func newEd25519() ed25519.PrivateKey {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	return must(k, err)
}

func publicKey(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// ring signs a ring with these task keys by a key of the ring before.
func (s *site) ring(number uint32, by ed25519.PrivateKey, tasks ...ed25519.PrivateKey) []byte {
	r := task.Keyring{Site: s.id.Site, Number: number, At: s.now(), Policy: []ed25519.PublicKey{publicKey(s.policy)}, CA: [][]byte{s.ca.Raw}}
	for _, k := range tasks {
		r.Task = append(r.Task, publicKey(k))
	}
	return must(r.Sign(by))
}

// rings changes the task key of the site once for each ring up to newest: each
// ring trusts the key that is new and the one before. It returns them.
func (s *site) rings(newest uint32) (all [][]byte) {
	for n := uint32(2); n <= newest; n++ {
		next := newEd25519()
		all = append(all, s.ring(n, s.tasks, next, s.tasks))
		s.tasks = next
	}
	return all
}

// A device that was off while keys changed twice is told behind the welcome, and
// then trusts the newest keys and no others.
func TestKeyringsCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		dir := s.device()
		first := s.tasks
		rings := s.rings(3) // the key of ring 1 is not in ring 3
		a := s.start(dir, s.config())
		p := s.accept()
		if p.SignIn.Keyring != 1 {
			t.Errorf("signs in with ring %d", p.SignIn.Keyring)
		}
		p.welcome() // whose beacon is by the newest key
		for _, r := range rings {
			p.send(&wire.Keyring{Signed: r})
		}
		m := s.order("policy.machine", nil)
		p.send(m)
		p.expect(operationOf(m), task.Delivered, task.Running, task.Succeeded)
		newest := s.tasks
		s.tasks = first
		old := s.order("policy.machine", nil)
		s.tasks = newest
		p.send(old)
		if r := p.result(); r.Operation != operationOf(old) || r.State != task.Refused {
			t.Errorf("a task by a key that is retired is %s", r.State)
		}
		for told := ""; told != "3"; { // maybe 2 before
			f := (<-p.facts).Facts
			if len(f) != 1 || f[0].Name != factKeyring {
				t.Fatalf("tells %v", f)
			}
			told = f[0].Value
		}
		synctest.Wait()
		a.halt()
		st := must(ReadStatus(dir))
		s.start(dir, s.config())
		p = s.accept()
		if p.SignIn.Keyring != 3 || st.Keyring != 3 {
			t.Errorf("after a restart it signs in with ring %d, status %d", p.SignIn.Keyring, st.Keyring)
		}
		p.welcome()
		synctest.Wait()
		select {
		case f := <-p.facts:
			t.Errorf("tells again: %v", f.Facts)
		default:
		}
	})
}

// While it is connected a device follows at once; what the old key signed before
// is good as long as the ring says so.
func TestKeyringChangesInASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		s.start(s.device(), s.config())
		p := s.accept().welcome()
		old := s.order("policy.machine", nil)
		for _, r := range s.rings(2) {
			p.send(&wire.Keyring{Signed: r})
			p.send(&wire.Keyring{Signed: r}) // twice is once
		}
		fresh := s.order("policy.machine", nil)
		for _, m := range []*wire.Task{old, fresh} {
			p.send(m)
			p.expect(operationOf(m), task.Delivered, task.Running, task.Succeeded)
		}
	})
}

func TestKeyringsThatAreNotTaken(t *testing.T) {
	for name, bad := range map[string]func(s *site) []byte{
		"signed by another key":    func(s *site) []byte { k := newEd25519(); return s.ring(2, k, k) },
		"signed by the policy key": func(s *site) []byte { return s.ring(2, s.policy, s.policy) },
		"one is missing":           func(s *site) []byte { return s.rings(3)[1] },
		"of another site": func(s *site) []byte {
			s.id.Site = "P02"
			defer func() { s.id.Site = "P01" }()
			return s.ring(2, s.tasks, s.tasks)
		},
		"one byte is changed": func(s *site) []byte { b := s.ring(2, s.tasks, s.tasks); b[20] ^= 1; return b },
		"garbage":             func(*site) []byte { return []byte("keys") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, 0)
				dir := s.device()
				s.start(dir, s.config())
				p := s.accept().welcome()
				synctest.Wait()
				genuine := s.tasks
				p.send(&wire.Keyring{Signed: bad(s)})
				s.tasks = genuine
				<-p.done // whoever brings such a ring is left
				p = s.accept()
				if p.SignIn.Keyring != 1 || there(dir, keyringFile) {
					t.Errorf("trusts ring %d", p.SignIn.Keyring)
				}
				p.welcome()
				m := s.order("policy.machine", nil)
				p.send(m)
				p.expect(operationOf(m), task.Delivered, task.Running, task.Succeeded)
			})
		})
	}
}

// Instead of the rings that would make the beacon genuine something else comes.
func TestWelcomeOfAnUnknownKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		dir := s.device()
		s.start(dir, s.config())
		s.rings(2) // nobody tells
		p := s.accept().welcome()
		p.send(s.order("policy.machine", nil))
		<-p.done
		if st := must(ReadStatus(dir)); st.Connected {
			t.Error("connected")
		}
	})
}

// An older ring, which a listener replays, changes nothing and ends nothing.
func TestOlderKeyring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		a := s.start(s.device(), s.config())
		p := s.accept().welcome()
		rings := s.rings(3)
		for _, r := range [][]byte{rings[0], rings[1], rings[0], rings[1]} {
			p.send(&wire.Keyring{Signed: r})
		}
		m := s.order("policy.machine", nil)
		p.send(m)
		p.expect(operationOf(m), task.Delivered, task.Running, task.Succeeded)
		if n := a.id.keys.Load().number; n != 3 {
			t.Errorf("ring %d", n)
		}
	})
}

// A ring that cannot be stored is not trusted.
func TestKeyringIsDurableFirst(t *testing.T) {
	s := newSite(t, 0)
	dir := s.device()
	c := must(loadCredentials(dir))
	if err := os.Mkdir(filepath.Join(dir, keyringFile), 0o700); err != nil {
		t.Fatal(err)
	}
	ring := s.rings(2)[0]
	if taken, err := c.takeKeyring(dir, ring); taken || err == nil || c.keys.Load().number != 1 {
		t.Errorf("taken %v, %v: ring %d", taken, err, c.keys.Load().number)
	}
	if err := os.Remove(filepath.Join(dir, keyringFile)); err != nil {
		t.Fatal(err)
	}
	if taken, err := c.takeKeyring(dir, ring); !taken || err != nil {
		t.Errorf("not taken: %v", err)
	}
}

// A stored ring that is damaged is said; a device that joined under a newer one
// needs it no more.
func TestStoredKeyring(t *testing.T) {
	s := newSite(t, 0)
	dir := s.device()
	path := filepath.Join(dir, keyringFile)
	ring := s.rings(2)[0]
	for name, b := range map[string][]byte{"cut": ring[:40], "of another site": newSite(t, 0).otherSite()} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadCredentials(dir); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	key := must(keyIn(dir))
	reply := s.admit(&key.PublicKey)
	reply.Keyring, reply.CAs = 2, [][]byte{s.ca.Raw}
	if err := storeIdentity(dir, reply); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(path, ring, 0o600)
	if c, err := loadCredentials(dir); err != nil || c.keys.Load().number != 2 || len(c.taskKeys()) != 1 {
		t.Errorf("%v", err)
	}
}

func (s *site) otherSite() []byte {
	s.id.Site = "P02"
	return s.ring(2, s.tasks, s.tasks)
}

// A new authority is trusted with its ring, the old one until a ring is without
// it.
func TestAuthorityChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		dir := s.device()
		a := s.start(dir, s.config())
		p := s.accept().welcome()
		synctest.Wait()
		oldCA, oldKey := s.ca, s.caKey
		newKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		s.caKey = newKey
		newCA := s.certify(&x509.Certificate{Subject: pkix.Name{CommonName: "P01 CA"}, IsCA: true,
			BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, &newKey.PublicKey, nil)
		change := func(number uint32, cas ...*x509.Certificate) {
			r := task.Keyring{Site: "P01", Number: number, At: s.now(), Task: []ed25519.PublicKey{publicKey(s.tasks)}, Policy: []ed25519.PublicKey{publicKey(s.policy)}}
			for _, ca := range cas {
				r.CA = append(r.CA, ca.Raw)
			}
			p.send(&wire.Keyring{Signed: must(r.Sign(s.tasks))})
			synctest.Wait()
		}
		trusts := func(ca *x509.Certificate, key *ecdsa.PrivateKey) bool {
			s.ca, s.caKey = ca, key
			leaf := must(x509.ParseCertificate(s.server(nil).Certificate[0]))
			return a.id.verifyServer([]*x509.Certificate{leaf, ca}, "listener.test", s.now()) == nil
		}
		for i, want := range []struct{ old, new bool }{{true, false}, {true, true}, {false, true}} {
			switch i {
			case 1:
				change(2, newCA, oldCA)
			case 2:
				change(3, newCA)
			}
			if o, n := trusts(oldCA, oldKey), trusts(newCA, newKey); o != want.old || n != want.new {
				t.Errorf("ring %d: the old one is trusted: %v, the new one: %v", i+1, o, n)
			}
		}
		s.ca, s.caKey = oldCA, oldKey
	})
}

// A policy whose key is retired stays in force and is fetched anew.
func TestPolicyOfARetiredKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 0)
		dir := s.device()
		body := []byte(`{"version":1,"keepAliveSeconds":100}`)
		signed := func() []byte { return must((&task.Policy{Site: "P01", Body: body}).Sign(s.policy)) }
		a := s.start(dir, s.config())
		p := s.accept()
		asked := make(chan string, 16)
		p.etag = (&task.Policy{Body: body}).ETag()
		p.policyF = func(m *wire.PolicyRequest) [][]byte {
			asked <- m.ETag
			if m.ETag == p.etag {
				return nil
			}
			return [][]byte{signed()}
		}
		p.welcome()
		if tag := <-asked; tag != "" {
			t.Errorf("asks with %q", tag)
		}
		synctest.Wait()
		next := newEd25519()
		r := task.Keyring{Site: "P01", Number: 2, At: s.now(), Task: []ed25519.PublicKey{publicKey(s.tasks)},
			Policy: []ed25519.PublicKey{publicKey(next)}, CA: [][]byte{s.ca.Raw}}
		s.policy = next
		p.send(&wire.Keyring{Signed: must(r.Sign(s.tasks))})
		select {
		case tag := <-asked:
			if tag != "" {
				t.Errorf("asks with %q", tag)
			}
		case <-time.After(time.Minute):
			t.Fatal("the policy is not fetched anew")
		}
		synctest.Wait()
		a.halt()
		b := s.start(dir, s.config())
		if b.policy.etag() != p.etag {
			t.Error("after a restart there is no policy")
		}
	})
}

// FuzzKeyring: whatever a listener sends as a ring, only what the site signed is
// trusted.
func FuzzKeyring(f *testing.F) {
	s := newSite(f, 0)
	key := s.tasks
	genuine := s.ring(2, key, key)
	f.Add(genuine)
	f.Add(s.ring(3, key, key))
	f.Add([]byte("bugle keyring 1\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &credentials{Identity: s.id}
		c.keys.Store(&keyring{number: 1, tasks: []ed25519.PublicKey{publicKey(key)}})
		taken, err := c.takeKeyring(dir, b)
		if taken != (c.keys.Load().number == 2) || taken && (err != nil || string(b) != string(genuine)) {
			t.Errorf("taken %v, %v", taken, err)
		}
	})
}
