package authority_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestResultKeysAreDerivedAtLeisure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		token := s.token(t, 20, time.Hour)
		for range 19 {
			s.join(t, token)
		}
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.DeriveResultKeys(ctx) }()
		have := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			if n := s.ResultKeysAtHand(); n != want {
				t.Errorf("%s: %d keys, want %d", when, n, want)
			}
		}
		have("at once", 8)
		time.Sleep(20 * time.Millisecond)
		have("after a pause", 16)
		time.Sleep(20 * time.Millisecond)
		have("then", 19)
		s.join(t, token)
		time.Sleep(time.Second)
		have("after another join", 20)
		end()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}
