package console_test

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A late journal lets something happen right before the first event of a kind is
// appended, when it is signed already.
type late struct {
	journal.Journal
	of     event.Kind
	once   sync.Once
	before func()
}

func (l *late) AppendIf(ctx context.Context, guard func() error, events ...*event.Event) error {
	if events[0].Kind() == l.of {
		l.once.Do(l.before)
	}
	return l.Journal.AppendIf(ctx, guard, events...)
}

// changing makes the console's journal one before which the task key is changed, and
// the one that signed is retired, between the signing of an event and its append.
func (r *rig) changing(of event.Kind) {
	r.t.Helper()
	admin := event.Actor{Issuer: "test", Subject: "admin"}
	cfg := r.config()
	cfg.Journal = &late{Journal: r.journal, of: of, before: func() {
		if _, err := r.authority.RotateKey(r.t.Context(), admin, authority.KeyTask, "stolen"); err != nil {
			r.t.Error(err)
		}
		if _, err := r.authority.RetireKeys(r.t.Context(), admin, authority.KeyTask, "stolen", false, nil); err != nil {
			r.t.Error(err)
		}
	}}
	var err error
	if r.console, err = console.New(cfg); err != nil {
		r.t.Fatal(err)
	}
	r.server.Config.Handler = r.console.Handler()
	r.server.Close()
	r.server = httptest.NewServer(r.console.Handler())
	r.t.Cleanup(r.server.Close)
}

// A push that was signed before its key was retired, and comes to the journal
// behind that, is signed anew: agents would refuse it.
func TestPushWhileItsKeyIsRetired(t *testing.T) {
	r := newRig(t)
	r.join("pc-1")
	r.changing(event.KindOperationRequest)
	before := r.authority.TaskPublicKeys()
	made := call[console.PushReply](r, 200, "POST", console.PathOperations, console.PushRequest{Kind: "policy.machine", All: true})
	now := r.authority.TaskPublicKeys()
	if len(now) != 1 || now[0].Equal(before[0]) {
		t.Fatal("the key was not changed in between")
	}
	p, ok := r.last().Payload.(*event.OperationRequested)
	if !ok {
		t.Fatalf("the last event is %T", r.last().Payload)
	}
	if signed, err := p.Task.Verify("P01", now...); err != nil || signed.Operation.String() != made.Operation {
		t.Errorf("push %s is in the journal as operation %s: %v", made.Operation, signed.Operation, err)
	}
}

// The same for the word that cancels an operation.
func TestCancelWhileItsKeyIsRetired(t *testing.T) {
	r := newRig(t)
	r.join("pc-1")
	o := r.operation(t, task.Waiting)
	r.changing(event.KindOperationCancel)
	call[console.CancelReply](r, 200, "POST", console.Path(console.PathOperationCancel, o.ID.String()), console.ReasonRequest{})
	p, ok := r.last().Payload.(*event.OperationCancelled)
	if !ok {
		t.Fatalf("the last event is %T", r.last().Payload)
	}
	if _, err := task.VerifyCancel(p.Cancel, "P01", r.authority.TaskPublicKeys()...); err != nil {
		t.Errorf("agents do not trust the cancel: %v", err)
	}
}
