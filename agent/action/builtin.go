package action

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Bounds of one scan by the built-in scanner.
const (
	maxFiles    = 10_000_000
	maxFindings = 1000
)

// walk is one scan under way.
type walk struct {
	want     map[Digest]bool
	rules    *rules
	deal     func(ctx context.Context, f finding, act string) string
	pace     *pace
	buf      []byte
	files    int // compared, or counted if there is nothing to compare with
	skipped  int // regular files and folders that could not be read
	findings []string
	more     int // findings beyond maxFindings
}

var errTooMany = errors.New("scan: too many files")

// folder looks at every regular file in dir. A folder that is not there holds
// nothing; one that cannot be read is counted.
// dir itself may be a link: whoever named it meant what it leads to.
func (w *walk) folder(ctx context.Context, dir string) error {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			w.skipped++
			return nil
		case w.rules.excludes(path):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !d.Type().IsRegular():
			return nil
		case w.files == maxFiles:
			return errTooMany
		}
		return w.file(ctx, path)
	})
}

func (w *walk) file(ctx context.Context, path string) error {
	if len(w.want) == 0 {
		w.files++
		return nil
	}
	sum, err := w.digest(ctx, path)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		w.skipped++
		return nil
	}
	w.files++
	if w.want[sum] {
		w.report(ctx, finding{path, sum.String(), &sum}, w.rules.action(sum.String()))
	}
	return nil
}

// report notes a finding, and does with it what an override says.
func (w *walk) report(ctx context.Context, f finding, act string) {
	text := f.path + " " + f.threat
	if act != actReport {
		text += " " + w.deal(ctx, f, act)
	}
	if len(w.findings) < maxFindings {
		w.findings = append(w.findings, text)
	} else {
		w.more++
	}
}

var errNotRegular = errors.New("not a regular file")

// digest reads one file. It is opened without following a link and without
// waiting for a pipe: what WalkDir saw may have been replaced since.
func (w *walk) digest(ctx context.Context, path string) (d Digest, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return d, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return d, errNotRegular
	}
	if w.buf == nil {
		w.buf = make([]byte, 64<<10)
	}
	h := sha256.New()
	for {
		n, err := f.Read(w.buf)
		h.Write(w.buf[:n])
		if werr := w.pace.wait(ctx, n); werr != nil {
			return d, werr
		}
		if err == io.EOF {
			return Digest(h.Sum(nil)), nil
		}
		if err != nil {
			return d, err
		}
	}
}

func (w *walk) outcome() Outcome {
	var note string
	if len(w.want) == 0 {
		note = ", no indicators to compare with"
	}
	if w.skipped > 0 {
		note += fmt.Sprintf(", %d not readable", w.skipped)
	}
	if len(w.findings) == 0 {
		return Outcome{State: task.Succeeded, Detail: fmt.Sprintf("clean: %d files%s", w.files, note)}
	}
	return foundOutcome(w.list(fmt.Sprintf(" (%d files%s)", w.files, note)))
}

// list names as many findings as a result holds.
func (w *walk) list(tail string) string {
	const room = task.MaxDetail - 256
	var b strings.Builder
	b.WriteString("found: ")
	for i, f := range w.findings {
		f = cut(f, room/2)
		if b.Len()+len(f) > room {
			w.more += len(w.findings) - i
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(f)
	}
	if w.more > 0 {
		fmt.Fprintf(&b, "; and %d more", w.more)
	}
	return b.String() + tail
}

// pace keeps reading at or below a rate.
type pace struct {
	rate  int64 // bytes per second
	start time.Time
	done  int64
}

func newPace(rate int64) *pace { return &pace{rate: rate, start: time.Now()} }

// wait counts n bytes and sleeps for as long as reading is ahead of its rate.
func (p *pace) wait(ctx context.Context, n int) error {
	p.done += int64(n)
	due := time.Duration(float64(p.done) / float64(p.rate) * float64(time.Second))
	ahead := due - time.Since(p.start)
	if ahead < 10*time.Millisecond {
		return ctx.Err()
	}
	t := time.NewTimer(ahead)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
