package authority_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// tokenFor is a token that names a record.
func (s *site) tokenFor(t testing.TB, device uint32) wire.Token {
	t.Helper()
	token, _, err := s.CreateDeviceToken(t.Context(), admin, device, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Who joins with a token that names an imported record becomes it; the answer is the
// same if it asks once more, and others with the token are refused.
func TestBecome(t *testing.T) {
	var newcomers []string
	s := newSite(t, authority.WithNewcomers(func(p *event.DeviceJoined) { newcomers = append(newcomers, p.Name) }))
	p := records("a", "b")
	if _, err := s.Import(t.Context(), admin, p); err != nil {
		t.Fatal(err)
	}
	token, key := s.tokenFor(t, 2), newKey(t)
	if state, _ := s.Token(token.ID); state.Device != 2 || state.Uses != 1 || state.Listener != "" {
		t.Errorf("token is %+v", state)
	}
	s.restart(t)
	for range 2 {
		reply, err := s.Join(t.Context(), request(t, token.String(), key), "")
		if err != nil {
			t.Fatal(err)
		}
		id, err := wire.IdentityOf(parse(t, reply.Certificate))
		if err != nil || reply.Device != 2 || reply.ID != p.Devices[1].ID.String() || id.Device != 2 || id.ID != p.Devices[1].ID {
			t.Fatalf("joined as %d, %s; the certificate is of %+v, %v", reply.Device, reply.ID, id, err)
		}
		checkResultKey(t, s, reply, key)
		_, err = s.Join(t.Context(), request(t, token.String(), newKey(t)), "")
		refused(t, err, 403)
		s.restart(t)
	}
	if !slices.Equal(s.Devices(), []uint32{2}) || s.Active() != 1 || len(newcomers) != 0 {
		t.Errorf("devices %v, %d active, new records of %v", s.Devices(), s.Active(), newcomers)
	}
	if _, err := s.Block(t.Context(), admin, 2, ""); err != nil {
		t.Error(err)
	}
	if reply, _ := s.join(t, s.token(t, 1, time.Hour)); reply.Device != 3 {
		t.Errorf("the next device is %d", reply.Device)
	}
}

// What a token may not name, and what came of its record before it was used.
func TestBecomeRefused(t *testing.T) {
	s := newSite(t)
	if _, err := s.Import(t.Context(), admin, records("a", "b", "c")); err != nil {
		t.Fatal(err)
	}
	joined, _ := s.join(t, s.token(t, 1, time.Hour))
	first, second, removed := s.tokenFor(t, 1), s.tokenFor(t, 1), s.tokenFor(t, 2)
	if _, err := s.Join(t.Context(), request(t, first.String(), newKey(t)), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(t.Context(), admin, 2, ""); err != nil {
		t.Fatal(err)
	}
	before := s.journal.Head().Event
	for range 2 {
		for device, why := range map[uint32]string{1: "An agent has joined for device 1", joined.Device: "An agent has joined", 2: "Device 2 was removed", 0: "", 99: "There is no device 99", 1 << 31: "no device"} {
			_, _, err := s.CreateDeviceToken(t.Context(), admin, device, time.Hour)
			if refused(t, err, 409); !strings.Contains(err.Error(), why) {
				t.Errorf("device %d: %v", device, err)
			}
		}
		for token, why := range map[wire.Token]string{first: "used as often", second: "An agent has joined for device 1, for whose record", removed: "Device 2 was removed, for whose record"} {
			_, err := s.Join(t.Context(), request(t, token.String(), newKey(t)), "")
			if refused(t, err, 403); !strings.Contains(err.Error(), why) {
				t.Errorf("%v, want %q", err, why)
			}
		}
		s.restart(t)
	}
	_, _, err := s.CreateDeviceToken(t.Context(), admin, 3, 0)
	refused(t, err, 422)
	if s.journal.Head().Event != before {
		t.Error("what is refused is an event")
	}
	revoked := s.tokenFor(t, 3)
	if _, err := s.RevokeToken(t.Context(), admin, revoked.ID); err != nil {
		t.Fatal(err)
	}
	_, err = s.Join(t.Context(), request(t, revoked.String(), newKey(t)), "")
	refused(t, err, 403)
}

// However many tokens name a record, one machine becomes it.
func TestBecomeRace(t *testing.T) {
	s := newSite(t)
	p := records("a")
	if _, err := s.Import(t.Context(), admin, p); err != nil {
		t.Fatal(err)
	}
	var requests []wire.JoinRequest
	for range 8 {
		token := s.tokenFor(t, 1)
		requests = append(requests, request(t, token.String(), newKey(t)), request(t, token.String(), newKey(t)))
	}
	var all sync.WaitGroup
	var became atomic.Int32
	for _, r := range requests {
		all.Go(func() {
			reply, err := s.Join(t.Context(), r, "")
			switch no, ok := errors.AsType[*authority.Refusal](err); {
			case err == nil && reply.Device == 1:
				became.Add(1)
			case !ok || no.Status != 403:
				t.Errorf("joined as %d, %v", reply.Device, err)
			}
		})
	}
	all.Wait()
	if became.Load() != 1 {
		t.Errorf("%d machines became device 1", became.Load())
	}
	n := 0
	for _, e := range s.events(t) {
		if j, ok := e.Payload.(*event.DeviceJoined); ok {
			if n++; j.Device != 1 || j.ID != p.Devices[0].ID {
				t.Errorf("event %d: %+v", e.Number, j)
			}
		}
	}
	if n != 1 {
		t.Errorf("%d events say that a device joined", n)
	}
}

// Who joins as a new record is told of, once.
func TestNewcomers(t *testing.T) {
	var told []task.ID
	s := newSite(t, authority.WithNewcomers(func(p *event.DeviceJoined) { told = append(told, p.ID) }))
	token, key := s.token(t, 1, time.Hour), newKey(t)
	for range 2 {
		reply, err := s.Join(t.Context(), request(t, token.String(), key), "")
		if err != nil || len(told) != 1 || told[0].String() != reply.ID {
			t.Errorf("told of %v, joined as %s, %v", told, reply.ID, err)
		}
	}
	_, err := s.Join(t.Context(), request(t, token.String(), newKey(t)), "")
	refused(t, err, 403)
	if len(told) != 1 {
		t.Errorf("told of %v", told)
	}
}
