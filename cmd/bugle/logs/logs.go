package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"gopkg.in/natefinch/lumberjack.v2"
)

// Bounds of the files of one group.
const (
	maxMegabytes = 10
	maxBackups   = 5
)

// groups says which components write to which file; setup is for all others.
var groups = map[string][]string{
	"manager": {"journal", "tree", "views", "inbox", "clock", "pacing", "upkeep", "notices"},
	"server":  {"listener", "feed", "relay"},
	"http":    {"console"},
	setup:     nil,
}

const setup = "setup"

// A Format is how a line is written: "text" or "json".
type Format string

// ErrFormat is wrapped by the error of [Format.Handler] for any other word.
var ErrFormat = errors.New("it is text or json")

// Handler writes lines to w.
func (f Format) Handler(w io.Writer, level slog.Leveler) (slog.Handler, error) {
	o := &slog.HandlerOptions{Level: level}
	switch f {
	case "text":
		return slog.NewTextHandler(w, o), nil
	case "json":
		return slog.NewJSONHandler(w, o), nil
	}
	return nil, fmt.Errorf("log format %q: %w", string(f), ErrFormat)
}

// Files are the log files of one folder. Close them after the last line.
type Files struct {
	handler *handler
	open    []io.Closer
}

// Open makes the folder if need be. What is logged with [Files.Logger] goes to
// stderr as well.
func Open(dir string, format Format, level slog.Leveler, stderr io.Writer) (*Files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open log files: %w", err)
	}
	plain, err := format.Handler(stderr, level)
	if err != nil {
		return nil, err
	}
	f := &Files{handler: &handler{all: map[string]slog.Handler{}, stderr: plain, group: setup}}
	for name := range groups {
		w := &lumberjack.Logger{Filename: filepath.Join(dir, name+".log"), MaxSize: maxMegabytes, MaxBackups: maxBackups}
		f.open = append(f.open, w)
		if f.handler.all[name], err = format.Handler(w, level); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Logger returns what writes to the files and to standard error.
func (f *Files) Logger() *slog.Logger { return slog.New(f.handler) }

// Quiet returns what writes to the files only: for what standard error is told by
// somebody else.
func (f *Files) Quiet() *slog.Logger {
	quiet := *f.handler
	quiet.stderr = slog.DiscardHandler
	return slog.New(&quiet)
}

// Close closes the files. A later line opens its file again.
func (f *Files) Close() error {
	var errs []error
	for _, w := range f.open {
		errs = append(errs, w.Close())
	}
	return errors.Join(errs...)
}

// A handler writes a line twice. Attributes are given to every file's handler,
// for it is not known before which of them the line will go to.
type handler struct {
	all    map[string]slog.Handler // by group
	stderr slog.Handler
	group  string
}

func (h *handler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.all[h.group].Enabled(ctx, l)
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	err := h.all[h.group].Handle(ctx, r.Clone())
	if h.stderr.Enabled(ctx, r.Level) {
		err = errors.Join(err, h.stderr.Handle(ctx, r))
	}
	return err
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := h.with(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
	for _, a := range attrs {
		if a.Key == "component" {
			next.group = groupOf(a.Value.String())
		}
	}
	return next
}

func (h *handler) WithGroup(name string) slog.Handler {
	return h.with(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (h *handler) with(change func(slog.Handler) slog.Handler) *handler {
	next := &handler{all: make(map[string]slog.Handler, len(h.all)), stderr: change(h.stderr), group: h.group}
	for name, to := range h.all {
		next.all[name] = change(to)
	}
	return next
}

func groupOf(component string) string {
	for name, components := range groups {
		if slices.Contains(components, component) {
			return name
		}
	}
	return setup
}
