package backup

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/journal/jetstream"
	"github.com/bugle-fleet/bugle/journal/offline"
)

// RestoreConfig says what is restored and where to.
type RestoreConfig struct {
	Dir      string            // of the backup
	Data     string            // of the site to be; empty, or not there
	Key      ed25519.PublicKey // of the site's checkpoints; nil means the one in the backup
	Progress func(Progress)    // nil means that nobody wants to know

	step func(name string) error // for tests: called before each step, may end it
	load importer                // for tests; nil means that of package jetstream
}

// An importer makes a journal in an empty folder.
type importer func(ctx context.Context, dir string, history [16]byte, archives []string, pages iter.Seq2[[]byte, error]) error

// Names in a site's folder while it is restored.
const (
	markFile      = "RESTORING" // there until all is in its place
	stagingFolder = "restoring" // where it is built
)

// A restoreMark says how far a restore is.
type restoreMark struct {
	Version  int    `json:"version"`
	Manifest string `json:"manifest"` // SHA-256 of the backup's, hexadecimal
	Moving   bool   `json:"moving"`   // all is built and read back
}

// ErrRestoring is wrapped by the error of [Unfinished].
var ErrRestoring = errors.New("the site is being restored, or that was interrupted")

// Unfinished tells whether a site's folder waits for the end of a restore. Such a
// folder must not be served.
func Unfinished(data string) error {
	if _, err := os.Lstat(filepath.Join(data, markFile)); err == nil {
		return fmt.Errorf("%w: run 'bugle restore' into %s again, it goes on", ErrRestoring, data)
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Restore makes a site of a backup. It checks the whole backup before it writes
// anything, and reads back what it wrote before it puts it in its place. After an
// interruption the same call begins again or goes on.
//
// The error wraps [ErrNotEmpty] if something else is in the folder, those of
// [Check], or is that of the file system.
func Restore(ctx context.Context, c RestoreConfig) (Report, error) {
	if c.load == nil {
		c.load = jetstream.Import
	}
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	if c.step == nil {
		c.step = func(string) error { return nil }
	}
	r, err := restore(ctx, c)
	if err != nil {
		return r, fmt.Errorf("restore %s: %w", c.Data, err)
	}
	return r, nil
}

func restore(ctx context.Context, c RestoreConfig) (Report, error) {
	b, err := open(c.Dir, c.Key)
	if err != nil {
		return Report{}, err
	}
	b.progress = c.Progress
	if in, err := Inside(c.Data, c.Dir); err != nil {
		return Report{}, err
	} else if in {
		return Report{}, fmt.Errorf("%w: a site in its own backup would be lost with it; take another folder", ErrInside)
	}
	digest := hashOf(b.text)
	s := &restoration{RestoreConfig: c, backup: b, mark: restoreMark{Version: 1, Manifest: hex.EncodeToString(digest[:])}}
	if err := s.examine(); err != nil {
		return Report{}, err
	}
	report, err := b.check(ctx)
	if err != nil {
		return report, err
	}
	if err := makeTop(c.Data, durable.SyncFolder); err != nil {
		return report, err
	}
	if err := durable.SyncFolder(filepath.Dir(c.Data)); err != nil {
		return report, err
	}
	unlock, err := take(filepath.Join(c.Data, markFile+".lock"))
	if err != nil {
		return report, err
	}
	defer unlock()
	// The check took its time: somebody else may have made a site there meanwhile.
	if err := s.examine(); err != nil {
		return report, err
	}
	if !s.mark.Moving {
		if err := s.build(ctx); err != nil {
			return report, err
		}
	}
	return report, s.move()
}

// A restoration is one under way.
type restoration struct {
	RestoreConfig
	backup *backup
	mark   restoreMark
}

func (s *restoration) path(name string) string {
	return filepath.Join(s.Data, filepath.FromSlash(name))
}

// examine looks at the folder and changes nothing.
func (s *restoration) examine() error {
	entries, err := os.ReadDir(s.Data)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var others []string
	for _, e := range entries {
		switch e.Name() {
		case "lost+found", markFile + ".lock", markFile + aside, markFile, stagingFolder:
		default:
			others = append(others, e.Name())
		}
	}
	there, err := readMark(s.path(markFile))
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Lstat(s.path(stagingFolder)); err == nil {
			others = append(others, stagingFolder)
		}
	} else if err != nil {
		return err
	}
	if there.Moving && there.Manifest != s.mark.Manifest {
		return fmt.Errorf("%w: another backup is being restored there; end that, or take another folder", ErrNotEmpty)
	}
	if len(others) > 0 && !there.Moving {
		return fmt.Errorf("%w: it holds %s; take an empty one, and keep what is in this one until the new site runs", ErrNotEmpty, strings.Join(others[:min(len(others), 5)], ", "))
	}
	s.mark.Moving = there.Moving
	return nil
}

func readMark(name string) (m restoreMark, err error) {
	b, err := readSmall(name, 64<<10)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("read %s: %w", name, err)
	}
	if m.Version > 1 {
		return m, fmt.Errorf("read %s: %w", name, ErrVersion)
	}
	return m, nil
}

func (s *restoration) setMark(moving bool) error {
	s.mark.Moving = moving
	b, err := json.Marshal(s.mark)
	if err != nil {
		return err
	}
	return durable.Replace(s.path(markFile), append(b, '\n'))
}

// build makes the site aside, whatever an interrupted call left there.
func (s *restoration) build(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"begin", s.begin}, {"files", s.files}, {"journal", s.journal}, {"checkpoint", s.checkpoint}, {"read back", s.readBack},
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.step(step.name); err != nil {
			return err
		}
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func (s *restoration) begin(context.Context) error {
	if err := s.setMark(false); err != nil {
		return err
	}
	if err := os.RemoveAll(s.path(stagingFolder)); err != nil {
		return err
	}
	return makeFolder(s.Data, stagingFolder+"/journal")
}

// files copies keys and inboxes.
func (s *restoration) files(context.Context) error {
	for _, f := range s.backup.manifest.Files {
		if top, _, _ := strings.Cut(f.Name, "/"); top == "journal" {
			continue
		}
		if err := s.copy(f, stagingFolder+"/"+f.Name); err != nil {
			return err
		}
	}
	return nil
}

func (s *restoration) copy(f File, to string) error {
	if err := makeFolder(s.Data, path.Dir(to)); err != nil {
		return err
	}
	size, digest, err := copyFile(s.backup.path(f), s.path(to), nil)
	if err == nil && (size != f.Size || digest != f.Digest) {
		err = fmt.Errorf("%w: %s has changed since it was checked", ErrDamaged, s.backup.path(f))
	}
	return err
}

// journal writes the history.
func (s *restoration) journal(ctx context.Context) error {
	before, err := s.backup.archivesEnd()
	if err != nil {
		return err
	}
	pages, _ := s.backup.manifest.file(namePages)
	p := Progress{Step: "restore", Total: pages.Size}
	counted := func(yield func([]byte, error) bool) {
		for raw, err := range s.backup.rawPages(before) {
			p.Done += int64(len(raw) + 4)
			s.Progress(p)
			if !yield(raw, err) {
				return
			}
		}
	}
	return s.load(ctx, s.path(stagingFolder+"/journal"), s.backup.history, s.backup.archives(), counted)
}

func (s *restoration) checkpoint(context.Context) error {
	f, ok := s.backup.manifest.file(nameCheckpoint)
	if !ok {
		return nil // the site had signed nothing yet
	}
	return s.copy(f, stagingFolder+"/"+nameCheckpoint)
}

// readBack reads all pages from the disk and makes chain and tree anew.
func (s *restoration) readBack(ctx context.Context) error {
	j, err := offline.Open(s.path(stagingFolder+"/journal"), offline.Options{})
	if err != nil {
		return err
	}
	defer j.Close()
	signed, err := s.backup.checkpoint()
	if err != nil {
		return err
	}
	r, err := j.Read(ctx, 1)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := verify(ctx, r, s.backup.manifest, signed); err != nil {
		return err
	}
	return s.setMark(true)
}

// move puts everything in its place. Each folder is moved once; what was moved
// already is not aside any more.
func (s *restoration) move() error {
	for _, name := range []string{"keys", "inboxes", "journal"} {
		if err := s.step("move " + name); err != nil {
			return err
		}
		err := os.Rename(s.path(stagingFolder+"/"+name), s.path(name))
		if errors.Is(err, os.ErrNotExist) {
			err = s.moved(name)
		}
		if err := errors.Join(err, durable.SyncFolder(s.Data)); err != nil {
			return err
		}
	}
	if err := s.step("end"); err != nil {
		return err
	}
	if err := os.RemoveAll(s.path(stagingFolder)); err != nil {
		return err
	}
	if err := os.Remove(s.path(markFile)); err != nil {
		return err
	}
	return errors.Join(os.Remove(s.path(markFile+".lock")), durable.SyncFolder(s.Data))
}

// moved tells whether a folder that is not aside is in its place; a site may have
// had no inboxes.
func (s *restoration) moved(name string) error {
	if _, err := os.Lstat(s.path(name)); err != nil && name != "inboxes" {
		return fmt.Errorf("what was built is gone: remove %s and begin again: %w", s.Data, err)
	}
	return nil
}
