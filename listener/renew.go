package listener

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

// Bounds of renewals.
const (
	renewWorkers  = 8    // requests that are asked of the site at once
	renewWaiting  = 1024 // and that wait for it; more get no answer
	renewTimeout  = 30 * time.Second
	renewWindow   = 10 * time.Minute // in which a device
	renewsOfOne   = 5                // may ask this often
	maxRenewers   = 1 << 16          // devices that are counted in one window
	noRenewalHere = "certificates are not renewed at this listener"
)

// renewals are the requests for new certificates, away from the goroutines that
// read: the site may be slow.
type renewals struct {
	waiting chan renewal

	mu     sync.Mutex
	since  time.Time
	counts map[uint32]int // since then
}

type renewal struct {
	s       *session
	request *wire.Renew
}

func newRenewals() *renewals {
	return &renewals{waiting: make(chan renewal, renewWaiting), counts: make(map[uint32]int)}
}

// allow tells whether a device may ask again.
func (r *renewals) allow(device uint32, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if since := now.Sub(r.since); since >= renewWindow || since < 0 {
		r.since = now
		clear(r.counts)
	}
	if n := r.counts[device]; n >= renewsOfOne || n == 0 && len(r.counts) >= maxRenewers {
		return false
	}
	r.counts[device]++
	return true
}

// renew takes a request. It never waits: who gets no answer asks again later.
func (s *session) renew(m *wire.Renew) {
	if s.l.cfg.Renew == nil {
		s.reply(&wire.Renewed{Reason: noRenewalHere})
		return
	}
	if !s.l.renewals.allow(s.device, time.Now()) {
		s.l.count.renewsDropped.Add(1)
		s.l.status.message(msgRenewOften, s.device, "agent asks for a new certificate again and again")
		return
	}
	select {
	case s.l.renewals.waiting <- renewal{s, m}:
	default:
		s.l.count.renewsDropped.Add(1)
		s.l.status.message(msgRenewFails, 0, "more devices want new certificates than can be asked for")
	}
}

// renew asks the site for certificates until ctx ends.
func (l *Listener) renew(ctx context.Context) {
	var workers sync.WaitGroup
	for range renewWorkers {
		workers.Go(func() {
			for ctx.Err() == nil {
				select {
				case r := <-l.renewals.waiting:
					l.answerRenewal(ctx, r)
				case <-ctx.Done():
				}
			}
		})
	}
	workers.Wait()
}

func (l *Listener) answerRenewal(ctx context.Context, r renewal) {
	if r.s.hasEnded() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	certificate, err := l.cfg.Renew(ctx, r.s.device, *r.request)
	var no *JoinRefused
	switch {
	case err == nil:
		l.count.renewals.Add(1)
		r.s.reply(&wire.Renewed{Certificate: certificate})
	case errors.As(err, &no):
		l.cfg.Log.Warn("certificate is not renewed", "device", r.s.device, "err", err)
		r.s.reply(&wire.Renewed{Reason: bounded.Cut(no.Title+": "+no.Detail, wire.MaxText)})
	case ctx.Err() == nil || errors.Is(err, context.DeadlineExceeded):
		l.cfg.Log.Error("certificate cannot be renewed now", "device", r.s.device, "err", err)
		l.status.message(msgRenewFails, 0, "certificates cannot be renewed: "+err.Error())
	}
}
