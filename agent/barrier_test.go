package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A machine that has no policy yet does not know its windows: an intrusive task that
// comes with the welcome waits until the site has said what holds.
func TestIntrusiveTaskWaitsForTheFirstPolicy(t *testing.T) {
	for name, windows := range map[string]bool{"with windows": true, "no policy": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, d := newSite(t, 0), &diary{}
				cfg := s.config()
				cfg.Actions = []action.Description{d.kind("test.restart", action.Barrier)}
				s.start(s.device(), cfg)
				p := s.accept()
				if windows {
					p.publishAll(document{Windows: closed(s)})
				}
				p.mu.Lock()
				answer := p.policyF
				p.policyF = func(m *wire.PolicyRequest) [][]byte {
					time.Sleep(10 * time.Second)
					if answer == nil {
						return nil
					}
					return answer(m)
				}
				p.mu.Unlock()
				p.welcome()
				m := s.order("test.restart", nil)
				p.send(m)
				time.Sleep(9 * time.Second)
				if got := d.String(); got != "" {
					t.Fatalf("ran %s before policy was known", got)
				}
				p.expect(operationOf(m), task.Delivered)
				if windows {
					p.expect(operationOf(m), task.Deferred)
					return
				}
				p.expect(operationOf(m), task.Running, task.Succeeded)
			})
		})
	}
}

// A barrier that was put on record and then not started, for the agent stops, has
// not succeeded because the machine starts again.
func TestBarrierThatWasNotStartedHasNotSucceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d, rec := newSite(t, 0), &diary{}, &memoryRecord{}
		barrier := d.kind("test.restart", action.Barrier)
		cfg := s.config()
		cfg.Record, cfg.Actions = rec, []action.Description{barrier}
		a := s.start(s.device(), cfg)
		p := s.accept().welcome()
		settle()
		written, stopped := make(chan struct{}), make(chan struct{})
		rec.mu.Lock()
		rec.step = func(bool) fault {
			rec.step = nil
			close(written)
			<-stopped
			return noFault
		}
		rec.mu.Unlock()
		m := s.order("test.restart", nil)
		p.send(m)
		<-written
		a.stop()
		settle() // the agent waits for its tasks
		close(stopped)
		a.halt()
		if d.String() != "" {
			t.Fatal("it was started")
		}
		if r := p.expect(operationOf(m), task.Delivered, task.Running, task.Failed); r.Detail != detailInterrupted {
			t.Errorf("detail %q", r.Detail)
		}
	})
}
