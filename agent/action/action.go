package action

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	// Scan returns what policy says about scans.
	Scan() ScanPolicy
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
	Normal Class = iota // beside anything
	Alone               // one of this class at a time: it loads the machine
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
}

// Table returns the kinds that this machine has, by name. It fails if the
// configured scanner cannot be used.
func Table(cfg Config) (map[string]Description, error) {
	s, err := newScan(cfg)
	if err != nil {
		return nil, err
	}
	table := make(map[string]Description)
	for _, d := range []Description{
		{"policy.machine", Normal, true, 5 * time.Minute, Func(fetchPolicy)},
		{"discovery.collect", Normal, true, 5 * time.Minute, discovery{cfg.Version}},
		{"scan.quick", Alone, false, time.Hour, Func(s.quick)},
		{"scan.full", Alone, false, 24 * time.Hour, Func(s.full)},
	} {
		table[d.Kind] = d
	}
	return table, nil
}

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
