package action

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Bounds of what a program may say, in bytes of its output and of its errors each.
const (
	maxOutput  = 64 << 10
	maxListing = 4 << 20 // of a program that lists what is installed
)

// A command is a program with its arguments, which no shell reads.
type command struct {
	path  string // full
	args  []string
	stdin []byte
	env   []string // besides what every program gets
	keep  int      // bytes of output that are kept; default maxOutput
	// leave lets what the program started live on when it ends by itself, such as
	// the services of a package that it installed.
	leave bool
	// open, if there, is the program: path is only its name then.
	open *os.File
}

// An ending is how a program ended.
type ending struct {
	code   int
	output string // what it wrote to standard output
	errors string // and to standard error
	cut    bool   // it wrote more than was kept
}

// said is all that the program wrote, for people.
func (e *ending) said() string {
	text := oneLine(e.output + "\n" + e.errors)
	if text == "" {
		text = "it said nothing"
	}
	return text
}

// unexpected is the outcome of a program that ended with a code that means an error.
func (e *ending) unexpected(name string) Outcome {
	o := failed(fmt.Errorf("%s ended with code %d: %s", name, e.code, e.said()))
	o.Code = int32(e.code)
	return o
}

// A system is the machine as actions see it; tests put their own in its place.
type system struct {
	goos string
	root string // in front of the names of files that are read, for tests
	look func(name string) (path string, err error)
	run  func(ctx context.Context, c command) (ending, error)
}

func thisSystem() system {
	return system{goos: runtime.GOOS, look: lookFor, run: runCommand}
}

// has returns the path of the first of the programs that this machine has.
func (s *system) has(names ...string) (path string, ok bool) {
	for _, name := range names {
		if path, err := s.look(name); err == nil {
			return path, true
		}
	}
	return "", false
}

// read returns a small file of the system, without the white space around it; empty
// if there is none.
func (s *system) read(name string) string {
	b, err := readAtMost(filepath.Join(s.root, name), 4<<10)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.TrimRight(string(b), "\x00"))
}

// folders are where programs are looked for: those of the system, whatever the
// environment of the agent says.
func folders(goos string) []string {
	all := []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"}
	if goos == "darwin" {
		all = append(all, "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/sbin", "/opt/homebrew/bin")
	}
	return all
}

func lookFor(name string) (string, error) {
	if filepath.IsAbs(name) || runtime.GOOS == "windows" {
		return exec.LookPath(name)
	}
	for _, dir := range folders(runtime.GOOS) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// environment is what a program gets of this process's: nothing that it does not
// need.
func environment() []string {
	if runtime.GOOS != "windows" {
		return []string{"LC_ALL=C", "HOME=/", "PATH=" + strings.Join(folders(runtime.GOOS), ":")}
	}
	env := []string{"PATH=" + os.Getenv("SystemRoot") + `\System32`}
	for _, name := range []string{"SystemRoot", "SystemDrive", "ProgramData", "ProgramFiles", "TEMP"} {
		env = append(env, name+"="+os.Getenv(name))
	}
	return env
}

// pipesStay is how long the pipes of a program are read after its end, if something
// that it started and that left its group holds them.
const pipesStay = 5 * time.Second

// runCommand runs a program to its end. When ctx ends it is killed, and so is, then
// and when it ends by itself, all that it started and that did not leave its group
// (Unix) or job (Windows).
func runCommand(ctx context.Context, c command) (ending, error) {
	if err := ctx.Err(); err != nil {
		return ending{}, err
	}
	cmd, output, mistakes := c.build()
	if err := mayStart(ctx); err != nil {
		return ending{}, fmt.Errorf("start %s: %w", c.path, err)
	}
	if err := cmd.Start(); err != nil {
		return ending{}, fmt.Errorf("start %s: %w", c.path, err)
	}
	err := waitForAll(ctx, cmd, c.leave)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ending{}, ctx.Err()
	case err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay):
		return ending{}, fmt.Errorf("run %s: %w", c.path, err)
	}
	return ending{code: cmd.ProcessState.ExitCode(), output: output.String(), errors: mistakes.String(),
		cut: output.more || mistakes.more}, nil
}

func (c *command) build() (cmd *exec.Cmd, output, mistakes *limitedBuffer) {
	keep := c.keep
	if keep == 0 {
		keep = maxOutput
	}
	output, mistakes = &limitedBuffer{most: keep}, &limitedBuffer{most: maxOutput}
	cmd = &exec.Cmd{Path: c.path, Args: append([]string{c.path}, c.args...), Env: append(environment(), c.env...),
		Dir: string(filepath.Separator), Stdout: output, Stderr: mistakes, WaitDelay: pipesStay}
	if c.stdin != nil {
		cmd.Stdin = bytes.NewReader(c.stdin)
	}
	if c.open != nil {
		runOpen(cmd, c.open)
	}
	ownTree(cmd)
	return cmd, output, mistakes
}

// waitForAll waits for a program that was started.
func waitForAll(ctx context.Context, cmd *exec.Cmd, leave bool) error {
	t := treeOf(cmd)
	defer t.close()
	ended, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-ctx.Done():
			t.kill()
		case <-ended:
		}
	}()
	known := t.ended()
	if known && !leave {
		t.kill() // before it is waited for: its number is still its own
	}
	if known {
		close(ended)
		<-watched
		return cmd.Wait()
	}
	err := cmd.Wait()
	close(ended)
	<-watched
	if !leave {
		t.kill()
	}
	return err
}

// limitedBuffer keeps the first bytes. One goroutine of exec writes it. It embeds no
// buffer: that one would offer to read all by itself.
type limitedBuffer struct {
	kept bytes.Buffer
	most int
	more bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	room := max(0, b.most-b.kept.Len())
	b.kept.Write(p[:min(len(p), room)])
	b.more = b.more || len(p) > room
	return len(p), nil
}

func (b *limitedBuffer) String() string { return b.kept.String() }

func oneLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	return cut(strings.Join(lines, "; "), task.MaxDetail-256)
}
