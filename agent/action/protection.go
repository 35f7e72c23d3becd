package action

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Bounds of what is kept about threats.
const (
	maxRules     = 10_000 // of each sort
	maxRulesFile = 16 << 20
	rulesVersion = 1
	rulesFile    = "protection.json"
)

// What is done with a threat that is found.
const (
	actReport     = "report"
	actQuarantine = "quarantine"
	actRemove     = "remove"
)

// rules are what administrators said about threats on this machine. They are not
// changed once they are in use.
type rules struct {
	Version   int               `json:"version"`
	Excluded  []string          `json:"excluded,omitempty"`  // folders and files that are left out
	Allowed   []string          `json:"allowed,omitempty"`   // threats that are none
	Overrides map[string]string `json:"overrides,omitempty"` // threat → what is done
}

// threatKey is a threat as rules know it: a SHA-256 in small letters, or a name as
// it is.
func threatKey(threat string) string {
	if d, err := ParseDigest(threat); err == nil {
		return d.String()
	}
	return threat
}

// excludes tells whether a file or folder is left out of scans.
func (r *rules) excludes(path string) bool {
	return slices.ContainsFunc(r.Excluded, func(left string) bool { return within(path, left) })
}

// within tells whether a path is a folder or file, or in it.
func within(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(dir, string(filepath.Separator)))
	return ok && (rest == "" || rest[0] == filepath.Separator)
}

func (r *rules) allows(threat string) bool { return slices.Contains(r.Allowed, threatKey(threat)) }

// action is what is done with a threat.
func (r *rules) action(threat string) string {
	if act := r.Overrides[threatKey(threat)]; act != "" {
		return act
	}
	return actReport
}

// protection keeps the rules, and files in quarantine, in a folder of the agent's.
type protection struct {
	dir string // empty: nothing is kept

	mu  sync.Mutex // of both files and folder
	now *rules
}

var errNoState = errors.New("this agent has no folder of its own to keep it in")

// rules returns what holds now.
func (p *protection) rules() (*rules, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.load()
}

func (p *protection) load() (*rules, error) {
	if p.dir == "" {
		return &rules{Version: rulesVersion}, nil
	}
	if p.now != nil {
		return p.now, nil
	}
	path := filepath.Join(p.dir, rulesFile)
	b, err := readAtMost(path, maxRulesFile)
	if errors.Is(err, fs.ErrNotExist) {
		p.now = &rules{Version: rulesVersion}
		return p.now, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what holds of threats: %w", err)
	}
	r, err := parseRules(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	p.now = r
	return r, nil
}

func parseRules(b []byte) (*rules, error) {
	r := new(rules)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, err
	}
	if r.Version != rulesVersion {
		return nil, fmt.Errorf("version %d, this agent reads version %d", r.Version, rulesVersion)
	}
	return r, r.check()
}

func (r *rules) check() error {
	if len(r.Excluded) > maxRules || len(r.Allowed) > maxRules || len(r.Overrides) > maxRules {
		return fmt.Errorf("more than %d rules of a sort", maxRules)
	}
	for threat, act := range r.Overrides {
		if act != actReport && act != actQuarantine && act != actRemove {
			return fmt.Errorf("override of %q: %q is nothing that can be done", cut(threat, 80), cut(act, 80))
		}
	}
	return nil
}

// change makes new rules of the old ones; they hold once they are on disk.
func (p *protection) change(edit func(*rules)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dir == "" {
		return errNoState
	}
	old, err := p.load()
	if err != nil {
		return err
	}
	next := &rules{Version: rulesVersion, Excluded: slices.Clone(old.Excluded), Allowed: slices.Clone(old.Allowed),
		Overrides: make(map[string]string, len(old.Overrides))}
	for threat, act := range old.Overrides {
		next.Overrides[threat] = act
	}
	edit(next)
	if err := next.check(); err != nil {
		return fmt.Errorf("keep what holds of threats: %w", err)
	}
	b, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return fmt.Errorf("keep what holds of threats: %w", err)
	}
	if err := makeFolder(p.dir); err != nil {
		return fmt.Errorf("keep what holds of threats: %w", err)
	}
	if err := writeDurable(filepath.Join(p.dir, rulesFile), append(b, '\n')); err != nil {
		return fmt.Errorf("keep what holds of threats: %w", err)
	}
	p.now = next
	return nil
}

// with adds words to a list, or takes them out of it; the result is sorted.
func with(list []string, words []string, out bool) []string {
	for _, w := range words {
		i, there := slices.BinarySearch(list, w)
		switch {
		case out && there:
			list = slices.Delete(list, i, i+1)
		case !out && !there:
			list = slices.Insert(list, i, w)
		}
	}
	return list
}

// readAtMost reads a file that has at most so many bytes.
func readAtMost(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		return nil, fmt.Errorf("%s: more than %d bytes", path, most)
	}
	return b, err
}

// writeDurable puts a file in the place of another: write beside it, sync, rename,
// sync the folder.
func writeDurable(path string, data []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|openFlags, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func randomName() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
