package action

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// An Action does one kind of task. Run returns soon after ctx ends; what it
// returns then does not count. It may be called by several goroutines.
type Action interface {
	Run(ctx context.Context, req Request) Outcome
}

// A Func is an [Action] that is a function.
type Func func(ctx context.Context, req Request) Outcome

// Run calls f.
func (f Func) Run(ctx context.Context, req Request) Outcome { return f(ctx, req) }

// A Request is one task for an action.
type Request struct {
	Operation task.ID
	Kind      string
	Params    []byte // a JSON object, or empty
	Host      Host
}

// A Host is what an action may ask of the agent that runs it.
type Host interface {
	// FetchPolicy fetches the device's policy and applies it. What it returns
	// is for people.
	FetchPolicy(ctx context.Context) (detail string, err error)
	// SendFacts returns once the site has the facts on disk.
	SendFacts(ctx context.Context, facts []Fact) error
	// Changes returns which facts the site does not have as they are, of those that
	// belong to one topic: those that are gone have no value. done is called once the
	// site has them on disk.
	Changes(ctx context.Context, topic string, facts []Fact) (changed []Fact, done func(), err error)
	// Scan returns what policy says about scans.
	Scan() ScanPolicy
	// FetchUserPolicy fetches the policy of a person who is signed in here, or of
	// all of them for "", and applies it. What it returns is for people.
	FetchUserPolicy(ctx context.Context, user string) (detail string, err error)
	// LogFiles returns the files that policy lets logs.collect take besides the
	// agent's own logs: full paths, or patterns of [filepath.Match].
	LogFiles() []string
	// Upload sends size bytes of body, whose SHA-256 is sum, as what the operation
	// collected. It returns once the site has them on disk.
	Upload(ctx context.Context, operation task.ID, body io.ReaderAt, size int64, sum Digest) error
	// Verbose makes the agent log in detail for a while; 0 ends that.
	Verbose(d time.Duration)
}

// ScanPolicy is what policy says about scans.
type ScanPolicy struct {
	Folders    []string // where to look; empty for the default
	Indicators []Digest // what to look for besides what the task says
}

// A Digest is the SHA-256 of a file.
type Digest [32]byte

// ParseDigest reads 64 hexadecimal digits.
func ParseDigest(s string) (d Digest, err error) {
	if len(s) != 2*len(d) {
		return d, fmt.Errorf("%q is not a SHA-256: it has 64 hexadecimal digits", cut(s, 80))
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return Digest{}, fmt.Errorf("%q is not a SHA-256: it has 64 hexadecimal digits", s)
	}
	return d, nil
}

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// A Fact is one thing found out about the machine.
type Fact struct{ Name, Value string }

// An Outcome is how a task ended: State is succeeded, failed, refused or
// not-applicable.
type Outcome struct {
	State  task.State
	Code   int32  // the action's own code, 0 if all is well
	Detail string // for people
}

// A Class says what may run beside a task.
type Class uint8

// The classes.
const (
	Normal    Class = iota // beside anything
	Alone                  // one of this class at a time: it loads the machine
	Intrusive              // like Alone, and only in maintenance windows
	Barrier                // nothing runs beside it, and what came before it has ended; only in maintenance windows
)

// A Description is one kind of task.
type Description struct {
	Kind        string
	Class       Class
	AtLeastOnce bool          // may start again after a crash; others start once, whatever happens
	Timeout     time.Duration // how long it may run if the task does not say
	Action      Action
}

// Config says how the kinds of [Table] do their work.
type Config struct {
	Version string   // the agent's
	Scanner string   // "auto" (default), "builtin", or the path of a scanner
	Folders []string // what a quick scan looks at unless policy names folders
	Roots   []string // what a full scan looks at; empty for all (the built-in scanner: Folders)
	Rate    int64    // bytes per second that the built-in scanner reads, default 64 MiB

	// State is a folder of the agent's own, for what must outlive a task: what holds
	// of threats, and files in quarantine. Empty: kinds that need it do not apply.
	State string
	// Logs is the folder of the agent's logs, for logs.collect; may be empty.
	Logs string
}

// Table returns the kinds that this machine has, by name. It fails if the
// configured scanner cannot be used. Kinds that administrators add are not in it:
// [Find] looks for them when they are asked for.
func Table(cfg Config) (map[string]Description, error) { return tableOf(cfg, thisSystem()) }

func tableOf(cfg Config, sys system) (map[string]Description, error) {
	keep := &protection{dir: cfg.State}
	s, err := newScan(cfg, &sys, keep)
	if err != nil {
		return nil, err
	}
	threats := &threats{sys: &sys, keep: keep, scanner: s.scanner}
	updates := &updates{sys: &sys}
	stock := &stock{sys: &sys}
	table := make(map[string]Description)
	for _, d := range []Description{
		{"policy.machine", Normal, true, 5 * time.Minute, Func(fetchPolicy)},
		{"policy.user", Normal, true, 5 * time.Minute, Func(fetchUserPolicy)},
		{"discovery.collect", Normal, true, 5 * time.Minute, discovery{cfg.Version}},
		{"scan.quick", Alone, false, time.Hour, Func(s.quick)},
		{"scan.full", Alone, false, 24 * time.Hour, Func(s.full)},
		{"definitions.download", Normal, true, 30 * time.Minute, Func(threats.definitions)},
		{"threat.exclude", Normal, true, 5 * time.Minute, Func(threats.exclude)},
		{"threat.allow", Normal, true, 5 * time.Minute, Func(threats.allow)},
		{"threat.override", Normal, true, 5 * time.Minute, Func(threats.override)},
		{"threat.restore", Normal, true, 15 * time.Minute, Func(threats.restore)},
		{"inventory.hardware", Normal, true, 10 * time.Minute, Func((&hardware{sys: &sys}).run)},
		{"inventory.software", Normal, true, 15 * time.Minute, Func(stock.inventory)},
		{"application.evaluate", Normal, true, 15 * time.Minute, Func(stock.evaluate)},
		{"update.evaluate", Normal, true, 30 * time.Minute, Func(updates.evaluate)},
		{"update.install", Intrusive, false, time.Hour, Func(updates.install)},
		{"health.attest", Normal, true, 10 * time.Minute, Func((&health{sys: &sys, cfg: cfg}).run)},
		{"restart", Barrier, false, 30 * time.Minute, Func((&restart{sys: &sys}).run)},
		{"wake", Normal, true, 2 * time.Minute, Func(newWaker().run)},
		{"logs.collect", Normal, true, 15 * time.Minute, Func((&collector{dir: cfg.State, logs: cfg.Logs}).run)},
		{"logs.verbose.on", Normal, true, time.Minute, Func(verboseOn)},
		{"logs.verbose.off", Normal, true, time.Minute, Func(verboseOff)},
	} {
		table[d.Kind] = d
	}
	return table, nil
}

func fetchUserPolicy(ctx context.Context, req Request) Outcome {
	var p struct {
		User string `json:"user"`
	}
	if err := decodeParams(req.Params, &p); err != nil {
		return refused(err)
	}
	if len(p.User) > maxUser || strings.ContainsFunc(p.User, func(r rune) bool { return r < ' ' || r == 0x7f || r == '/' }) {
		return refused(fmt.Errorf("parameters: user: %q is not a user's name", cut(p.User, 80)))
	}
	detail, err := req.Host.FetchUserPolicy(ctx, p.User)
	if err != nil {
		return failed(err)
	}
	return Outcome{State: task.Succeeded, Detail: detail}
}

const maxUser = 256 // bytes of a user's name

func fetchPolicy(ctx context.Context, req Request) Outcome {
	if err := decodeParams(req.Params, &struct{}{}); err != nil {
		return refused(err)
	}
	detail, err := req.Host.FetchPolicy(ctx)
	if err != nil {
		return failed(err)
	}
	return Outcome{State: task.Succeeded, Detail: detail}
}

// decodeParams reads a JSON object into dst and takes nothing that dst has no
// field for. No parameters at all are the empty object.
func decodeParams(params []byte, dst any) error {
	if len(params) == 0 {
		return nil
	}
	if b := bytes.TrimLeft(params, " \t\r\n"); len(b) == 0 || b[0] != '{' {
		return errors.New("parameters: not a JSON object")
	}
	dec := json.NewDecoder(bytes.NewReader(params))
	dec.DisallowUnknownFields()
	if err := dec.Decode(dst); err != nil {
		return fmt.Errorf("parameters: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("parameters: something follows the JSON object")
	}
	return nil
}

func refused(err error) Outcome { return Outcome{State: task.Refused, Detail: err.Error()} }
func failed(err error) Outcome  { return Outcome{State: task.Failed, Detail: err.Error()} }

// notHere is the outcome of a kind that this machine has no way to do.
func notHere(format string, args ...any) Outcome {
	return Outcome{State: task.NotApplicable, Detail: fmt.Sprintf(format, args...)}
}
