package box_test

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
)

// full is a full presence report of n devices.
func full(n int) *box.Presence {
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	c := &box.Presence{Full: true, Entries: make([]box.PresenceEntry, n)}
	for i := range c.Entries {
		c.Entries[i] = box.PresenceEntry{Device: uint32(i + 1), Online: true, Carrier: 1,
			Since: at.Add(time.Duration(i*7919%100000) * time.Millisecond)}
	}
	return c
}

func BenchmarkPresence(b *testing.B) {
	f := box.File{Name: box.Name{Listener: "BGL", Epoch: 1, Number: 1, Kind: box.BOS}, Site: "LAB", Contents: full(25_000)}
	var buf []byte
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var err error
			if buf, err = f.Append(buf[:0], private); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(buf)), "bytes/file")
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := box.Decode(buf, anyKey); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDrop(b *testing.B) {
	s, err := box.OpenSpool(b.TempDir(), box.SpoolConfig{Site: "LAB", Listener: "BGL", Epoch: 1, Key: private})
	if err != nil {
		b.Fatal(err)
	}
	c := full(10)
	at := time.Unix(1, 0)
	for b.Loop() {
		if _, err := s.Drop(c, at, at); err != nil {
			b.Fatal(err)
		}
	}
}

var private = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

func anyKey(string, uint32) (ed25519.PublicKey, bool) {
	return private.Public().(ed25519.PublicKey), true
}
