package authority_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// FuzzJoin: whatever a stranger sends, it is refused with a 4xx and leaves
// nothing, unless it shows a token and a key of its own.
func FuzzJoin(f *testing.F) {
	s := newSite(f)
	token := s.token(f, authority.MaxTokenUses, time.Hour).String()
	good := request(f, token, newKey(f))
	f.Add(good.Token, good.CSR, good.Name)
	f.Add(good.Token, good.CSR[:40], good.Name)
	f.Add(good.Token[:60], good.CSR, "")
	f.Add("bugle1...", []byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff}, "\x00")
	f.Fuzz(func(t *testing.T, token string, csr []byte, name string) {
		r := good
		r.Token, r.CSR, r.Name = token, csr, name
		before := s.journal.Head().Event
		_, err := s.Join(context.Background(), r, "")
		if err == nil {
			return
		}
		refusal, ok := errors.AsType[*authority.Refusal](err)
		if !ok || refusal.Status < 400 || refusal.Status > 499 {
			t.Fatalf("refused with %v", err)
		}
		if s.journal.Head().Event != before {
			t.Fatal("a refusal is an event")
		}
	})
}

func BenchmarkJoin(b *testing.B) {
	s := newSite(b)
	token := s.token(b, authority.MaxTokenUses, time.Hour).String()
	requests := make([]wire.JoinRequest, 0, 64)
	for range cap(requests) {
		requests = append(requests, request(b, token, newKey(b)))
	}
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		// Beyond the first 64 these are repeats, which cost as much but for the append.
		if _, err := s.Join(b.Context(), requests[i%len(requests)], ""); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResultKey(b *testing.B) {
	s := newSite(b)
	s.join(b, s.token(b, 1, time.Hour))
	for b.Loop() {
		if _, ok := s.ResultKey(1); !ok {
			b.Fatal("no key")
		}
	}
}
