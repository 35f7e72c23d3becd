package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// A bridge hands what the embedded server logs to slog, and listens for the one
// thing that nobody else says: the server does not answer a message that the
// disk refused, it logs.
type bridge struct {
	log  *slog.Logger
	fail context.CancelCauseFunc
}

// errDisk is the cause once the embedded server has met a failing disk.
var errDisk = errors.New("the embedded server cannot write")

func (b *bridge) Noticef(format string, v ...any) { b.say(slog.LevelDebug, format, v) }
func (b *bridge) Warnf(format string, v ...any)   { b.say(slog.LevelWarn, format, v) }
func (b *bridge) Debugf(format string, v ...any)  {}
func (b *bridge) Tracef(format string, v ...any)  {}

func (b *bridge) Errorf(format string, v ...any) {
	text := b.say(slog.LevelError, format, v)
	// Should a later server word it otherwise, the publish timeout still ends the
	// wait.
	if strings.Contains(text, "critical write error") {
		b.fail(fmt.Errorf("%w: %s", errDisk, text))
	}
}

// Fatalf does not end the process: Open returns the reason.
func (b *bridge) Fatalf(format string, v ...any) {
	b.fail(errors.New(b.say(slog.LevelError, format, v)))
}

func (b *bridge) say(level slog.Level, format string, v []any) string {
	if !b.log.Enabled(context.Background(), level) && level < slog.LevelError {
		return ""
	}
	text := strings.TrimSpace(fmt.Sprintf(format, v...))
	b.log.Log(context.Background(), level, "journal server: "+text)
	return text
}
