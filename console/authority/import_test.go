package authority_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// records are new ones with these names.
func records(names ...string) *event.DevicesImported {
	p := &event.DevicesImported{Source: "pcs.jsonl"}
	for _, n := range names {
		p.Devices = append(p.Devices, event.ImportedDevice{New: true, ID: task.NewRandomID(), Name: n})
	}
	return p
}

func TestImport(t *testing.T) {
	s := newSite(t)
	token := s.token(t, 3, time.Hour)
	s.join(t, token)
	p := records("a", "b")
	number, err := s.Import(t.Context(), admin, p)
	if err != nil || number != 3 || p.Devices[0].Device != 2 || p.Devices[1].Device != 3 {
		t.Fatalf("event %d, %+v, %v", number, p, err)
	}
	s.join(t, token)
	if all := s.Devices(); !slices.Equal(all, []uint32{1, 4}) || s.Active() != 2 {
		t.Errorf("devices %v, %d of them active", all, s.Active())
	}
	for range 2 {
		if _, ok := s.IsBlocked(2); ok {
			t.Error("an imported record can be blocked")
		}
		_, err = s.Block(t.Context(), admin, 2, "")
		refused(t, err, 409)
		mixed := records("c")
		mixed.Devices = append(mixed.Devices, event.ImportedDevice{Device: 1}, event.ImportedDevice{Device: 2})
		if _, err := s.Import(t.Context(), admin, mixed); err != nil {
			t.Error(err)
		}
		for _, nobody := range []uint32{0, 99, 1 << 31} {
			mixed := records("d")
			mixed.Devices = append(mixed.Devices, event.ImportedDevice{Device: nobody})
			_, err := s.Import(t.Context(), admin, mixed)
			refused(t, err, 409)
		}
		s.restart(t)
	}
	p = records("e")
	if _, err := s.Import(t.Context(), admin, p); err != nil || p.Devices[0].Device != 7 {
		t.Errorf("the next number is %d, %v", p.Devices[0].Device, err)
	}
}

// Numbers are dense and given once, whoever asks at the same time.
func TestImportRace(t *testing.T) {
	s := newSite(t)
	token := s.token(t, 20, time.Hour)
	var all sync.WaitGroup
	var mu sync.Mutex
	var numbers []uint32
	for i := range 20 {
		all.Go(func() {
			p := records(fmt.Sprint("a", i), fmt.Sprint("b", i))
			if _, err := s.Import(t.Context(), admin, p); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			numbers = append(numbers, p.Devices[0].Device, p.Devices[1].Device)
		})
		all.Go(func() {
			reply, err := s.Join(t.Context(), request(t, token.String(), newKey(t)), "")
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			numbers = append(numbers, reply.Device)
		})
	}
	all.Wait()
	slices.Sort(numbers)
	for i, n := range numbers {
		if n != uint32(i+1) {
			t.Fatalf("numbers %v", numbers)
		}
	}
}

// What was removed is shut out for ever, and its number is nobody's.
func TestRemove(t *testing.T) {
	s := newSite(t)
	token := s.token(t, 3, time.Hour)
	key := newKey(t)
	if _, err := s.Join(t.Context(), request(t, token.String(), key), ""); err != nil {
		t.Fatal(err)
	}
	s.join(t, token)
	if _, err := s.Import(t.Context(), admin, records("a")); err != nil {
		t.Fatal(err)
	}
	for _, nobody := range []uint32{0, 4, 1 << 31} {
		_, err := s.Remove(t.Context(), admin, nobody, "")
		refused(t, err, 404)
	}
	number, err := s.Remove(t.Context(), admin, 1, "scrapped")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(t.Context(), admin, 3, ""); err != nil {
		t.Error(err)
	}
	for range 2 {
		if again, err := s.Remove(t.Context(), admin, 1, ""); err != nil || again != number {
			t.Errorf("removed again by event %d, %v", again, err)
		}
		if !slices.Equal(s.Devices(), []uint32{2}) || !slices.Equal(s.Blocked(), []uint32{1, 3}) || s.Active() != 1 {
			t.Errorf("devices %v, blocked %v, %d active", s.Devices(), s.Blocked(), s.Active())
		}
		_, err = s.Unblock(t.Context(), admin, 1, "")
		refused(t, err, 409)
		_, err = s.Block(t.Context(), admin, 1, "")
		refused(t, err, 409)
		_, err = s.Join(t.Context(), request(t, token.String(), key), "")
		refused(t, err, 403)
		_, err = s.Import(t.Context(), admin, &event.DevicesImported{Devices: []event.ImportedDevice{{Device: 1}}})
		refused(t, err, 409)
		s.restart(t)
	}
	if reply, err := s.Join(t.Context(), request(t, token.String(), newKey(t)), ""); err != nil || reply.Device != 4 {
		t.Errorf("the next device is %d, %v", reply.Device, err)
	}
}
