package action

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/schema"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// OwnPrefix begins the names of the kinds that administrators add.
const OwnPrefix = "command."

// Bounds of an administrator's kind.
const (
	maxManifest     = 128 << 10 // bytes
	maxAbout        = 1024
	defaultOwnTime  = time.Hour
	maxOwnTime      = 24 * time.Hour
	notApplicable   = 77 // the code by which an executable says that it does not apply here
	ownOutput       = task.MaxDetail - 256
	manifestVersion = 1
)

// A manifest says what an administrator's kind is.
type manifest struct {
	Version     int             `json:"version"`
	About       string          `json:"about"`
	Class       string          `json:"class"`          // normal (default), intrusive or barrier
	Timeout     int64           `json:"timeoutSeconds"` // default an hour
	AtLeastOnce bool            `json:"atLeastOnce"`    // it may start again after a crash of the agent
	Parameters  json.RawMessage `json:"parameters"`     // a schema; none: there are no parameters

	class  Class
	limit  time.Duration
	schema *schema.Schema
}

var ownClasses = map[string]Class{"": Normal, "normal": Normal, "intrusive": Intrusive, "barrier": Barrier}

func parseManifest(text []byte) (*manifest, error) {
	m := new(manifest)
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(m); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("something follows it")
	}
	var known bool
	m.class, known = ownClasses[m.Class]
	switch {
	case m.Version != manifestVersion:
		return nil, fmt.Errorf("version %d, this agent reads version %d", m.Version, manifestVersion)
	case !known:
		return nil, fmt.Errorf("class %q is not normal, intrusive or barrier", cut(m.Class, 80))
	case m.Timeout < 0 || m.Timeout > int64(maxOwnTime/time.Second):
		return nil, fmt.Errorf("timeoutSeconds %d is not between 0 and %d", m.Timeout, maxOwnTime/time.Second)
	case m.class == Barrier && m.AtLeastOnce:
		return nil, errors.New("a barrier starts once: one that restarts the machine would start again after each boot")
	case len(m.About) > maxAbout:
		return nil, fmt.Errorf("about has %d bytes, at most %d are taken", len(m.About), maxAbout)
	}
	if m.limit = time.Duration(m.Timeout) * time.Second; m.limit == 0 {
		m.limit = defaultOwnTime
	}
	if m.Parameters == nil {
		m.Parameters = []byte(`{"type":"object"}`)
	}
	var err error
	m.schema, err = schema.Parse(m.Parameters)
	return m, err
}

var ownName = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9_-]{0,38}[a-z0-9])?$`)

// Find returns the kind of this name that an administrator has put into the folder
// dir; ok is false if there is none. It is looked for anew each time, so that kinds
// come, change and go without a restart of the agent. One that is there and cannot be
// used has an action that says why.
func Find(dir, kind string) (d Description, ok bool) { return find(dir, kind, runCommand) }

func find(dir, kind string, run func(context.Context, command) (ending, error)) (d Description, ok bool) {
	name, own := strings.CutPrefix(kind, OwnPrefix)
	if dir == "" || !own || !ownName.MatchString(name) {
		return d, false
	}
	c := &ownKind{dir: dir, name: name, exec: run}
	m, err := c.manifest()
	if errors.Is(err, fs.ErrNotExist) {
		return d, false
	}
	d = Description{Kind: kind, Class: Normal, Timeout: defaultOwnTime}
	if err != nil {
		err = fmt.Errorf("use kind %s: %w", kind, err)
		d.Action = Func(func(context.Context, Request) Outcome { return failed(err) })
		return d, true
	}
	c.class = m.class
	d.Class, d.AtLeastOnce, d.Timeout, d.Action = m.class, m.AtLeastOnce, m.limit, Func(c.run)
	return d, true
}

// ownKind is one kind that an administrator added: DIR/NAME is the executable (NAME.exe
// on Windows), and DIR/NAME.json its manifest.
type ownKind struct {
	dir, name string
	class     Class // by which it waited
	exec      func(context.Context, command) (ending, error)
}

// manifest opens the folder, checks that nobody else may write it, and reads.
func (c *ownKind) manifest() (*manifest, error) {
	dir, err := c.folder()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := trusted(dir, c.name+".json")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxManifest:
		return nil, fmt.Errorf("the manifest has more than %d bytes", maxManifest)
	}
	m, err := parseManifest(text)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

func (c *ownKind) folder() (*os.Root, error) {
	dir, err := openFolder(c.dir)
	if err != nil {
		return nil, err
	}
	info, err := dir.Stat(".")
	if err == nil {
		err = onlyOurs(info)
	}
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("folder %s: %w", c.dir, err)
	}
	return dir, nil
}

// trusted opens a file of which nobody else could be the author. What is checked is
// the open file.
func trusted(dir *os.Root, name string) (*os.File, error) {
	was, err := dir.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !was.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", name, errNotRegular)
	}
	f, err := dir.OpenFile(name, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err == nil && !os.SameFile(was, info):
		err = errors.New("it was replaced meanwhile")
	case err == nil:
		err = onlyOurs(info)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// onlyOurs checks that root owns it, or whoever this process is, and that nobody
// else may write it. Windows has no such mode: there the folder's own rights hold,
// which are those of Program Files.
func onlyOurs(info fs.FileInfo) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	owner, _, ok := ownerOf(info)
	switch {
	case !ok:
		return errors.New("its owner is not known")
	case owner != 0 && int(owner) != os.Geteuid():
		return fmt.Errorf("user %d owns it, root must", owner)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others may write it (mode %04o)", info.Mode().Perm())
	}
	return nil
}

// run checks everything again, for much may have changed while the task waited, and
// starts the executable with the parameters on its standard input.
func (c *ownKind) run(ctx context.Context, req Request) Outcome {
	m, err := c.manifest()
	if err != nil {
		return failed(fmt.Errorf("use kind %s: %w", req.Kind, err))
	}
	if m.class != c.class { // it did not wait for what this one must
		return failed(fmt.Errorf("use kind %s: its class was changed while the task waited", req.Kind))
	}
	params, err := m.params(req.Params)
	if err != nil {
		return refused(err)
	}
	dir, err := c.folder()
	if err != nil {
		return failed(fmt.Errorf("use kind %s: %w", req.Kind, err))
	}
	defer dir.Close()
	file := c.name
	if runtime.GOOS == "windows" {
		file += ".exe"
	}
	f, err := trusted(dir, file)
	if err != nil {
		return failed(fmt.Errorf("use kind %s: %w", req.Kind, err))
	}
	defer f.Close()
	if info, err := f.Stat(); runtime.GOOS != "windows" && (err != nil || info.Mode().Perm()&0o100 == 0) {
		return failed(fmt.Errorf("use kind %s: %s is not executable", req.Kind, file))
	}
	ctx, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	e, err := c.exec(ctx, command{path: filepath.Join(c.dir, file), open: f, stdin: params,
		env: []string{"BUGLE_OPERATION=" + req.Operation.String(), "BUGLE_KIND=" + req.Kind, "BUGLE_KINDS=" + c.dir}})
	return ownOutcome(ctx, m.limit, &e, err)
}

// params checks the parameters and returns them as the executable reads them.
func (m *manifest) params(raw []byte) ([]byte, error) {
	if len(raw) == 0 {
		raw = []byte("{}")
	}
	var v any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("parameters: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("parameters: something follows the JSON object")
	}
	if err := m.schema.Check(v); err != nil {
		return nil, fmt.Errorf("parameters: %w", err)
	}
	clean, err := json.Marshal(v) // each name once, whatever came
	if err != nil {
		return nil, fmt.Errorf("parameters: %w", err)
	}
	return append(clean, '\n'), nil
}

func ownOutcome(ctx context.Context, limit time.Duration, e *ending, err error) Outcome {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return Outcome{State: task.TimedOut, Detail: "did not end within " + limit.String()}
	case err != nil:
		return failed(err)
	}
	said := cut(strings.TrimSpace(e.output), ownOutput)
	if said == "" {
		said = cut(strings.TrimSpace(e.errors), ownOutput)
	}
	o := Outcome{State: task.Failed, Code: int32(e.code), Detail: said}
	switch e.code {
	case 0:
		o.State = task.Succeeded
	case notApplicable:
		o.State = task.NotApplicable
	}
	return o
}
