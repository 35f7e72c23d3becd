package action

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// CodeFound is the code of a scan that found something. The scan has succeeded.
const CodeFound = 1

// scan does scan.quick and scan.full by the scanner that was chosen.
type scan struct {
	cfg        Config
	scanner    *scanner // nil: the built-in one
	protection *protection
}

func newScan(cfg Config, sys *system, keep *protection) (*scan, error) {
	if cfg.Rate <= 0 {
		cfg.Rate = 64 << 20
	}
	s := &scan{cfg: cfg, protection: keep}
	var err error
	s.scanner, err = chooseScanner(cfg.Scanner, sys)
	return s, err
}

type scanParams struct {
	SHA256 []string `json:"sha256"`
}

func (s *scan) quick(ctx context.Context, req Request) Outcome { return s.run(ctx, req, false) }
func (s *scan) full(ctx context.Context, req Request) Outcome  { return s.run(ctx, req, true) }

func (s *scan) run(ctx context.Context, req Request, full bool) Outcome {
	var p scanParams
	if err := decodeParams(req.Params, &p); err != nil {
		return refused(err)
	}
	policy := req.Host.Scan()
	want := make(map[Digest]bool, len(p.SHA256)+len(policy.Indicators))
	for _, text := range p.SHA256 {
		d, err := ParseDigest(text)
		if err != nil {
			return refused(fmt.Errorf("parameters: sha256: %w", err))
		}
		want[d] = true
	}
	for _, d := range policy.Indicators {
		want[d] = true
	}
	rules, err := s.protection.rules()
	if err != nil {
		return failed(err)
	}
	folders := s.folders(policy.Folders, full)
	// A list of indicators in the task is a question about files; only the
	// built-in scanner answers it.
	if s.scanner == nil || len(p.SHA256) > 0 {
		return s.builtin(ctx, folders, want, rules)
	}
	return s.external(ctx, folders, full, rules)
}

func (s *scan) folders(policy []string, full bool) []string {
	switch {
	case full && len(s.cfg.Roots) > 0:
		return s.cfg.Roots
	case len(policy) > 0:
		return policy
	}
	return s.cfg.Folders
}

func (s *scan) builtin(ctx context.Context, folders []string, want map[Digest]bool, rules *rules) Outcome {
	w := walk{want: want, rules: rules, pace: newPace(s.cfg.Rate), deal: s.deal}
	for d := range want {
		if rules.allows(d.String()) {
			delete(want, d)
		}
	}
	for _, dir := range folders {
		if err := w.folder(ctx, dir); err != nil {
			return failed(err)
		}
	}
	return w.outcome()
}

// external lets a program of this machine scan, and then applies the rules to what
// it found. A program that can look at everything is given no folders for that.
func (s *scan) external(ctx context.Context, folders []string, full bool, rules *rules) Outcome {
	if full && len(s.cfg.Roots) == 0 {
		folders = nil
	}
	o, found := s.scanner.run(ctx, s.scanner.argv(full, folders, rules.Excluded))
	if len(found) == 0 {
		return o
	}
	w := walk{deal: s.deal}
	left := 0
	for _, f := range found {
		if rules.excludes(f.path) || rules.allows(f.threat) || allowedFile(ctx, rules, f.path) {
			left++
			continue
		}
		w.report(ctx, f, rules.action(f.threat))
	}
	note := ""
	if left > 0 {
		note = fmt.Sprintf(" (%d allowed or excluded)", left)
	}
	if len(w.findings) == 0 {
		return Outcome{State: task.Succeeded, Detail: "clean" + note}
	}
	return foundOutcome(w.list(note))
}

// allowedFile tells whether a file is allowed by its contents.
func allowedFile(ctx context.Context, rules *rules, path string) bool {
	if !rules.knowsDigests() {
		return false
	}
	f, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return false
	}
	h := sha256.New()
	if _, err := io.Copy(h, while(ctx, f)); err != nil {
		return false
	}
	return rules.allows(Digest(h.Sum(nil)).String())
}

func (r *rules) knowsDigests() bool {
	for _, threat := range r.Allowed {
		if _, err := ParseDigest(threat); err == nil {
			return true
		}
	}
	return false
}

// A finding is a file in which something was found. Sum is what it must hold
// still, nil if only the scanner can tell.
type finding struct {
	path   string
	threat string
	sum    *Digest
}

// deal does what an override says with a file that was found, and tells what became
// of it in words.
func (s *scan) deal(ctx context.Context, f finding, act string) string {
	if f.sum == nil && !s.scanner.finds(ctx, f) {
		// What a scanner prints is not proof: file names may hold line breaks.
		return "left alone, for it was not found there again"
	}
	suspect, err := arrest(ctx, f.path, f.sum)
	if err != nil {
		return "left alone: " + err.Error()
	}
	defer suspect.close()
	switch act {
	case actQuarantine:
		if err := s.protection.quarantine(ctx, suspect, f.threat, time.Now()); err != nil {
			return "not quarantined: " + err.Error()
		}
		return "quarantined"
	default:
		if err := suspect.remove(); err != nil {
			return "not removed: " + err.Error()
		}
		return "removed"
	}
}

func foundOutcome(detail string) Outcome {
	return Outcome{State: task.Succeeded, Code: CodeFound, Detail: detail}
}

// clamFindings reads the lines of ClamAV that name a file and what is in it.
func clamFindings(output string) (found []finding) {
	for line := range strings.Lines(output) {
		line, ok := strings.CutSuffix(strings.TrimRight(line, "\r\n"), " FOUND")
		at := strings.LastIndex(line, ": ")
		if !ok || at <= 0 || len(found) == maxFindings {
			continue
		}
		found = append(found, finding{path: line[:at], threat: line[at+2:]})
	}
	return found
}
