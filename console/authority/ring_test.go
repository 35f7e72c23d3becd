package authority_test

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func (s *site) rotate(t testing.TB, what string) {
	t.Helper()
	if _, err := s.RotateKey(t.Context(), admin, what, "test"); err != nil {
		t.Fatal(err)
	}
}

func (s *site) retire(t testing.TB, what string) {
	t.Helper()
	if _, err := s.RetireKeys(t.Context(), admin, what, "test", false, nil); err != nil {
		t.Fatal(err)
	}
}

// newest follows the rings from the task keys of the first day, as a device that
// was off does, and returns the last one.
func (s *site) newest(t testing.TB, keys []ed25519.PublicKey) task.Keyring {
	t.Helper()
	var r task.Keyring
	for i, signed := range s.Keyrings() {
		var err error
		if r, err = task.VerifyKeyring(signed, "P01", uint32(i+2), keys...); err != nil {
			t.Fatal(err)
		}
		keys = r.Task
	}
	return r
}

func sign(t testing.TB, s *site) task.Signed {
	t.Helper()
	targets, err := task.NewTargets(slices.Values([]uint32{1}))
	if err != nil {
		t.Fatal(err)
	}
	now := s.clock.Now()
	signed, err := s.SignTask(&task.Task{Operation: task.NewID(now), Kind: "policy.machine", Root: targets.Root(), Leaves: targets.Leaves(),
		NotBefore: now, DeliverBy: now.Add(time.Hour), RunTimeout: time.Minute, Requested: now})
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// A device of the first day that was off all the while ends up with the newest
// keys, and trusts exactly what is signed by those.
func TestRotation(t *testing.T) {
	s := newSite(t)
	first := s.TaskPublicKeys()
	old := sign(t, s)
	s.rotate(t, authority.KeyTask)
	s.rotate(t, authority.KeyPolicy)
	r := s.newest(t, first)
	if r.Number != 3 || len(r.Task) != 2 || len(r.Policy) != 2 || len(r.CA) != 1 || !r.Task[1].Equal(first[0]) {
		t.Fatalf("ring %+v", r)
	}
	if _, err := old.Verify("P01", r.Task...); err != nil {
		t.Errorf("what the old key signed: %v", err)
	}
	fresh := sign(t, s)
	if _, err := fresh.Verify("P01", first...); !errors.Is(err, task.ErrRefused) {
		t.Errorf("the new key does not sign yet: %v", err)
	}
	s.retire(t, authority.KeyTask)
	r = s.newest(t, first)
	if _, err := old.Verify("P01", r.Task...); !errors.Is(err, task.ErrRefused) {
		t.Errorf("what a retired key signed: %v", err)
	}
	if _, err := fresh.Verify("P01", r.Task...); err != nil {
		t.Errorf("what the new key signed: %v", err)
	}
	cancel, err := s.SignCancel(&task.Cancel{Operation: task.NewID(s.clock.Now()), At: s.clock.Now()})
	if err != nil {
		t.Fatal(err)
	}
	beacon, err := s.Beacon([16]byte{})
	if err != nil {
		t.Fatal(err)
	}
	_, signed, err := s.SignPolicy([]byte(`{"version":1}`))
	if err != nil {
		t.Fatal(err)
	}
	_, cerr := task.VerifyCancel(cancel, "P01", r.Task...)
	_, berr := task.VerifyBeacon(beacon, "P01", r.Task...)
	_, perr := task.VerifyPolicy(signed, "P01", r.Policy[0])
	if err := errors.Join(cerr, berr, perr); err != nil {
		t.Error(err)
	}
	// All of it is there again after a crash, from the journal and the files.
	s.restart(t)
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	if _, err := sign(t, s).Verify("P01", r.Task...); err != nil {
		t.Error(err)
	}
	ring, _ := s.Ring()
	if ring.Number != 4 || len(ring.Keys) != 4 || ring.Keys[0].Since != 2 || !ring.Keys[0].InUse || ring.Keys[2].InUse {
		t.Errorf("shown as %+v", ring)
	}
}

// A new authority signs devices at once; the site's ports stay under the old one,
// which devices that were off know, until that is retired.
func TestRotationOfTheCA(t *testing.T) {
	s := newSite(t)
	before, oldKey := s.join(t, s.token(t, 1, time.Hour))
	token := s.token(t, 2, day)
	certificates, err := s.ServerCertificates([]string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	oldCA := s.CACert()
	s.rotate(t, authority.KeyCA)
	after, _ := s.join(t, token)
	if len(after.CAs) != 2 || after.Keyring != 2 || string(after.CA) != string(oldCA.Raw) {
		t.Fatalf("ring %d, %d authorities", after.Keyring, len(after.CAs))
	}
	issuer := parse(t, after.CAs[0])
	if err := parse(t, after.Certificate).CheckSignatureFrom(issuer); err != nil {
		t.Errorf("not by the new authority: %v", err)
	}
	verify := func(cert *x509.Certificate, roots *x509.CertPool) error {
		_, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: s.clock.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		return err
	}
	for _, der := range [][]byte{before.Certificate, after.Certificate} {
		if err := verify(parse(t, der), s.ClientCAs()); err != nil {
			t.Error(err)
		}
	}
	server, err := certificates(nil)
	if err != nil || server.Leaf.CheckSignatureFrom(oldCA) != nil || string(server.Certificate[1]) != string(oldCA.Raw) {
		t.Errorf("the ports left the old authority early: %v", err)
	}
	_, err = s.RetireKeys(t.Context(), admin, authority.KeyCA, "", false, nil)
	refused(t, err, 409)
	if _, old := s.Ring(); old != 1 {
		t.Errorf("%d devices of the old authority, want 1", old)
	}
	s.clock.Add(5 * day)
	s.renew(t, before.Device, oldKey, newKey(t))
	s.retire(t, authority.KeyCA)
	if server, err = certificates(nil); err != nil || server.Leaf.CheckSignatureFrom(issuer) != nil {
		t.Errorf("the ports stay under a retired authority: %v", err)
	}
	if err := verify(parse(t, before.Certificate), s.ClientCAs()); err == nil {
		t.Error("a retired authority still vouches")
	}
	if err := verify(parse(t, before.Certificate), s.ListenerCAs()); err != nil {
		t.Errorf("listeners cannot come any more: %v", err)
	}
	// The token pins an authority that has gone.
	_, err = s.Join(t.Context(), request(t, token.String(), newKey(t)), "")
	refused(t, err, 403)
}

func TestRotationRefuses(t *testing.T) {
	s := newSite(t)
	_, err := s.RotateKey(t.Context(), admin, "head", "")
	refused(t, err, 422)
	_, err = s.RetireKeys(t.Context(), admin, "head", "", true, nil)
	refused(t, err, 422)
	_, err = s.RetireKeys(t.Context(), admin, authority.KeyTask, "", true, nil)
	refused(t, err, 409)
	id := task.KeyIDOf(s.TaskPublicKeys()[0])
	for range task.MaxKeys - 1 {
		s.rotate(t, authority.KeyTask)
	}
	_, err = s.RotateKey(t.Context(), admin, authority.KeyTask, "")
	refused(t, err, 409)
	busy := errors.New("busy")
	asked := 0
	inUse := func(old []task.KeyID) error {
		asked++
		if len(old) != task.MaxKeys-1 || !slices.Contains(old, id) {
			t.Errorf("asked about %v", old)
		}
		return busy
	}
	if _, err = s.RetireKeys(t.Context(), admin, authority.KeyTask, "", false, inUse); !errors.Is(err, busy) || asked == 0 {
		t.Errorf("retired keys that are in use: %v", err)
	}
	if _, err = s.RetireKeys(t.Context(), admin, authority.KeyTask, "", true, inUse); err != nil {
		t.Error(err)
	}
	if r := s.newest(t, s.first(t)); len(r.Task) != 1 {
		t.Errorf("%d task keys", len(r.Task))
	}
}

// first is the task keys of the first day.
func (s *site) first(t testing.TB) []ed25519.PublicKey {
	t.Helper()
	a, err := authority.Open(s.dir, "P01")
	if err != nil {
		t.Fatal(err)
	}
	return a.TaskPublicKeys() // it knows no journal
}

// Several who change keys at once make a chain all the same.
func TestRotationRace(t *testing.T) {
	s := newSite(t)
	var wg sync.WaitGroup
	for _, what := range []string{authority.KeyTask, authority.KeyPolicy, authority.KeyCA, authority.KeyTask, authority.KeyPolicy} {
		wg.Go(func() {
			if _, err := s.RotateKey(context.Background(), admin, what, ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if r := s.newest(t, s.first(t)); r.Number != 6 || len(r.Task) != 3 || len(r.Policy) != 3 || len(r.CA) != 2 {
		t.Errorf("ring %d with %d, %d and %d keys", r.Number, len(r.Task), len(r.Policy), len(r.CA))
	}
	sign(t, s)
}

// A crash anywhere between the file of the key and the event leaves a site that
// works, and the next try goes on.
func TestRotationAcrossACrash(t *testing.T) {
	for _, what := range []string{authority.KeyTask, authority.KeyPolicy, authority.KeyCA} {
		for name, fault := range map[string]journaltest.Fault{"not stored": journaltest.NotStored, "lost": journaltest.Lost, "lost but stored": journaltest.LostButStored} {
			t.Run(what+" "+name, func(t *testing.T) {
				s := newSite(t)
				first := s.TaskPublicKeys()
				s.journal.Inject(fault)
				if _, err := s.RotateKey(t.Context(), admin, what, ""); err == nil {
					t.Fatal("rotated although the append failed")
				}
				s.restart(t)
				if err := s.Check(); err != nil {
					t.Fatal(err)
				}
				if len(s.Keyrings()) == 0 {
					made, err := os.ReadFile(filepath.Join(s.dir, what+"-2.key"))
					if err != nil {
						t.Fatal(err)
					}
					s.rotate(t, what)
					if used, err := os.ReadFile(filepath.Join(s.dir, what+"-2.key")); err != nil || string(used) != string(made) {
						t.Errorf("the key of the first try is gone: %v", err)
					}
				}
				if r := s.newest(t, first); r.Number != 2 {
					t.Errorf("ring %d", r.Number)
				}
				sign(t, s)
				if _, err := s.Join(t.Context(), request(t, s.token(t, 1, time.Hour).String(), newKey(t)), ""); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A key that is in use and in no file stops the site before it can do harm.
func TestMissingKey(t *testing.T) {
	for _, file := range []string{"task-2.key", "ca-3.crt"} {
		t.Run(file, func(t *testing.T) {
			s := newSite(t)
			s.rotate(t, authority.KeyTask)
			s.rotate(t, authority.KeyCA)
			if err := os.Remove(filepath.Join(s.dir, file)); err != nil {
				t.Fatal(err)
			}
			s.restart(t)
			if err := s.Check(); err == nil {
				t.Error("nobody noticed")
			}
		})
	}
	s := newSite(t)
	s.rotate(t, authority.KeyTask)
	if err := os.Chmod(filepath.Join(s.dir, "task-2.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := authority.Open(s.dir, "P01"); err == nil {
		t.Error("a key that others can read is taken")
	}
}
