package archive

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/tree"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

var identity = [16]byte{0x00, 0x11, 0x22, 15: 0xff}

func origin(history [16]byte) string { return fmt.Sprintf("bugle.P01/%x", history) }

// key is a key made of one byte, always the same.
func key(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func public(b byte) ed25519.PublicKey { return key(b).Public().(ed25519.PublicKey) }

// pages makes pages of the given numbers of events behind head.
func pages(t testing.TB, head journal.Head, counts ...int) (all [][]byte) {
	t.Helper()
	accepted := int64(1_700_000_000_000_000_000) + int64(head.Event)*1000
	for _, count := range counts {
		var b journal.PageBuilder
		for i := range count {
			b.Add(body(t, head.Event+uint64(i)+1))
		}
		s := b.Seal(head, accepted)
		head, accepted = s.Head, accepted+int64(count)
		all = append(all, s.Bytes())
	}
	return all
}

// body is event n as the journal keeps it: results of a push, as they are most
// of what a journal holds.
func body(t testing.TB, n uint64) []byte {
	t.Helper()
	id := task.ID{6: 0x70, 8: 0x80}
	binary.BigEndian.PutUint32(id[:], uint32(n/500))
	e := &event.Event{Observed: time.Unix(1_700_000_000+int64(n)/100, int64(n)*7919%1e9),
		Actor: event.Actor{Issuer: "inbox", Subject: "BGL"}, Source: &event.Source{Listener: "BGL", Epoch: 1, File: event.BTS, Number: n, Part: 1, Of: 1, Digest: [32]byte{byte(n), byte(n >> 8), byte(n * 31)}},
		Payload: &event.TokenCreated{Token: fmt.Sprintf("%08x", n*2654435761), Uses: uint32(n), Expires: time.Unix(1_700_000_000+int64(n), 0)}}
	b, err := e.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A made is an archive in memory, and what went into it.
type made struct {
	bytes []byte
	pages [][]byte
	info  Info
	after *tree.Builder
}

// sealAs signs what is built.
func sealAs(t testing.TB, k ed25519.PrivateKey, origin string, b *tree.Builder) Seal {
	t.Helper()
	c := tree.Checkpoint{Origin: origin, Pages: b.Head().Pages, Root: b.Root(), Events: b.Head().Event, Chain: b.Head().Hash, Signed: time.Unix(1_700_000_100, 0)}
	text, err := c.Sign(k)
	if err != nil {
		t.Fatal(err)
	}
	return Seal{Root: b.Root(), Checkpoint: text}
}

// archived archives pages of the given numbers of events behind what is built, as
// generation n, signed.
func archived(t testing.TB, n uint32, before *tree.Builder, counts ...int) made {
	t.Helper()
	return framed(t, MaxFrame, n, before, counts...)
}

// framed is archived with frames of at most limit bytes.
func framed(t testing.TB, limit int, n uint32, before *tree.Builder, counts ...int) made {
	t.Helper()
	h := Header{History: identity, Generation: n, Before: before.Head(), Peaks: before.Peaks()}
	m := made{pages: pages(t, before.Head(), counts...)}
	m.after, _ = tree.RestoreBuilder(before.Peaks(), before.Head())
	var out bytes.Buffer
	w, err := NewWriter(&out, h)
	if err != nil {
		t.Fatal(err)
	}
	w.limit = limit
	for _, raw := range m.pages {
		if err := w.Add(raw); err != nil {
			t.Fatal(err)
		}
		p, err := journal.ParsePage(raw, m.after.Head())
		if err != nil {
			t.Fatal(err)
		}
		if err := m.after.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	seal := Seal{}
	if len(counts) > 0 {
		seal = sealAs(t, key(1), origin(identity), m.after)
	}
	if m.info, err = w.Close(seal); err != nil {
		t.Fatal(err)
	}
	m.bytes = out.Bytes()
	return m
}

// opened is a reader over bytes.
func opened(b []byte) (*Reader, error) {
	r := &Reader{name: "test.bga", f: bytes.NewReader(b), close: func() error { return nil }}
	return r, r.open(int64(len(b)))
}

func mustOpen(t testing.TB, b []byte) *Reader {
	t.Helper()
	r, err := opened(b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
