package feed

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// dial connects as somebody with a certificate, outside the client.
func (s *site) dial(violations chan<- error, cert ...tls.Certificate) (*nats.Conn, error) {
	conn, err := nats.Connect("tls://"+s.Address(), nats.Secure(s.clientTLS(cert...)), nats.TLSHandshakeFirst(), nats.NoReconnect(),
		nats.CustomInboxPrefix(inbox("EAST01")), nats.Timeout(long),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err }))
	if err == nil {
		s.t.Cleanup(conn.Close)
	}
	return conn, err
}

func TestWhoGetsIn(t *testing.T) {
	s := newSite(t, listener.Whole{})
	hour := time.Now().Add(time.Hour)
	other := newCA(t)
	device := wire.Identity{Site: "P01", Device: 7, ID: task.NewRandomID()}.URI()
	for name, cert := range map[string][]tls.Certificate{
		"no certificate":               nil,
		"a device":                     {s.ca.issue(device, hour)},
		"no identity":                  {s.ca.issue(nil, hour)},
		"a listener of another site":   {s.ca.issue(wire.ListenerIdentity{Site: "P02", Name: "EAST01"}.URI(), hour)},
		"a listener that is not known": {s.ca.listener("NORTH1")},
		"an expired certificate":       {s.ca.issue(wire.ListenerIdentity{Site: "P01", Name: "EAST01"}.URI(), time.Now().Add(-time.Minute))},
		"another authority":            {other.issue(wire.ListenerIdentity{Site: "P01", Name: "EAST01"}.URI(), hour)},
	} {
		if conn, err := s.dial(nil, cert...); err == nil {
			t.Errorf("%s: let in as %s", name, conn.Opts.Name)
		}
	}
	if _, err := nats.Connect("nats://"+s.Address(), nats.Timeout(time.Second), nats.NoReconnect()); err == nil {
		t.Error("let in without TLS")
	}
	if _, err := nats.Connect("tls://"+s.Address(), nats.Secure(s.clientTLS()), nats.TLSHandshakeFirst(), nats.NoReconnect(),
		nats.UserInfo(publisherUser, ""), nats.Timeout(long)); err == nil {
		t.Error("let in by name")
	}
	if _, err := s.dial(nil, s.ca.listener("EAST01")); err != nil {
		t.Errorf("a listener: %v", err)
	}
}

// A listener may do what a client does, and nothing else.
func TestPermissions(t *testing.T) {
	s := newSite(t, open(t, 1, 1), listener.Whole{})
	expect(t, s.listener("WEST01"), "open 1 for [1] done []", "whole")
	violations := make(chan error, 100)
	conn, err := s.dial(violations, s.ca.listener("EAST01"))
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string) {
		t.Helper()
		if err := conn.FlushTimeout(long); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-violations:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(long):
			t.Errorf("%s: not refused", what)
		}
	}
	for _, subject := range []string{subject, beginPrefix + "WEST01", "$JS.API.STREAM.PURGE.FEED", "$JS.API.STREAM.DELETE.FEED",
		"$JS.API.STREAM.INFO.FEED", "$JS.API.STREAM.MSG.GET.FEED", "$JS.API.STREAM.CREATE.MINE", "$JS.API.CONSUMER.CREATE.FEED.EAST01",
		"$JS.API.CONSUMER.DELETE.FEED.EAST01", "$JS.API.CONSUMER.MSG.NEXT.FEED.WEST01", "$JS.API.CONSUMER.INFO.FEED.WEST01",
		"$JS.API.INFO", "$SYS.REQ.SERVER.PING", inbox("WEST01") + ".x", "hello"} {
		if err := conn.Publish(subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		refused("publish to " + subject)
	}
	for _, subject := range []string{subject, ">", "feed.>", "$JS.>", "$SYS.>", inbox("WEST01") + ".>", "_INBOX.>", "*"} {
		if _, err := conn.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		refused("subscribe to " + subject)
	}
	if n := strings.Count(s.nest.server.ClientURL(), "@"); n != 0 {
		t.Error("the server tells its secret")
	}
}

// Genuine messages that somebody sends again, wherever, change nothing.
func TestReplayByAListener(t *testing.T) {
	s := newSite(t, open(t, 1, 1), listener.Whole{})
	west := s.listener("WEST01")
	expect(t, west, "open 1 for [1] done []", "whole")
	east := s.listener("EAST01")
	expect(t, east, "open 1 for [1] done []", "whole")
	s.script.tell(listener.BlockDevice{Device: 3})
	expect(t, west, "block 3")
	expect(t, east, "block 3")
	conn, err := s.dial(make(chan error, 10), s.ca.listener("EAST01"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Request(beginPrefix+"EAST01", nil, long); err != nil {
		t.Fatal(err)
	}
	// It has the stream's messages sent to the stream.
	if err := conn.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.FEED.EAST01", subject, []byte(`{"batch":4}`)); err != nil {
		t.Fatal(err)
	}
	if err := conn.FlushTimeout(long); err != nil {
		t.Fatal(err)
	}
	s.script.tell(listener.BlockDevice{Device: 4}, listener.UnblockDevice{Device: 3})
	expect(t, west, "block 4", "unblock 3")
}

// What is sent to a listener on its demand, it can have sent elsewhere: into the
// stream, or to the publisher in the name of another listener. That does no harm.
func TestAnswersSentElsewhere(t *testing.T) {
	s := newSite(t, open(t, 1, 1), listener.Whole{})
	west := s.listener("WEST01")
	expect(t, west, "open 1 for [1] done []", "whole")
	conn, err := s.dial(make(chan error, 10), s.ca.listener("EAST01"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Request(beginPrefix+"EAST01", nil, long); err != nil {
		t.Fatal(err)
	}
	const more = "$JS.API.CONSUMER.MSG.NEXT.FEED.EAST01"
	stored := func() uint64 {
		stream, err := s.nest.api.Stream(t.Context(), streamName)
		if err != nil {
			t.Fatal(err)
		}
		return stream.CachedInfo().State.LastSeq
	}
	for _, q := range []struct {
		to, reply, body string
		stored          bool // the answer, in the stream
	}{
		{beginPrefix + "EAST01", subject, "", false},
		{beginPrefix + "EAST01", beginPrefix + "WEST01", "", false},
		{more, beginPrefix + "WEST01", `{"batch":1}`, false},
		{more, subject, `{"batch":1}`, true},
		{more, subject, `not a request`, true},
		{"$JS.API.CONSUMER.INFO.FEED.EAST01", subject, "", true},
	} {
		before := stored()
		if err := conn.PublishRequest(q.to, q.reply, []byte(q.body)); err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); q.stored && stored() == before; time.Sleep(time.Millisecond) {
			if time.Since(began) > long {
				t.Fatalf("no answer to %s is in the stream", q.to)
			}
		}
		if _, err := conn.Request(beginPrefix+"EAST01", nil, long); err != nil { // the publisher has seen what was before
			t.Fatal(err)
		}
	}
	s.script.tell(listener.BlockDevice{Device: 4})
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	if u, err := west.Next(ctx); err != nil || say(u) != "block 4" {
		t.Errorf("another listener is told %v, %v", u, err)
	}
}

// Who is not admitted any more is cut off.
func TestRevoked(t *testing.T) {
	s := newSite(t, listener.Whole{})
	east := s.listener("EAST01")
	expect(t, east, "whole")
	s.mu.Lock()
	s.admitted = []string{"WEST01"}
	s.mu.Unlock()
	if u, err := east.Next(t.Context()); err == nil {
		t.Fatalf("still told of %v", u)
	}
	if u, err := east.Next(t.Context()); err == nil {
		t.Fatalf("let in again: %v", u)
	}
	expect(t, s.listener("WEST01"), "whole")
}

// A connection ends with its certificate.
func TestCertificateEnds(t *testing.T) {
	s := newSite(t, listener.Whole{})
	// Times in certificates are whole seconds.
	east := s.client("EAST01", s.ca.issue(wire.ListenerIdentity{Site: "P01", Name: "EAST01"}.URI(), time.Now().Add(2*time.Second)))
	for range 3 {
		if _, err := east.Next(t.Context()); err != nil {
			return
		}
	}
	t.Error("the connection outlives the certificate")
}
