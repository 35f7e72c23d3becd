package relay

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func status(err error) int {
	var no *listener.JoinRefused
	if errors.As(err, &no) {
		return no.Status
	}
	return 0
}

func TestWhoIsAnswered(t *testing.T) {
	s := newSite(t)
	past := time.Now().Add(-time.Minute)
	for name, c := range map[string]*Client{
		"no certificate":             s.client(nil, time.Time{}),
		"a device":                   s.client(wire.Identity{Site: "P01", Device: 3, ID: task.NewRandomID()}.URI(), time.Time{}),
		"a listener of another site": s.client(wire.ListenerIdentity{Site: "P02", Name: "EAST01"}.URI(), time.Time{}),
		"one that is not admitted":   s.listener("NORTH1"),
		"an expired certificate":     s.client(wire.ListenerIdentity{Site: "P01", Name: "EAST01"}.URI(), past),
		"another authority": func() *Client {
			other := newSite(t)
			other.http.URL, other.pool = s.http.URL, s.pool
			return other.listener("EAST01")
		}(),
	} {
		if _, err := c.Site(t.Context()); status(err) != http.StatusForbidden {
			t.Errorf("%s: site: %v", name, err)
		}
		if n, err := c.Send(t.Context(), []box.Raw{file(t, "EAST01", 1, 1, boxKey("EAST01"))}); n != 0 || status(err) != http.StatusForbidden {
			t.Errorf("%s: files: %d, %v", name, n, err)
		}
		if _, err := c.Beacon([16]byte{1}); status(err) != http.StatusForbidden {
			t.Errorf("%s: beacon: %v", name, err)
		}
		if a, err := c.JoinListener(t.Context(), wire.ListenerJoinRequest{Token: "token"}); err != nil || a.Name != "token" {
			t.Errorf("%s: join: %+v, %v", name, a, err)
		}
	}
	ended := s.client(wire.ListenerIdentity{Site: "P01", Name: "EAST01"}.URI(), past)
	if a, err := ended.RenewListener(t.Context(), []byte("csr")); err != nil || string(a.Certificate) != "EAST01" {
		t.Errorf("renew with an expired certificate: %+v, %v", a, err)
	}
	if len(s.inboxNames()) > 0 {
		t.Errorf("the inbox has %q", s.inboxNames())
	}
}

// Who has, or had, a certificate of the site is told why it is not let in; others are
// told nothing of it.
func TestWhyNotAdmitted(t *testing.T) {
	s := newSite(t)
	s.server.cfg.Admit = func(*x509.Certificate) (wire.ListenerIdentity, error) {
		return wire.ListenerIdentity{}, refuse(http.StatusForbidden, "Listener", "it was revoked")
	}
	other := newSite(t)
	other.http.URL, other.pool = s.http.URL, s.pool
	for what, c := range map[string]struct {
		client *Client
		told   bool
	}{
		"of the site":       {s.listener("EAST01"), true},
		"it has ended":      {s.client(wire.ListenerIdentity{Site: "P01", Name: "EAST01"}.URI(), time.Now().Add(-time.Minute)), true},
		"another authority": {other.listener("EAST01"), false},
		"no certificate":    {s.client(nil, time.Time{}), false},
	} {
		_, err := c.client.Site(t.Context())
		var no *listener.JoinRefused
		if !errors.As(err, &no) || no.Status != http.StatusForbidden || (no.Detail == "it was revoked") != c.told {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestFiles(t *testing.T) {
	s := newSite(t)
	east, key := s.listener("EAST01"), boxKey("EAST01")
	one, two, three := file(t, "EAST01", 1, 1, key), file(t, "EAST01", 1, 2, key), file(t, "EAST01", 1, 3, key)
	send := func(want int, code int, files ...box.Raw) {
		t.Helper()
		if n, err := east.Send(t.Context(), files); n != want || status(err) != code || (err == nil) != (code == 0) {
			t.Errorf("%d taken, %v; want %d and %d", n, err, want, code)
		}
	}
	send(1, 0, one)
	if s.server.Heard("EAST01").IsZero() || !s.server.Heard("WEST01").IsZero() {
		t.Error("who was heard is not known")
	}
	send(2, 0, one, two) // again, and another one
	foreign := file(t, "WEST01", 1, 1, boxKey("WEST01"))
	send(1, http.StatusForbidden, three, foreign)
	send(0, http.StatusForbidden, file(t, "EAST01", 4, 1, key)) // an epoch that was not granted
	send(0, http.StatusUnprocessableEntity, file(t, "EAST01", 1, 4, boxKey("WEST01")))

	damaged := file(t, "EAST01", 1, 4, key)
	damaged.Data[len(damaged.Data)/2] ^= 1
	send(0, http.StatusUnprocessableEntity, damaged)
	renamed := file(t, "EAST01", 1, 4, key)
	renamed.Name.Number = 5
	send(0, http.StatusUnprocessableEntity, renamed)

	other := file(t, "EAST01", 1, 2, key)
	f := box.File{Name: other.Name, Site: "P01", Contents: results(99)}
	var err error
	if other.Data, err = f.Append(nil, key); err != nil {
		t.Fatal(err)
	}
	send(1, http.StatusConflict, one, other)

	// Where the inbox has put a file does not matter.
	b, err := box.Open(s.inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for i, put := range []func(name string) error{
		func(string) error { return nil },
		func(name string) error { return b.Archive(name, 100, time.Now()) },
		func(name string) error { _, err := b.Quarantine(name, "test"); return err },
	} {
		name := []box.Raw{one, two, three}[i].Name.String()
		if err := errors.Join(b.Claim(name), put(name)); err != nil {
			t.Fatal(err)
		}
	}
	send(3, 0, one, two, three)
	send(0, http.StatusConflict, other)
	if names := s.inboxNames(); len(names) != 0 {
		t.Errorf("the inbox has %q once more", names)
	}
}

// A policy whose body gives way to others while the site is asked is asked for again.
func TestPolicyGivesWay(t *testing.T) {
	s := newSite(t)
	s.policies[7] = listener.Policy{ETag: "a", Signed: []byte("body")}
	east := s.listener("EAST01")
	if _, err := east.Policy(7, ""); err != nil {
		t.Fatal(err)
	}
	ask := s.server.cfg.Policy
	s.server.cfg.Policy = func(device uint32, user string) (listener.Policy, error) {
		if s.times("policy") == 1 {
			east.policies.forget("a")
		}
		return ask(device, user)
	}
	if p, err := east.Policy(7, ""); err != nil || string(p.Signed) != "body" {
		t.Errorf("%q, %v", p.Signed, err)
	}
}

// Files may have to wait for their turn, longer than the server gives requests.
func TestFilesWaitForTheirTurn(t *testing.T) {
	s := newSite(t)
	for range uploads {
		s.server.slots <- struct{}{}
	}
	const serverGives = 2 * time.Second
	big := box.Raw{Name: file(t, "EAST01", 1, 1, boxKey("EAST01")).Name, Data: make([]byte, 1<<20)} // more than comes before somebody reads
	answers := make(chan error, 2)
	for i, name := range []string{"EAST01", "WEST01"} {
		web := httptest.NewUnstartedServer(s.server)
		web.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert, Certificates: s.http.TLS.Certificates}
		web.EnableHTTP2 = i == 0
		web.Config.ReadTimeout, web.Config.WriteTimeout = serverGives, serverGives
		web.Config.ErrorLog = s.http.Config.ErrorLog
		web.StartTLS()
		t.Cleanup(web.Close)
		c := s.listener(name)
		c.url = web.URL
		go func() {
			_, err := c.Send(t.Context(), []box.Raw{big})
			answers <- err
		}()
	}
	time.Sleep(serverGives + serverGives/2)
	for range uploads {
		<-s.server.slots
	}
	for range cap(answers) {
		err := <-answers
		if code := status(err); code != http.StatusUnprocessableEntity && code != http.StatusForbidden { // it was read, and found to be no file of it
			t.Error(err)
		}
	}
}

// While the site cannot take files it says so, and nothing is taken.
func TestInboxBreaks(t *testing.T) {
	s := newSite(t)
	s.broken = errors.New("no room")
	east := s.listener("EAST01")
	one := file(t, "EAST01", 1, 1, boxKey("EAST01"))
	if n, err := east.Send(t.Context(), []box.Raw{one}); n != 0 || !errors.Is(err, ErrAway) {
		t.Errorf("%d, %v", n, err)
	}
	s.mu.Lock()
	s.broken = nil
	s.mu.Unlock()
	if n, err := east.Send(t.Context(), []box.Raw{one}); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestQuestions(t *testing.T) {
	s := newSite(t)
	east := s.listener("EAST01")
	if d, err := east.Site(t.Context()); err != nil || d.Site != "P01" || d.Feed != ":1" || d.KeepAlive != time.Minute {
		t.Errorf("site: %+v, %v", d, err)
	}
	if a, err := east.Join(t.Context(), wire.JoinRequest{Token: "good"}, "10.0.0.1"); err != nil || a.ID != "10.0.0.1" {
		t.Errorf("join: %+v, %v", a, err)
	}
	if _, err := east.Join(t.Context(), wire.JoinRequest{Token: "bad"}, ""); status(err) != 403 {
		t.Errorf("join: %v", err)
	}
	if der, err := east.Renew(t.Context(), 5, wire.Renew{CSR: []byte("csr"), Proof: []byte(", proven")}); err != nil || string(der) != "csr, proven" {
		t.Errorf("renew: %q, %v", der, err)
	}
	if _, err := east.Renew(t.Context(), 5000, wire.Renew{CSR: []byte("csr")}); status(err) != 403 {
		t.Errorf("renew a device it may not speak for: %v", err)
	}
	if epoch, err := east.NextEpoch(t.Context(), []byte("key")); err != nil || epoch != 3 {
		t.Errorf("epoch: %d, %v", epoch, err)
	}
	for range 3 {
		if b, err := east.Beacon([16]byte{}); err != nil || len(b) == 0 {
			t.Errorf("beacon: %q, %v", b, err)
		}
	}
	if n := s.times("beacon"); n != 1 {
		t.Errorf("the site was asked %d times for what it can say once", n)
	}
	for i := range 2 {
		if b, err := east.Beacon([16]byte{15: byte(i + 1)}); err != nil || b[len(b)-1] != byte(i+1) {
			t.Errorf("beacon for a nonce: %q, %v", b, err)
		}
	}
}

// One body is sent once, however many devices have it, and what a device has is
// known while the site is away.
func TestPolicies(t *testing.T) {
	s := newSite(t)
	east := s.listener("EAST01")
	for device := range uint32(200) {
		p := listener.Policy{ETag: "even", Signed: make([]byte, 100_000), Proofs: [][]byte{{byte(device)}}}
		if device%2 == 1 {
			p = listener.Policy{ETag: "odd", Signed: make([]byte, 50_000)}
		}
		s.policies[device] = p
	}
	for device := range uint32(200) {
		p, err := east.Policy(device, "")
		if want := s.policies[device]; err != nil || p.ETag != want.ETag || len(p.Signed) != len(want.Signed) || len(p.Proofs) != len(want.Proofs) {
			t.Fatalf("device %d: %s of %d, %v", device, p.ETag, len(p.Signed), err)
		}
	}
	if n := len(east.policies.bodies); n != 2 {
		t.Errorf("%d bodies are kept", n)
	}
	if d := east.KeepAliveOf(3); d != 7*time.Minute {
		t.Errorf("keep-alive %v", d)
	}
	if _, err := east.Policy(2000, ""); status(err) != 403 {
		t.Errorf("of a device it may not speak for: %v", err)
	}
	east.policies.remove("odd") // it gives way, and comes again
	if p, err := east.Policy(1, ""); err != nil || len(p.Signed) != 50_000 {
		t.Errorf("again: %v", err)
	}
	s.http.Close()
	if p, err := east.Policy(1, ""); err != nil || p.ETag != "odd" {
		t.Errorf("without the site: %s, %v", p.ETag, err)
	}
	if _, err := east.Policy(1, "ann"); !errors.Is(err, ErrAway) {
		t.Errorf("what was never asked, without the site: %v", err)
	}
	if b, err := east.Beacon([16]byte{1}); b != nil || err != nil {
		t.Errorf("a beacon without the site: %q, %v", b, err)
	}
}

// The site is never sent a body's name that it would have to believe: the largest
// list of names is bounded, and memory too.
func TestPoliciesAreBounded(t *testing.T) {
	var c policies
	for i := range 3000 {
		etag := time.Duration(i).String()
		c.take(whose{device: uint32(i)}, &policyReply{ETag: etag, Signed: make([]byte, 100_000), Proofs: [][]byte{make([]byte, 60_000)}})
		if n := len(c.etags("x")); n > maxKnown {
			t.Fatalf("%d names", n)
		}
	}
	if len(c.bodies) != len(c.order) || c.bodyBytes > maxBodyBytes || c.deviceBytes > maxDeviceBytes || len(c.bodies) > maxBodies {
		t.Errorf("%d bodies of %d bytes, devices with %d", len(c.bodies), c.bodyBytes, c.deviceBytes)
	}
	total := 0
	for _, b := range c.bodies {
		total += len(b)
	}
	if total != c.bodyBytes {
		t.Errorf("counted %d bytes, there are %d", c.bodyBytes, total)
	}
}

func TestMalformedRequests(t *testing.T) {
	s := newSite(t)
	east := s.listener("EAST01")
	for _, r := range []struct {
		path, kind, body string
		want             int
	}{
		{policyPath, "application/json", "{", 400},
		{policyPath, "application/json", `{"device":1} {}`, 400},
		{beaconPath, "application/json", `{"nonce":"AQ=="}`, 400},
		{filesPath, "x", "", 400},
		{filesPath, "x", "\x05short", 400},
		{filesPath, "x", "\x29EAST01-00000001-00000000000000000001.BTS\xff\xff\xff\xff", 400},
		{Prefix + "nothing", "x", "", 404},
		{filesPath, "", "", 405}, // a GET
	} {
		code, _, err := east.do(t.Context(), r.path, r.kind, []byte(r.body))
		if err != nil || code != r.want {
			t.Errorf("%s %q: %d, %v", r.path, r.body, code, err)
		}
	}
	if names := s.inboxNames(); !slices.Equal(names, nil) {
		t.Errorf("the inbox has %q", names)
	}
}

func FuzzParseFiles(f *testing.F) {
	one := box.Raw{Name: box.Name{Listener: "EAST01", Epoch: 1, Number: 1, Kind: box.BTS}, Data: []byte("data")}
	f.Add(appendFile(nil, &one))
	f.Add(appendFile(appendFile(nil, &one), &one))
	f.Fuzz(func(t *testing.T, b []byte) {
		files, err := parseFiles(b)
		if err != nil {
			return
		}
		var again []byte
		for i := range files {
			again = appendFile(again, &files[i])
		}
		if string(again) != string(b) {
			t.Fatalf("%q became %q", b, again)
		}
	})
}
