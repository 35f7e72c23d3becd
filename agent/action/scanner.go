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

// A family is a scanner whose command line and exit codes are known.
type family struct {
	name    string                                        // of the program, in lower case
	argv    func(full bool, folders []string) []string    // after the program; no folders mean everything
	outcome func(code int, output string) (Outcome, bool) // ok is false for a code that means an error
}

var families = []family{
	{"clamdscan", clamdscanArgv, clamOutcome},
	{"clamscan", clamscanArgv, clamOutcome},
	{"mpcmdrun.exe", defenderArgv, defenderOutcome},
}

// everything is what a full scan by ClamAV looks at.
func everything() []string { return []string{string(filepath.Separator)} }

func clamdscanArgv(_ bool, folders []string) []string {
	if folders == nil {
		folders = everything()
	}
	return append([]string{"--fdpass", "--multiscan", "--infected", "--no-summary", "--stdout", "--"}, folders...)
}

func clamscanArgv(_ bool, folders []string) []string {
	if folders == nil {
		folders = everything()
	}
	return append([]string{"--recursive", "--infected", "--no-summary", "--stdout",
		"--cross-fs=no", "--follow-dir-symlinks=0", "--follow-file-symlinks=0",
		"--exclude-dir=^/(proc|sys|dev)(/|$)", "--"}, folders...)
}

// defenderArgv leaves the folders to Defender: its quick scan knows where
// malware starts.
func defenderArgv(full bool, _ []string) []string {
	if full {
		return []string{"-Scan", "-ScanType", "2"}
	}
	return []string{"-Scan", "-ScanType", "1"}
}

func clamOutcome(code int, output string) (Outcome, bool) {
	switch code {
	case 0:
		return Outcome{State: task.Succeeded, Detail: "clean"}, true
	case 1:
		return found("found: " + oneLine(output)), true
	}
	return Outcome{}, false
}

// defenderOutcome: 0 is clean or made clean, 2 is something left behind or an
// error; only the output tells which.
func defenderOutcome(code int, output string) (Outcome, bool) {
	switch {
	case code == 0 && !strings.Contains(output, "Threat"):
		return Outcome{State: task.Succeeded, Detail: "clean"}, true
	case (code == 0 || code == 2) && strings.Contains(output, "Threat"):
		return found("found: " + oneLine(output)), true
	}
	return Outcome{}, false
}

func oneLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	return cut(strings.Join(lines, "; "), task.MaxDetail-256)
}

// A scanner is a program of this machine.
type scanner struct {
	path string
	family
}

// chooseScanner returns the scanner that choice means, nil for the built-in one.
func chooseScanner(choice string) (*scanner, error) {
	switch choice {
	case "builtin":
		return nil, nil
	case "", "auto":
		return findScanner(runtime.GOOS, exec.LookPath), nil
	}
	s := scannerAt(choice)
	if s == nil {
		return nil, fmt.Errorf("use scanner %s: bugle knows clamdscan, clamscan and MpCmdRun.exe; say builtin for the built-in scanner", choice)
	}
	if !filepath.IsAbs(choice) {
		return nil, fmt.Errorf("use scanner %s: give its full path", choice)
	}
	info, err := os.Stat(choice)
	if err != nil {
		return nil, fmt.Errorf("use scanner: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("use scanner %s: not a file", choice)
	}
	return s, nil
}

func scannerAt(path string) *scanner {
	name := strings.ToLower(path[strings.LastIndexAny(path, `/\`)+1:])
	for _, f := range families {
		if f.name == name {
			return &scanner{path, f}
		}
	}
	return nil
}

// findScanner looks for a scanner where the operating system goos has it.
func findScanner(goos string, look func(string) (string, error)) *scanner {
	candidates := []string{"clamdscan", "clamscan"}
	if goos == "windows" {
		candidates = []string{`C:\Program Files\Windows Defender\MpCmdRun.exe`}
	}
	for _, c := range candidates {
		if path, err := look(c); err == nil {
			return scannerAt(path)
		}
	}
	return nil
}

// maxOutput is how much of what a scanner says is kept.
const maxOutput = 16 << 10

// run starts the scanner without a shell and without this process's
// environment, and ends it with its children when ctx ends.
func (s *scanner) run(ctx context.Context, argv []string) Outcome {
	var out limitedBuffer
	cmd := exec.CommandContext(ctx, s.path, argv...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if runtime.GOOS == "windows" {
		cmd.Env = []string{"SystemRoot=" + os.Getenv("SystemRoot"), "ProgramData=" + os.Getenv("ProgramData")}
	}
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second
	ownGroup(cmd)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return failed(fmt.Errorf("run %s: %w", s.name, err))
	}
	code := cmd.ProcessState.ExitCode()
	if o, ok := s.outcome(code, out.String()); ok {
		return o
	}
	o := failed(fmt.Errorf("%s ended with code %d: %s", s.name, code, oneLine(out.String())))
	o.Code = int32(code)
	return o
}

// limitedBuffer keeps the first maxOutput bytes. One goroutine of exec writes it.
type limitedBuffer struct{ bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if room := maxOutput - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}
