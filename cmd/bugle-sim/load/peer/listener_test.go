package peer

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// TestTasksThatAllAnsweredAreOver is told with the next task, so that the listener does
// not hold them.
func TestTasksThatAllAnsweredAreOver(t *testing.T) {
	s := open(t, "listener", 3, -1)
	s.signIn(t, true)
	back := s.back.(*listenerBack)
	first := s.push(t, nil)
	s.everywhere(t, first, s.all)
	s.sessions[0].Drop()
	second := s.push(t, nil) // agent 0 does not answer
	s.everywhere(t, second, []int{1, 2})
	back.count(2, second, time.Now()) // as of an agent that repeats its answer
	if over := back.begin(99, 1); len(over) != 0 {
		t.Errorf("over: %v, though an answer is missing", over)
	}
	if _, err := s.SignIn(t.Context(), 0, false); err != nil {
		t.Fatal(err)
	}
	s.everywhere(t, second, s.all)
	if over := back.begin(100, 1); !slices.Equal(over, []task.ID{operationOf(second)}) {
		t.Errorf("over: %v", over)
	}
}

func TestOperationsHaveNumbers(t *testing.T) {
	for _, n := range []uint64{1, 255, 1 << 40} {
		if got := numberOf(operationOf(n)); got != n {
			t.Errorf("%d became %d", n, got)
		}
	}
	if a, b := operationOf(255), operationOf(256); bytes.Compare(a[:], b[:]) >= 0 {
		t.Error("a later operation is before an earlier one")
	}
}

// TestFilesOfOthersAreNotCounted expects that a file that the listener did not sign is
// an error, and not in the way of the next.
func TestFilesOfOthersAreNotCounted(t *testing.T) {
	s := open(t, "listener", 1, -1)
	back := s.back.(*listenerBack)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	other, err := box.OpenSpool(dir, box.SpoolConfig{Site: siteCode, Listener: "OTHER", Epoch: 1, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	row := box.ResultRow{Result: task.Result{Operation: operationOf(1), Device: 1, Attempt: 1, State: task.Succeeded, At: time.Now()}}
	name, err := other.Drop(&box.Results{Rows: []box.ResultRow{row}}, time.Now(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, name.String()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := back.answers(raw); err == nil {
		t.Error("a file of another was read")
	}
	s.signIn(t, true)
	number := s.push(t, nil)
	s.everywhere(t, number, s.all)
	s.once(t, number, s.all)
}

// TestWrongOrders end a listener with an error.
func TestWrongOrders(t *testing.T) {
	dir := t.TempDir()
	if _, err := makeTrust(dir, 1); err != nil {
		t.Fatal(err)
	}
	opened, err := openListener(listener.ParkTLS)(dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s := opened.(*listenerServer)
	if err := s.obey(bytes.NewReader([]byte("neither")), io.Discard); err == nil {
		t.Error("what is no order was obeyed")
	}
	if err := s.obey(bytes.NewReader(nil), io.Discard); err != nil {
		t.Errorf("the end of orders: %v", err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// A beacon is made anew for who asks for one, and kept for all others as long as a site keeps it.
func TestBeacons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		public, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		beacon := beacons(key)
		get := func(nonce [16]byte) []byte {
			t.Helper()
			signed, err := beacon(nonce)
			if err != nil {
				t.Fatal(err)
			}
			b, err := task.VerifyBeacon(signed, siteCode, public)
			if err != nil || b.Nonce != nonce || time.Since(b.Time) >= beaconAge {
				t.Errorf("beacon %+v, %v, for %x", b, err, nonce)
			}
			return signed
		}
		first := get([16]byte{})
		time.Sleep(beaconAge - 1)
		get([16]byte{1})
		if !bytes.Equal(get([16]byte{}), first) {
			t.Error("a beacon for all was made anew before its time")
		}
		time.Sleep(time.Nanosecond)
		if bytes.Equal(get([16]byte{}), first) {
			t.Error("a beacon for all is kept beyond its time")
		}
	})
}
