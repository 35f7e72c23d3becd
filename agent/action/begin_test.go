//go:build unix

package action

import (
	"context"
	"errors"
	"testing"
)

// The first program does not start once it is too late, nor does any after it; a
// task that has begun goes on.
func TestBegin(t *testing.T) {
	late := false
	is := func() bool { return late }
	echo := command{path: "/bin/echo", args: []string{"x"}}

	ctx, b := Begin(context.Background(), is)
	for range 2 {
		if e, err := runCommand(ctx, echo); err != nil || e.output != "x\n" || b.Refused() {
			t.Errorf("%+v, %v", e, err)
		}
		late = true
	}
	ctx, b = Begin(context.Background(), is)
	for range 2 {
		if e, err := runCommand(ctx, echo); !errors.Is(err, errTooLate) || e.output != "" || !b.Refused() {
			t.Errorf("too late: %+v, %v", e, err)
		}
	}
	if e, err := runCommand(context.Background(), echo); err != nil || e.output != "x\n" {
		t.Errorf("nobody asks: %+v, %v", e, err)
	}
}
