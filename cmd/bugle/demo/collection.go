package demo

import (
	"context"
	"fmt"
	"strings"

	"github.com/bugle-fleet/bugle/console"
)

// The collection that the demo makes: the agents whose names end in an odd digit.
const (
	oddName  = "Odd ones"
	oddQuery = `select * from SMS_R_System where Name like "demo-%[13579]"`
)

// collect makes a collection, waits until it has its members, and pushes to it.
func (d *demo) collect(ctx context.Context) error {
	want := 0
	for _, m := range d.fleet.members {
		if strings.ContainsAny(m.name[len(m.name)-1:], "13579") {
			want++
		}
	}
	d.say("\n$ bugle collections create '%s' --query '%s' --incremental", oddName, oddQuery)
	if _, err := d.Command(ctx, "collections", "create", oddName, "--query", oddQuery, "--incremental", "--data", d.Data); err != nil {
		return fmt.Errorf("bugle collections create: %w", err)
	}
	if err := d.gather(ctx, want); err != nil {
		return err
	}
	d.say("%d members", want)
	var pushed console.PushReply
	args := []string{"push", "policy.machine", "--collection", oddName, "--yes"}
	d.say("\n$ bugle push policy.machine --collection '%s' --yes", oddName)
	if err := d.command(ctx, &pushed, args...); err != nil {
		return err
	}
	op, err := d.follow(ctx, pushed.Operation, want, nil)
	if err != nil {
		return err
	}
	d.say("%d of %d members fetched their policy: %s", op.States["succeeded"], pushed.Targets, pushed.Target)
	return nil
}

// gather waits until the collection has n members.
func (d *demo) gather(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the collection did not have %d members within %s", n, patience))
	defer cancel()
	for {
		var members []console.Device
		if err := d.command(ctx, &members, "collections", "members", oddName); err != nil {
			return err
		}
		if len(members) == n {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}
