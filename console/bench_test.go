package console_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console"
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
