package main

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A pace is how fast something may be done by many together. Whoever is told to
// come later makes all wait.
type pace struct {
	limit *rate.Limiter
	again time.Duration // how much later

	mu    sync.Mutex
	until time.Time // nobody before
}

func newPace(perSecond float64, burst int, again time.Duration) *pace {
	return &pace{limit: rate.NewLimiter(rate.Limit(perSecond), burst), again: again}
}

// wait returns when it is this caller's turn.
func (p *pace) wait(ctx context.Context) error {
	if err := p.limit.Wait(ctx); err != nil {
		return err
	}
	for {
		p.mu.Lock()
		d := time.Until(p.until)
		p.mu.Unlock()
		if d <= 0 {
			return nil
		}
		if err := sleep(ctx, d); err != nil {
			return err
		}
	}
}

// later lets nobody through for a while.
func (p *pace) later() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = time.Now().Add(p.again)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// turns returns an agent's Turn that lets n actions run at once.
func turns(n int) func(ctx context.Context) (release func()) {
	places := make(chan struct{}, n)
	return func(ctx context.Context) func() {
		select {
		case places <- struct{}{}:
			return func() { <-places }
		case <-ctx.Done():
			return nil
		}
	}
}
