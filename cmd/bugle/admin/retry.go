package admin

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// retryFlags are what ops retry is called with.
type retryFlags struct {
	only       []string
	statesAt   uint64
	runTimeout time.Duration
	key        string
	yes        bool
	watch      bool
	timeout    time.Duration
	orderFlags
}

const retryLong = `Push what an operation pushed once more, with the same kind and parameters, to those of
its devices that are in some states. It is a new operation that names the one it
repeats. Which devices these are is settled when the command is taken: the answer names
the event as of which their states were read, or --states-at does.

It asks and watches as 'bugle push' does.`

func opsRetry(o *Options) *cobra.Command {
	f := new(retryFlags)
	names := mapped(task.States, task.State.String)
	c := &cobra.Command{
		Use:   "retry ID --only STATE...",
		Short: "Push an operation once more to those that failed",
		Long:  retryLong,
		Example: `  bugle ops retry 01936f5e-8a6b-7c1d-9e2f-0123456789ab --only failed,expired --deliver-by 7d
  bugle ops retry ID --only lost --dry-run`,
		Args:              exactly("ID"),
		ValidArgsFunction: onlyFirst(o.complete(operationIDs)),
		RunE: o.with(func(s *session, args []string) error {
			return s.retry(args[0], f)
		}),
	}
	c.Flags().StringSliceVar(&f.only, "only", nil, "states of the devices that are tried again; may be repeated")
	c.RegisterFlagCompletionFunc("only", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	c.Flags().Uint64Var(&f.statesAt, "states-at", 0, "the event as of which the states are read (default now)")
	c.Flags().DurationVar(&f.runTimeout, "run-timeout", 0, "how long one run may take (default that of the operation)")
	f.orderFlags.add(c)
	c.Flags().StringVar(&f.key, "idempotency-key", "", "1 to 64 visible characters that name this push; the same key never pushes twice (default random)")
	c.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&f.watch, "watch", false, "show progress until every device has ended")
	c.Flags().DurationVar(&f.timeout, "timeout", 0, "with --watch: stop watching after this time (default never)")
	return c
}

func (f *retryFlags) request(now time.Time) (r console.RetryRequest, err error) {
	if len(f.only) == 0 {
		return r, usage("--only says which devices: those that are failed, expired, lost ...")
	}
	for _, w := range f.only {
		if _, ok := task.ParseState(w); !ok {
			return r, usage("--only: %q is none of %s", w, strings.Join(mapped(task.States, task.State.String), ", "))
		}
	}
	switch {
	case f.timeout < 0 || f.timeout > 0 && !f.watch:
		return r, usage("--timeout is for --watch, and not less than 0")
	case f.dryRun && f.watch:
		return r, usage("--dry-run does nothing that --watch could show")
	case f.runTimeout < 0:
		return r, usage("--run-timeout: %s is less than 0", f.runTimeout)
	}
	if err := checkKey(f.key); err != nil {
		return r, err
	}
	o, err := f.order(now)
	if err != nil {
		return r, err
	}
	r = console.RetryRequest{Only: f.only, StatesAt: f.statesAt, NotBefore: o.notBefore, DeliverBy: o.deliverBy,
		DeliverBySeconds: o.deliverBySeconds, Reason: f.reason, Pace: o.pace}
	r.RunTimeoutSeconds, err = seconds("--run-timeout", f.runTimeout)
	return r, err
}

func (s *session) retry(id string, f *retryFlags) error {
	if err := operationID(id); err != nil {
		return err
	}
	r, err := f.request(s.time())
	if err != nil {
		return err
	}
	send := func(dry bool, key string) (console.PushReply, error) {
		r.DryRun = dry
		return s.operate(console.Path(console.PathOperationRetry, id), r, key, dry)
	}
	if f.dryRun {
		return s.rehearsal(send)
	}
	if err := s.confirmPush("again what operation "+id+" pushed", false, f.yes, send); err != nil {
		return err
	}
	return s.carryOut(send, f.key, f.watch, f.timeout)
}
