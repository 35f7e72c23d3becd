package status_test

import (
	"fmt"
	"testing"

	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
	"github.com/bugle-fleet/bugle/projectors/status"
)

// all is what a reader says, in words.
func all(r *status.Reader) string {
	messages, err := r.Messages(0, 100)
	listeners, err2 := r.Listeners()
	quarantined, err3 := r.Quarantined()
	failures, err4 := r.SignInFailures(100)
	return fmt.Sprintln(messages, err, listeners, err2, quarantined, err3, failures, err4)
}

func TestAsOf(t *testing.T) {
	view, r := status.New()
	projectorstest.AsOf(t, history(t), view, func() string { return all(r) },
		func(p *projectors.Past) string { return all(status.At(p)) })
}
