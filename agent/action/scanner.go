package action

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A family is a scanner whose command line and exit codes are known.
type family struct {
	name     string                                              // of the program, in lower case
	argv     func(full bool, folders, exclude []string) []string // after the program; no folders mean everything
	outcome  func(code int, output string) (Outcome, bool)       // ok is false for a code that means an error
	findings func(output string) []finding                       // nil: it deals with what it finds by itself
}

var families = []family{
	{"clamdscan", clamdscanArgv, clamOutcome, clamFindings},
	{"clamscan", clamscanArgv, clamOutcome, clamFindings},
	{"mpcmdrun.exe", defenderArgv, defenderOutcome, nil},
}

// everything is what a full scan by ClamAV looks at.
func everything() []string { return []string{string(filepath.Separator)} }

// clamdscanArgv leaves out nothing: clamd reads only its own configuration. What it
// finds in excluded folders is not reported.
func clamdscanArgv(_ bool, folders, _ []string) []string {
	if folders == nil {
		folders = everything()
	}
	return append([]string{"--fdpass", "--multiscan", "--infected", "--no-summary", "--stdout", "--"}, folders...)
}

func clamscanArgv(_ bool, folders, exclude []string) []string {
	if folders == nil {
		folders = everything()
	}
	argv := []string{"--recursive", "--infected", "--no-summary", "--stdout",
		"--cross-fs=no", "--follow-dir-symlinks=0", "--follow-file-symlinks=0",
		"--exclude-dir=^/(proc|sys|dev)(/|$)"}
	for _, path := range exclude {
		quoted := "^" + regexp.QuoteMeta(strings.TrimSuffix(path, "/"))
		argv = append(argv, "--exclude-dir="+quoted+"(/|$)", "--exclude="+quoted+"(/|$)")
	}
	return append(append(argv, "--"), folders...)
}

// defenderArgv leaves the folders to Defender: its quick scan knows where
// malware starts.
func defenderArgv(full bool, _, _ []string) []string {
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
		return foundOutcome("found: " + oneLine(output)), true
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
		return foundOutcome("found: " + oneLine(output)), true
	}
	return Outcome{}, false
}

// A scanner is a program of this machine.
type scanner struct {
	path string
	family
	sys *system
}

// chooseScanner returns the scanner that choice means, nil for the built-in one.
func chooseScanner(choice string, sys *system) (*scanner, error) {
	switch choice {
	case "builtin":
		return nil, nil
	case "", "auto":
		return findScanner(sys), nil
	}
	s := scannerAt(choice, sys)
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

func scannerAt(path string, sys *system) *scanner {
	name := strings.ToLower(path[strings.LastIndexAny(path, `/\`)+1:])
	for _, f := range families {
		if f.name == name {
			return &scanner{path, f, sys}
		}
	}
	return nil
}

// defender is where Windows has the program that steers Microsoft Defender.
const defender = `C:\Program Files\Windows Defender\MpCmdRun.exe`

// findScanner looks for a scanner where the operating system has it.
func findScanner(sys *system) *scanner {
	candidates := []string{"clamdscan", "clamscan"}
	if sys.goos == "windows" {
		candidates = []string{defender}
	}
	if path, ok := sys.has(candidates...); ok {
		return scannerAt(path, sys)
	}
	return nil
}

// run starts the scanner, and returns what it found if that is for the caller to
// deal with.
func (s *scanner) run(ctx context.Context, argv []string) (Outcome, []finding) {
	e, err := s.sys.run(ctx, command{path: s.path, args: argv})
	if err != nil {
		return failed(err), nil
	}
	o, ok := s.outcome(e.code, strings.TrimRight(e.output+"\n"+e.errors, "\n"))
	switch {
	case !ok:
		return e.unexpected(s.name), nil
	case o.Code != CodeFound || s.findings == nil:
		return o, nil
	}
	return o, s.findings(e.output)
}

// finds tells whether the scanner finds a threat in one file.
func (s *scanner) finds(ctx context.Context, f finding) bool {
	o, found := s.run(ctx, s.argv(false, []string{f.path}, nil))
	return o.Code == CodeFound && len(found) == 1 && found[0].path == f.path && found[0].threat == f.threat
}
