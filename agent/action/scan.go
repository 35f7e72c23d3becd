package action

import (
	"context"
	"fmt"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// CodeFound is the code of a scan that found something. The scan has succeeded.
const CodeFound = 1

// scan does scan.quick and scan.full by the scanner that was chosen.
type scan struct {
	cfg     Config
	scanner *scanner // nil: the built-in one
}

func newScan(cfg Config) (*scan, error) {
	if cfg.Rate <= 0 {
		cfg.Rate = 64 << 20
	}
	s := &scan{cfg: cfg}
	var err error
	s.scanner, err = chooseScanner(cfg.Scanner)
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
	folders := s.folders(policy.Folders, full)
	// A list of indicators in the task is a question about files; only the
	// built-in scanner answers it.
	if s.scanner == nil || len(p.SHA256) > 0 {
		return s.builtin(ctx, folders, want)
	}
	return s.scanner.run(ctx, s.scanner.argv(full, s.external(folders, full)))
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

// external returns the folders for a scanner that is able to look at everything:
// nil means everything.
func (s *scan) external(folders []string, full bool) []string {
	if full && len(s.cfg.Roots) == 0 {
		return nil
	}
	return folders
}

func (s *scan) builtin(ctx context.Context, folders []string, want map[Digest]bool) Outcome {
	w := walk{want: want, pace: newPace(s.cfg.Rate)}
	for _, dir := range folders {
		if err := w.folder(ctx, dir); err != nil {
			return failed(err)
		}
	}
	return w.outcome()
}

func found(detail string) Outcome {
	return Outcome{State: task.Succeeded, Code: CodeFound, Detail: detail}
}
