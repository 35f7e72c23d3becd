package admin

import (
	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
)

var stepColumns = []column[console.TraceStep]{
	{"at", false, func(t console.TraceStep) any { return exact(t.At) }},
	{"hopMs", false, func(t console.TraceStep) any { return millis(t.HopMS) }},
	{"what", false, func(t console.TraceStep) any { return state(t.What) }},
	{"device", false, func(t console.TraceStep) any { return orNothing(t.Device) }},
	{"name", false, func(t console.TraceStep) any { return t.Name }},
	{"event", false, func(t console.TraceStep) any { return orNothing(t.Event) }},
	{"detail", false, func(t console.TraceStep) any { return long(t.Detail) }},
}

// orNothing is n, or an empty text for 0.
func orNothing[N uint32 | uint64](n N) any {
	if n == 0 {
		return ""
	}
	return n
}

func traceCommand(o *Options) *cobra.Command {
	var device string
	var past pastFlag
	c := &cobra.Command{
		Use:   "trace ID",
		Short: "Show the life of an operation step by step",
		Long: `Show the life of an operation, or with --device of one device in it, step by step: when
it was requested, sent, delivered, run and recorded, how long each step took since the
one before it, and which event of the journal says so ('bugle journal show N').`,
		Example:           "  bugle trace 01936f5e-8a6b-7c1d-9e2f-0123456789ab --device PC-0042",
		Args:              exactly("ID"),
		ValidArgsFunction: onlyFirst(o.complete(operationIDs)),
		RunE: o.with(func(s *session, args []string) error {
			if err := operationID(args[0]); err != nil {
				return err
			}
			if err := past.check(); err != nil {
				return err
			}
			var t console.TraceReply
			err := s.getAs(s.ctx, &past, console.Path(console.PathOperationTrace, args[0]), query("device", device), &t)
			if err != nil {
				return err
			}
			if s.out.format == "json" {
				s.out.json(t, true)
			} else if err := list(s.out, stepColumns, all(t.Steps)); err != nil {
				return err
			}
			if t.Cut {
				s.warn("there are more steps than one answer holds; ask for one device with --device")
			}
			return nil
		}),
	}
	c.Flags().StringVar(&device, "device", "", "only the steps of this device, by number, id or name")
	c.RegisterFlagCompletionFunc("device", o.complete(deviceNames))
	past.add(c)
	return c
}
