package operation_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/operation"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// all is what a reader says, in words.
func all(r *operation.Reader) string {
	list, err := r.List(task.ID{}, 100)
	expire, end, err2 := r.Due(at.Add(100 * time.Hour))
	text := fmt.Sprintln(list, err, expire, end, err2)
	open, _, err := r.Open()
	for _, o := range open {
		text += fmt.Sprintln(o.ID, o.Event, o.Targets, o.Final, err)
	}
	for _, o := range list {
		devices, err := r.Devices(o.ID, task.NoState, 0, 100)
		steps, err2 := r.History(o.ID)
		waves, err3 := r.Waves(o.ID)
		failed, number, ok, err4 := r.InStates(o.ID, task.Failed, task.Waiting)
		text += fmt.Sprintln(devices, err, steps, err2, waves, err3, failed, number, ok, err4)
	}
	paced, err := r.Paced()
	for _, o := range paced {
		text += fmt.Sprintln(o.Operation, o.Targets, o.Out, o.Final, err)
	}
	_, err = r.At(func(s *operation.Snapshot) error {
		text += fmt.Sprintln(s.Cancels())
		return nil
	})
	text += fmt.Sprintln(err)
	return text
}

func TestAsOf(t *testing.T) {
	view, r := operation.New()
	projectorstest.AsOf(t, history(t), view, func() string { return all(r) },
		func(p *projectors.Past) string { return all(operation.At(p)) })
}
