package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// pushFlags are what push is called with.
type pushFlags struct {
	all        bool
	devices    []string
	collection string
	params     []string
	retryOf    string
	runTimeout time.Duration
	key        string
	yes        bool
	watch      bool
	timeout    time.Duration
	orderFlags
}

const pushLong = `Make devices do something now.

KIND is what to do: policy.machine, discovery.collect, scan.quick, scan.full, and what
else the site knows. Devices that are online get the task within a second; those that
are off get it when they come back, until --deliver-by.

--collection means the members of a collection that have an agent and are not blocked, as
they were after one event, which the operation names: who enters later is not meant, and who
leaves still is.

The command asks first, if it has a terminal, for --all, for a collection and for more than
50 devices: it says how many devices it is for and how many of them are online. --yes answers
that. Without a terminal it does not ask, but for more than 50 devices it needs
--yes. --dry-run says whom it would be for, and does nothing.

A large push can go out bit by bit. --wave says how many devices go first, as a number
or a share of all, several separated by commas; who is left goes last. The next wave
follows when every device that was online has ended, or once the run timeout and five
minutes are over. --spread sends each wave over a time, --rate so many devices a second
at most. --stop-on-failure ends the push for all who have not begun once more than that
share has failed or run out of time, counted from ten ends on. --dry-run shows the plan.

A parameter is NAME=VALUE, with a value that is JSON or else a text. One that is given
several times is a list, and so is sha256 always (digests separated by commas).

The command may be sent again without harm: every call has an idempotency key, made
anew unless --idempotency-key gives one, and it is sent again by itself if the
connection breaks.

With --watch the command stays until every device has ended, or for --timeout, or
until Ctrl-C, which do not end the operation. It then ends with code 0 if all is
well, 3 if devices failed, refused, timed out, expired or were lost, and 1 if it
stopped watching before the end.`

func pushCommand(o *Options) *cobra.Command {
	f := new(pushFlags)
	c := &cobra.Command{
		Use:   "push KIND (--all | --device DEVICE... | --collection COLLECTION)",
		Short: "Make devices do something now",
		Long:  pushLong,
		Example: `  bugle push policy.machine --all --watch
  bugle push scan.quick --device PC-0042,PC-0043 --deliver-by 8h --reason 'ticket 4711'
  bugle push scan.quick --collection Laptops --wave 10%
  bugle push scan.quick --all --param sha256=275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f
  bugle push scan.full --all --dry-run
  bugle push scan.full --all --wave 5%,25% --spread 10m --stop-on-failure 10% --deliver-by 1d
  bugle push scan.full --all --not-before 2026-12-24T22:00:00Z --rate 50/s --priority 3
  id=$(bugle push discovery.collect --all --yes --quiet) && bugle ops watch "$id"`,
		Args:              exactly("KIND"),
		ValidArgsFunction: onlyFirst(o.complete(kindNames)),
		RunE: o.with(func(s *session, args []string) error {
			return s.push(args[0], f)
		}),
	}
	c.Flags().BoolVar(&f.all, "all", false, "all devices that are not blocked")
	c.Flags().StringSliceVar(&f.devices, "device", nil, "a device by number, id or name; may be repeated")
	c.Flags().StringVar(&f.collection, "collection", "", "the devices in this collection, by id or name")
	c.Flags().StringArrayVar(&f.params, "param", nil, "a parameter of the kind as NAME=VALUE; may be repeated")
	c.Flags().DurationVar(&f.runTimeout, "run-timeout", 0, "how long one run may take (default by kind)")
	c.Flags().StringVar(&f.retryOf, "retry-of", "", "the operation that this one repeats, for the history; 'bugle ops retry' finds its devices too")
	f.orderFlags.add(c)
	c.Flags().StringVar(&f.key, "idempotency-key", "", "1 to 64 visible characters that name this push; the same key never pushes twice (default random)")
	c.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&f.watch, "watch", false, "show progress until every device has ended")
	c.Flags().DurationVar(&f.timeout, "timeout", 0, "with --watch: stop watching after this time (default never)")
	c.RegisterFlagCompletionFunc("device", o.complete(deviceNames))
	c.RegisterFlagCompletionFunc("collection", o.complete(collectionNames))
	return c
}

// request is what the flags ask for.
func (f *pushFlags) request(kind string, now time.Time) (r console.PushRequest, err error) {
	r = console.PushRequest{Kind: kind, All: f.all, Devices: f.devices, Collection: f.collection, RetryOf: f.retryOf}
	switch {
	case f.all && len(f.devices) > 0:
		return r, usage("--all and --device exclude each other")
	case f.collection != "" && (f.all || len(f.devices) > 0):
		return r, usage("--collection excludes --all and --device")
	case !f.all && len(f.devices) == 0 && f.collection == "":
		return r, usage("no devices: name them with --device or --collection, or give --all")
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
	if r.RunTimeoutSeconds, err = seconds("--run-timeout", f.runTimeout); err != nil {
		return r, err
	}
	if r.RetryOf != "" {
		if err := operationID(r.RetryOf); err != nil {
			return r, err
		}
	}
	o, err := f.order(now)
	if err != nil {
		return r, err
	}
	r.NotBefore, r.DeliverBy, r.DeliverBySeconds = o.notBefore, o.deliverBy, o.deliverBySeconds
	r.Pace, r.Reason, r.DryRun = o.pace, f.reason, f.dryRun
	r.Params, err = parseParams(f.params)
	return r, err
}

func checkKey(key string) error {
	if len(key) > 64 || strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return usage("--idempotency-key: %q is not 1 to 64 visible ASCII characters", key)
	}
	return nil
}

// seconds is d in whole seconds, the unit of the API.
func seconds(what string, d time.Duration) (int64, error) {
	if d%time.Second != 0 {
		return 0, usage("%s: %s is not in whole seconds", what, d)
	}
	return int64(d / time.Second), nil
}

// parseDuration is time.ParseDuration with days.
func parseDuration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseInt(days, 10, 32)
		if err == nil && (n > maxDays || n < -maxDays) {
			err = strconv.ErrRange
		}
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(text)
}

const maxDays = 10_000 // far above what the site takes, far below an overflow

// listParams are parameters that are a list however many values are given.
var listParams = map[string]bool{"sha256": true}

func parseParams(pairs []string) (map[string]any, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	values := map[string][]any{}
	for _, pair := range pairs {
		name, text, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usage("--param: %q is not NAME=VALUE", pair)
		}
		if listParams[name] && !strings.HasPrefix(text, "[") {
			for part := range strings.SplitSeq(text, ",") {
				values[name] = append(values[name], strings.TrimSpace(part))
			}
			continue
		}
		var v any
		if json.Unmarshal([]byte(text), &v) != nil {
			v = text
		}
		if list, ok := v.([]any); ok && listParams[name] {
			values[name] = append(values[name], list...)
			continue
		}
		values[name] = append(values[name], v)
	}
	params := map[string]any{}
	for name, v := range values {
		if len(v) == 1 && !listParams[name] {
			params[name] = v[0]
		} else {
			params[name] = v
		}
	}
	return params, nil
}

func (s *session) push(kind string, f *pushFlags) error {
	r, err := f.request(kind, s.time())
	if err != nil {
		return err
	}
	send := func(dry bool, key string) (console.PushReply, error) {
		r.DryRun = dry
		reply, err := s.operate(console.PathOperations, r, key, dry)
		if err == nil && dry {
			r.MembersAt = reply.MembersAt // what is pushed is what was shown
		}
		return reply, err
	}
	if f.dryRun {
		return s.rehearsal(send)
	}
	if r.All || r.Collection != "" || len(r.Devices) > large {
		if err := s.confirmPush(kind, r.All || r.Collection != "", f.yes, send); err != nil {
			return err
		}
	}
	return s.carryOut(send, f.key, f.watch, f.timeout)
}

// A sender sends a push, or rehearses it.
type sender func(dry bool, key string) (console.PushReply, error)

// rehearsal shows whom a push would be for, and when it would go.
func (s *session) rehearsal(send sender) error {
	reply, err := send(true, "")
	if err != nil {
		return err
	}
	s.showRehearsal(reply)
	return nil
}

// carryOut sends a push and shows what became of it.
func (s *session) carryOut(send sender, key string, watch bool, timeout time.Duration) error {
	reply, err := send(false, key)
	if err != nil {
		return err
	}
	s.warnings(reply)
	if !watch {
		s.showPushed(pushed{PushReply: reply})
		if s.out.table() {
			s.note("Watch it with: bugle ops watch %s", reply.Operation)
		}
		return nil
	}
	s.note("Operation %s: %s for %s, %d of them online.", reply.Operation, reply.Kind, countOf(reply.Targets, "device"), reply.Online)
	op, watched := s.watch(reply.Operation, reply.Event, timeout)
	result := pushed{PushReply: reply}
	if op != nil {
		result.States, result.Done = op.States, &op.Done
	}
	s.showPushed(result)
	return watched
}

func (s *session) confirmPush(kind string, always, yes bool, send sender) error {
	if yes {
		return nil
	}
	reply, err := send(true, "")
	if err != nil {
		return err
	}
	whom := countOf(reply.Targets, "device")
	if reply.Collection != "" {
		whom += " in " + reply.Target
	}
	question := fmt.Sprintf("Push %s to %s, %d of them online?", kind, whom, reply.Online)
	return s.confirm(yes, always, int(reply.Targets), question)
}

// operate sends the push, again if need be: its key makes that harmless.
func (s *session) operate(path string, body any, key string, dry bool) (reply console.PushReply, err error) {
	if key == "" && !dry {
		key = task.NewRandomID().String()
	}
	err = s.client.callAgain(s.ctx, request{method: http.MethodPost, path: path, body: body, key: key}, &reply)
	if !dry && (mayPass(err) || err != nil && s.ctx.Err() != nil) {
		return reply, fmt.Errorf("%w; it is not known whether the push was taken: give it again with --idempotency-key %s, which cannot push twice", err, key)
	}
	return reply, err
}

// warnings tells what may not be meant.
func (s *session) warnings(r console.PushReply) {
	for _, w := range r.Warnings {
		s.warn("%s", w)
	}
}

// pushed is a push as it is shown: once it was watched, with its states.
type pushed struct {
	console.PushReply
	States map[string]uint32 `json:"states,omitempty"`
	Done   *bool             `json:"done,omitempty"`
}

func (s *session) showPushed(p pushed) {
	if s.Quiet && s.out.table() {
		s.out.printf("%s\n", clean(p.Operation))
		return
	}
	fields := []field{
		{"Operation", "operation", p.Operation}, {"Kind", "kind", p.Kind}, {"Targets", "targets", p.Targets},
		{"Online", "online", p.Online}, {"Deliver by", "deliverBy", p.DeliverBy}, {"Event", "event", p.Event},
	}
	switch {
	case p.RetryOf != "" || !s.out.table():
		fields = append(fields, field{"Retry of", "retryOf", p.RetryOf}, field{"For", "target", p.Target})
	case p.Collection != "":
		fields = append(fields, field{"For", "target", p.Target})
	}
	if p.States != nil && !s.out.table() {
		fields = append(fields, stateFields(p.States)...)
	}
	s.out.object(p, fields)
	s.showPlan(p.Plan)
	if p.States != nil && s.out.table() {
		s.out.printf("\n")
		s.out.states(p.States)
	}
}

func (s *session) showRehearsal(r console.PushReply) {
	fields := []field{
		{"Kind", "kind", r.Kind}, {"Targets", "targets", r.Targets}, {"Online", "online", r.Online},
		{"Deliver by", "deliverBy", r.DeliverBy}, {"Devices", "devices", strings.Join(r.Devices, " ")},
	}
	if r.RetryOf != "" || r.Collection != "" {
		fields = append(fields, field{"For", "target", r.Target})
	}
	if r.LeftOut > 0 {
		fields = append(fields, field{"Left out", "leftOut", r.LeftOut})
	}
	s.out.object(r, fields)
	if more := int(r.Targets) - len(r.Devices); s.out.table() && more > 0 {
		s.out.printf("and %d more\n", more)
	}
	s.showPlan(r.Plan)
	s.warnings(r)
	s.note("Nothing was pushed.")
}

// showPlan shows when which wave goes, in a table.
func (s *session) showPlan(p *console.Plan) {
	if p == nil || !s.out.table() {
		return
	}
	g := &grid{head: []string{"WAVE", "DEVICES", "SPREAD", "EARLIEST", "LATEST"}}
	for _, w := range p.Waves {
		g.rows = append(g.rows, []any{w.Wave, w.Devices, inSeconds(w.SpreadSeconds), w.Earliest, w.Latest})
	}
	g.rows = append(g.rows, []any{"sent", "", "", p.Earliest, p.Latest})
	s.out.printf("\n")
	s.out.grid(g)
}

func inSeconds(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second)
}
