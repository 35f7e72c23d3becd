package action

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of a restart's warning, in minutes. Not at once: the agent's own result
// must get home.
const (
	minWarning     = 1
	maxWarning     = 1440
	defaultWarning = 10
	maxMessage     = 256 // characters
)

// restart restarts the machine after a warning, and then waits to be ended by that:
// the agent that runs after the boot knows that the machine has restarted. If it
// does not, the task runs out of its time.
type restart struct{ sys *system }

// bootTime is how long a machine may take from the end of the warning until its
// agent has ended.
const bootTime = 5 * time.Minute

func (r *restart) run(ctx context.Context, req Request) Outcome {
	p := struct {
		Minutes       int    `json:"warningMinutes"`
		Message       string `json:"message"`
		IgnoreWindows bool   `json:"ignoreWindows"` // is the agent's
	}{Minutes: defaultWarning}
	if err := decodeParams(req.Params, &p); err != nil {
		return refused(err)
	}
	switch {
	case p.Minutes < minWarning || p.Minutes > maxWarning:
		return refused(fmt.Errorf("parameters: warningMinutes: %d is not between %d and %d", p.Minutes, minWarning, maxWarning))
	case utf8.RuneCountInString(p.Message) > maxMessage || strings.ContainsFunc(p.Message, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return refused(errors.New("parameters: message: it is not one line of at most 256 characters"))
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) < time.Duration(p.Minutes)*time.Minute+bootTime {
		return refused(fmt.Errorf("parameters: warningMinutes: %d and %s to restart are more than the run timeout", p.Minutes, bootTime))
	}
	path, ok := r.sys.has(restartProgram(r.sys.goos))
	if !ok || r.sys.goos == "linux" && !r.systemd() {
		return notHere("this machine has no program that restarts it later: shutdown of systemd, of macOS or of Windows")
	}
	e, err := r.sys.run(ctx, command{path: path, args: restartArgv(r.sys.goos, p.Minutes, p.Message), leave: true})
	switch {
	case err != nil:
		return failed(err)
	case e.code != 0:
		return e.unexpected(programName(path))
	}
	<-ctx.Done()
	return failed(errors.New("the machine has not restarted"))
}

// systemd tells whether systemd runs the machine: other shutdowns wait in the
// foreground, and nobody would be there to wait for them.
func (r *restart) systemd() bool {
	_, err := os.Stat(filepath.Join(r.sys.root, "/run/systemd/system"))
	return err == nil
}

func restartProgram(goos string) string {
	if goos == "windows" {
		return `C:\Windows\System32\shutdown.exe`
	}
	return "shutdown"
}

const defaultMessage = "An administrator restarts this machine. Save your work."

// restartArgv is the order to restart. The message stands behind everything that
// could be an option, and never begins like one.
func restartArgv(goos string, minutes int, message string) []string {
	if message = strings.TrimLeft(message, "-/ "); message == "" {
		message = defaultMessage
	}
	if goos == "windows" {
		return []string{"/r", "/t", strconv.Itoa(60 * minutes), "/d", "p:4:1", "/c", message}
	}
	return []string{"-r", "+" + strconv.Itoa(minutes), message}
}
