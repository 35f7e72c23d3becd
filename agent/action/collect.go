package action

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Bounds of a collection of logs.
const (
	defaultCollect = 16 << 20 // bytes of the archive
	minCollect     = 64 << 10
	maxCollect     = 64 << 20
	maxLogFiles    = 256
	maxAsked       = 32 // files that a task names
)

// collector makes an archive of logs and sends it.
type collector struct {
	dir  string // for the archive while it is made
	logs string // folder of the agent's logs
}

func (c *collector) run(ctx context.Context, req Request) Outcome {
	p := struct {
		Files    []string `json:"files"`
		MaxBytes int64    `json:"maxBytes"`
	}{MaxBytes: defaultCollect}
	if err := decodeParams(req.Params, &p); err != nil {
		return refused(err)
	}
	if p.MaxBytes < minCollect || p.MaxBytes > maxCollect {
		return refused(fmt.Errorf("parameters: maxBytes: %d is not between %d and %d", p.MaxBytes, minCollect, maxCollect))
	}
	if len(p.Files) > maxAsked {
		return refused(fmt.Errorf("parameters: files: %d are named, at most %d are taken", len(p.Files), maxAsked))
	}
	if err := permitted(p.Files, req.Host.LogFiles()); err != nil {
		return refused(err)
	}
	if c.dir == "" {
		return notHere("%s", errNoState)
	}
	names, err := c.list()
	if err != nil {
		return failed(err)
	}
	return c.collect(ctx, req, append(names, p.Files...), p.MaxBytes)
}

// permitted checks that policy allows the files that a task names.
func permitted(files, patterns []string) error {
	for _, file := range files {
		if !filepath.IsAbs(file) || filepath.Clean(file) != file {
			return fmt.Errorf("parameters: files: %q is not a full path in its shortest form", cut(file, 80))
		}
		if !slices.ContainsFunc(patterns, func(p string) bool { ok, err := filepath.Match(p, file); return ok && err == nil }) {
			return fmt.Errorf("parameters: files: policy does not let %q be collected", cut(file, 80))
		}
	}
	return nil
}

// list returns the agent's own logs, the newest first, so that they fit.
func (c *collector) list() ([]string, error) {
	if c.logs == "" {
		return nil, nil
	}
	// Who named the agent's own folder meant what it leads to: /var is a link on macOS.
	dir, err := filepath.Abs(c.logs)
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	type log struct {
		path string
		at   time.Time
	}
	var logs []log
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && len(logs) < maxLogFiles {
			logs = append(logs, log{filepath.Join(dir, e.Name()), info.ModTime()})
		}
	}
	slices.SortStableFunc(logs, func(a, b log) int { return b.at.Compare(a.at) })
	names := make([]string, len(logs))
	for i, l := range logs {
		names[i] = l.path
	}
	return names, nil
}

// collect makes the archive in a file that has no name any more, or loses it soon.
func (c *collector) collect(ctx context.Context, req Request, files []string, most int64) Outcome {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return failed(fmt.Errorf("make archive of logs: %w", err))
	}
	f, err := os.CreateTemp(c.dir, "logs-*.tar.gz")
	if err != nil {
		return failed(fmt.Errorf("make archive of logs: %w", err))
	}
	if os.Remove(f.Name()) != nil { // not before it is closed, says Windows
		defer os.Remove(f.Name())
	}
	defer f.Close()
	a := &logArchive{file: f, most: most}
	for _, name := range files {
		if err := a.add(ctx, name); err != nil {
			return failed(fmt.Errorf("make archive of logs: %w", err))
		}
	}
	if a.files == 0 {
		return notHere("there is nothing to collect%s", a.note())
	}
	size, sum, err := a.finish(ctx)
	if err != nil {
		return failed(fmt.Errorf("make archive of logs: %w", err))
	}
	if err := req.Host.Upload(ctx, req.Operation, f, size, sum); err != nil {
		return failed(fmt.Errorf("send logs: %w", err))
	}
	return Outcome{State: task.Succeeded, Detail: cut(fmt.Sprintf("%d files, %d bytes, sha256 %s%s", a.files, size, sum, a.note()), task.MaxDetail-256)}
}

// A logArchive is a tar.gz of which each file is a member of its own, as gzip allows:
// one that turns out too large is cut off again.
type logArchive struct {
	file  *os.File
	most  int64
	size  int64
	files int
	left  []string // names that are left out, with the reason
}

func (a *logArchive) note() string {
	if len(a.left) == 0 {
		return ""
	}
	return "; left out: " + strings.Join(a.left, "; ")
}

// trailerRoom is kept for the end of the archive.
const trailerRoom = 1 << 10

var errNoRoom = errors.New("no room in the archive")

// add puts a file into the archive. What cannot be read, or has no room, is noted;
// an error means that the archive itself cannot be written.
func (a *logArchive) add(ctx context.Context, path string) error {
	err := a.member(ctx, path)
	switch {
	case err == nil:
		a.files++
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	a.left = append(a.left, fmt.Sprintf("%s (%v)", filepath.Base(path), err))
	if err := a.file.Truncate(a.size); err != nil {
		return err
	}
	_, err = a.file.Seek(a.size, io.SeekStart)
	return err
}

func (a *logArchive) member(ctx context.Context, path string) error {
	f, info, err := openLog(path)
	if err != nil {
		return err
	}
	defer f.Close()
	out := &bounded{w: a.file, left: a.most - trailerRoom - a.size}
	zip := gzip.NewWriter(out)
	t := tar.NewWriter(zip)
	name := strings.TrimPrefix(filepath.ToSlash(path[len(filepath.VolumeName(path)):]), "/")
	err = t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime(), Format: tar.FormatPAX})
	if err == nil {
		_, err = io.Copy(t, io.LimitReader(while(ctx, f), info.Size()))
	}
	if err == nil {
		err = t.Flush() // fails if the file became shorter
	}
	if err = errors.Join(err, zip.Close()); err != nil {
		if errors.Is(err, errNoRoom) {
			return errNoRoom
		}
		return err
	}
	a.size += out.wrote
	return nil
}

// openLog opens a log. No part of its path is a link: policy allowed that file, and
// none to which somebody leads from there.
func openLog(path string) (*os.File, fs.FileInfo, error) {
	real, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return nil, nil, reason(err)
	}
	if real != filepath.Dir(path) {
		return nil, nil, errors.New("its folder is reached by a link")
	}
	dir, err := openFolder(real)
	if err != nil {
		return nil, nil, reason(err)
	}
	defer dir.Close()
	was, err := dir.Lstat(filepath.Base(path))
	if err != nil {
		return nil, nil, reason(err)
	}
	if !was.Mode().IsRegular() {
		return nil, nil, errNotRegular
	}
	f, err := dir.OpenFile(filepath.Base(path), os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, nil, reason(err)
	}
	info, err := f.Stat()
	if err != nil || !os.SameFile(was, info) {
		f.Close()
		return nil, nil, errors.New("it was replaced meanwhile")
	}
	return f, info, nil
}

// reason is an error without the path that is named beside it.
func reason(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

func (a *logArchive) finish(ctx context.Context) (size int64, sum Digest, err error) {
	zip := gzip.NewWriter(a.file)
	if err := errors.Join(tar.NewWriter(zip).Close(), zip.Close()); err != nil {
		return 0, sum, err
	}
	if _, err := a.file.Seek(0, io.SeekStart); err != nil {
		return 0, sum, err
	}
	h := sha256.New()
	if size, err = io.Copy(h, while(ctx, a.file)); err != nil {
		return 0, sum, err
	}
	return size, Digest(h.Sum(nil)), nil
}

// bounded fails once it would write more than there is room for.
type bounded struct {
	w     io.Writer
	left  int64
	wrote int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if int64(len(p)) > b.left-b.wrote {
		return 0, errNoRoom
	}
	n, err := b.w.Write(p)
	b.wrote += int64(n)
	return n, err
}

// maxVerbose is how long an agent logs in detail at most.
const (
	defaultVerbose = 60 // minutes
	maxVerbose     = 1440
)

func verboseOn(_ context.Context, req Request) Outcome {
	p := struct {
		Minutes int `json:"minutes"`
	}{defaultVerbose}
	if err := decodeParams(req.Params, &p); err != nil {
		return refused(err)
	}
	if p.Minutes < 1 || p.Minutes > maxVerbose {
		return refused(fmt.Errorf("parameters: minutes: %d is not between 1 and %d", p.Minutes, maxVerbose))
	}
	req.Host.Verbose(time.Duration(p.Minutes) * time.Minute)
	return Outcome{State: task.Succeeded, Detail: fmt.Sprintf("logs in detail for %d minutes", p.Minutes)}
}

func verboseOff(_ context.Context, req Request) Outcome {
	if err := decodeParams(req.Params, &struct{}{}); err != nil {
		return refused(err)
	}
	req.Host.Verbose(0)
	return Outcome{State: task.Succeeded, Detail: "logs as usual"}
}
