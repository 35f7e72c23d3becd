package salvage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/offline"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A Writer makes a journal with a name in an empty folder of the bytes of pages,
// which come in order, durably. An error of pages ends it and is returned.
type Writer func(ctx context.Context, dir string, history [16]byte, pages iter.Seq2[[]byte, error]) error

// Options of [Run].
type Options struct {
	Dir      string        // of the damaged journal, or of its site
	To       string        // for the new one; an empty folder, or none
	Trust    offline.Trust // what is relied on besides what lies in Dir
	Write    Writer
	Now      func() time.Time // nil means time.Now
	Progress func(events, all uint64)
}

// A Report is what became of a damaged journal.
type Report struct {
	Old, New [16]byte // the journals' names; Old is zero if nothing says
	Events   uint64   // that were copied
	Vouched  uint64   // of them, those that something besides their own chain vouches for
	Last     uint64   // the last event of the damaged journal
	Lost     []offline.Loss
	Damages  []offline.Damage
}

// Errors of [Run], besides those of the survey and of the writer.
var (
	ErrNotEmpty = errors.New("folder is not empty")
	ErrNothing  = errors.New("there is nothing that can be proved")
)

// Run makes a new journal of a damaged one. If it fails nothing is left in the new
// folder.
func Run(ctx context.Context, o Options) (Report, error) {
	r, err := run(ctx, o)
	if err != nil {
		return r, fmt.Errorf("salvage journal %s: %w", o.Dir, err)
	}
	return r, nil
}

func run(ctx context.Context, o Options) (Report, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	made, err := prepare(o.To)
	if err != nil {
		return Report{}, err
	}
	r, err := copyInto(ctx, o)
	if err != nil {
		return r, errors.Join(err, clear(o.To, made))
	}
	return r, nil
}

// prepare makes sure that there is an empty folder, and tells whether it made it.
func prepare(to string) (made bool, err error) {
	entries, err := os.ReadDir(to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, os.MkdirAll(to, 0o700)
	case err != nil:
		return false, err
	case len(entries) > 0:
		return false, fmt.Errorf("%s: %w", to, ErrNotEmpty)
	}
	return false, nil
}

// clear removes what was written to a folder that was empty.
func clear(to string, made bool) error {
	if made {
		return os.RemoveAll(to)
	}
	entries, err := os.ReadDir(to)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(to, e.Name())))
	}
	return err
}

func copyInto(ctx context.Context, o Options) (Report, error) {
	s, err := offline.SurveyFolder(ctx, o.Dir, o.Trust, offline.Options{})
	if err != nil {
		return Report{}, err
	}
	defer s.Close()
	if s.Events == 0 {
		return Report{Old: s.History, Last: s.Last, Lost: s.Lost, Damages: s.Damages}, ErrNothing
	}
	c := &copier{options: o, survey: s, last: s.Last, lost: s.Lost, seal: event.EventLost{History: s.History}}
	rand.Read(c.history[:])
	if o.Progress == nil {
		c.options.Progress = func(uint64, uint64) {}
	}
	if c.checkpoint, err = lastCheckpoint(o.Dir, o.Trust, s.History); err != nil {
		return Report{}, err
	}
	if err := o.Write(ctx, o.To, c.history, func(yield func([]byte, error) bool) { c.pages(ctx, yield) }); err != nil {
		return Report{}, err
	}
	return Report{Old: s.History, New: c.history, Events: c.copied, Vouched: min(s.Vouched, c.copied), Last: c.last, Lost: c.gone, Damages: s.Damages}, nil
}

// lastCheckpoint is the text of the journal's own last checkpoint, or none if
// there is none that the key has signed for this history.
func lastCheckpoint(dir string, trust offline.Trust, history [16]byte) ([]byte, error) {
	if trust.Key == nil {
		return nil, nil
	}
	folder, err := offline.Folder(dir)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(offline.CheckpointFile(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, event.MaxCheckpoint+1))
	if err != nil {
		return nil, err
	}
	c, err := tree.OpenCheckpoint(text, trust.Key, "")
	if err != nil || len(text) > event.MaxCheckpoint || history != [16]byte{} && !strings.HasSuffix(c.Origin, fmt.Sprintf("/%x", history)) {
		return nil, nil
	}
	return text, nil
}
