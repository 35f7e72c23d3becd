package console_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// BenchmarkPush is a push to all from the handler to the durable event, on a
// journal in memory: what the console itself costs.
func BenchmarkPush(b *testing.B) {
	for _, devices := range []uint32{1_000, 100_000} {
		b.Run(fmt.Sprint(devices), func(b *testing.B) {
			r := newRig(b)
			for n := range devices {
				r.devices[n+1] = r.devices[1]
			}
			numbers, err := deviceReader{r.fleet}.Numbers()
			if err != nil {
				b.Fatal(err)
			}
			cfg := r.config()
			cfg.Devices, cfg.Presence = fixedDevices{deviceReader{r.fleet}, numbers}, fixedPresence{presenceReader{r.fleet}, numbers}
			c, err := console.New(cfg)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				q := httptest.NewRequest("POST", console.PathOperations, strings.NewReader(`{"kind":"scan.quick","all":true}`))
				q.Header.Set("Authorization", "Bearer "+r.token)
				w := httptest.NewRecorder()
				if c.Handler().ServeHTTP(w, q); w.Code != 200 {
					b.Fatal(w.Body)
				}
			}
		})
	}
}

type fixedDevices struct {
	deviceReader
	numbers *roaring.Bitmap
}

func (f fixedDevices) Numbers() (*roaring.Bitmap, error) { return f.numbers.Clone(), nil }

type fixedPresence struct {
	presenceReader
	online *roaring.Bitmap
}

func (f fixedPresence) Online() *roaring.Bitmap { return f.online.Clone() }

// BenchmarkRead is reads of now beside reads as of an event a while ago, which is
// in the window of the views, from the handler to the answer.
func BenchmarkRead(b *testing.B) {
	r := newWholeRig(b)
	const devices = 2000
	for n := range uint32(devices) {
		key := make([]byte, 65)
		key[0], key[1], key[2] = 4, byte(n), byte(n>>8)
		e := &event.Event{Payload: &event.DeviceJoined{Device: n + 1, ID: task.NewRandomID(), Name: fmt.Sprintf("pc-%d", n+1), Token: "t", PublicKey: key, Expires: start.AddDate(1, 0, 0)}}
		if err := r.journal.Append(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
	r.clock.Add(time.Second)
	r.append(&event.ListenerGranted{Listener: "SITE01", Epoch: 1, PublicKey: make([]byte, 32)})
	report := func(number uint64, part uint32) { // a part of 50 devices goes on or off
		p := &event.PresenceDelta{}
		for n := range uint32(devices) {
			if part == 0 || n%part == uint32(number)%part {
				p.Entries = append(p.Entries, event.PresenceEntry{Device: n + 1, Online: number/50%2 == 0, Carrier: event.TCP, Since: start})
			}
		}
		e := &event.Event{Source: &event.Source{Listener: "SITE01", Epoch: 1, File: event.BOS, Number: number, Part: 1, Of: 1}, Payload: p}
		if err := r.journal.Append(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
	report(1, 0)
	at := r.journal.Head().Event
	r.clock.Add(time.Hour)
	for n := range uint64(200) {
		report(n+2, 50)
	}
	if p := r.do("GET", fmt.Sprintf("%s?min-event=%d", console.PathDevices, r.journal.Head().Event), nil); p.status != 200 {
		b.Fatalf("%s", p.body)
	}
	for _, c := range []struct{ name, path string }{
		{"devices/now", console.PathDevices + "?limit=100"},
		{"devices/at", fmt.Sprintf("%s?limit=100&at=%d", console.PathDevices, at)},
		{"online/now", console.PathDevices + "?limit=1000&online=true"},
		{"online/at", fmt.Sprintf("%s?limit=1000&online=true&at=%d", console.PathDevices, at)},
		{"device/now", console.Path(console.PathDevice, "pc-1000") + "?"},
		{"device/at", fmt.Sprintf("%s?at=%d", console.Path(console.PathDevice, "pc-1000"), at)},
		{"device/at-time", console.Path(console.PathDevice, "pc-1000") + "?at=" + r.events()[at-1].Accepted.Format("2006-01-02T15:04:05.999999999Z")},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if p := r.do("GET", c.path, nil); p.status != 200 {
					b.Fatalf("%s", p.body)
				}
			}
		})
	}
}

// BenchmarkEvents is pages of events as an export reads them: all of them, and
// with a filter that few of them pass.
func BenchmarkEvents(b *testing.B) {
	r := newRig(b)
	batch := make([]*event.Event, 1000)
	for range 20 {
		for i := range batch {
			batch[i] = &event.Event{Actor: event.Actor{Issuer: "listener", Subject: "SITE01"}, Payload: &event.StatusMessage{Component: "agent", Device: uint32(i%500) + 1, Text: "clock was set back"}}
		}
		if err := r.journal.Append(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	r.add(7, "pc-7", true)
	for _, c := range []struct {
		name, query string
		events      float64 // that one call looks at
	}{{"all", "", 1000}, {"device", "&device=7", 20_000}, {"kind", "&kind=policy.", 20_000}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if p := r.do("GET", console.PathEvents+"?limit=1000"+c.query, nil); p.status != 200 {
					b.Fatalf("%s", p.body)
				}
			}
			b.ReportMetric(c.events*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
