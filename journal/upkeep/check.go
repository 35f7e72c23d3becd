package upkeep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// Numbers of status messages; they never change.
const (
	msgDamaged     = 1001
	msgWhole       = 1002
	msgNotArchived = 1003
	msgArchived    = 1004
)

func message(number uint32, severity event.Severity, format string, args ...any) *event.SiteMessage {
	return &event.SiteMessage{Component: "journal", Message: number, Severity: severity, Text: text(fmt.Sprintf(format, args...))}
}

// never is for what may be said again.
func never() bool { return false }

// text is s as long as an event takes it.
func text(s string) string {
	s = strings.ToValidUTF8(s, "?")
	for len(s) > event.MaxText {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// runChecks checks whenever it is due, until ctx ends or the journal is closed.
func (u *Upkeep) runChecks(ctx context.Context) {
	if u.set.CheckEvery < 0 {
		<-ctx.Done()
		return
	}
	damaged := u.cfg.Store.Damaged()
	wait := max(firstCheck, u.untilCheck())
	for {
		select {
		case <-time.After(wait):
		case <-damaged:
			damaged = nil
		case <-ctx.Done():
			return
		}
		_, err := u.Check(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, journal.ErrClosed):
			return
		case err != nil:
			u.cfg.Log.Error("the history could not be checked", "again in", u.set.CheckAgain, "error", err)
			wait = u.set.CheckAgain
		default:
			wait = u.untilCheck()
		}
	}
}

// untilCheck is how long it is until the next check is due, by the last one in
// the history.
func (u *Upkeep) untilCheck() time.Duration {
	at, bad := u.cfg.Notes.checked()
	if at.IsZero() {
		return 0
	}
	every := u.set.CheckEvery
	if bad != "" {
		every = min(every, u.set.CheckAgain)
	}
	return at.Add(every + jitter(every)).Sub(u.cfg.Now())
}

// Check checks the whole history now and makes the outcome an event, which it
// returns. What was found bad is no error; an error says that no outcome is in
// the history.
func (u *Upkeep) Check(ctx context.Context) (*event.JournalChecked, error) {
	u.checking.Lock()
	defer u.checking.Unlock()
	began := u.cfg.Now()
	report, err := u.verify(ctx)
	if err != nil && !found(ctx, err) {
		return nil, fmt.Errorf("check journal: %w", err)
	}
	if d, ok := errors.AsType[*journal.DamageError](err); ok && report.Events == 0 {
		report.Events = d.Event - min(d.Event, 1)
	}
	outcome := &event.JournalChecked{Events: report.Events, Head: report.Head, Root: report.Root, Good: err == nil}
	events := []event.Payload{outcome}
	_, was := u.cfg.Notes.checked()
	switch {
	case err != nil:
		outcome.Reason = text(err.Error())
		u.cfg.Log.Error("the history is damaged on the disk", "events", report.Events, "error", err)
		if outcome.Reason != was {
			events = append(events, message(msgDamaged, event.Error,
				"the history is damaged on the disk: %v; keep a copy of the site's folder as it is, then restore a backup or copy what is whole with 'bugle journal salvage'", err))
		}
	case was != "":
		events = append(events, message(msgWhole, event.Info, "the history is whole again: %d events were checked", report.Events))
	}
	if _, err := u.say(ctx, "", never, events...); err != nil {
		return nil, fmt.Errorf("check journal: %w", err)
	}
	u.count(func(s *Stats) {
		s.Checks++
		s.LastCheckTook = u.cfg.Now().Sub(began)
	})
	return outcome, nil
}

// notDone are errors that say nothing of what is on the disk.
var notDone = []error{journal.ErrClosed, journal.ErrUnavailable, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM}

// found tells whether the error of a check says that something is bad, and not
// that the check could not be done.
func found(ctx context.Context, err error) bool {
	return ctx.Err() == nil && !slices.ContainsFunc(notDone, func(e error) bool { return errors.Is(err, e) })
}

// verify reads the whole history, slowly: the files as the store has them, then
// the events as everybody reads them, compared with the last checkpoint.
func (u *Upkeep) verify(ctx context.Context) (tree.Report, error) {
	var signed []tree.Checkpoint
	if text, c := u.cfg.Checkpoints.Checkpoint(); text != nil {
		signed = append(signed, c)
	}
	p := &pace{ctx: ctx, rate: u.set.CheckRate}
	if err := u.cfg.Store.Check(ctx, p.read); err != nil {
		return tree.Report{}, err
	}
	r, err := u.cfg.Journal.Read(ctx, 1)
	if err != nil {
		return tree.Report{}, err
	}
	defer r.Close()
	return tree.Verify(ctx, slow{r, p}, signed, nil)
}

// slow is a reader that is held to a pace.
type slow struct {
	journal.Reader
	pace *pace
}

func (s slow) Next(ctx context.Context) (*journal.Page, error) {
	p, err := s.Reader.Next(ctx)
	if err != nil {
		return nil, err
	}
	return p, s.pace.read(len(p.Bytes()))
}

// A pace sleeps so that no more than rate bytes a second are read.
type pace struct {
	ctx  context.Context
	rate int64
	owed time.Duration
}

// leastNap keeps a pace from sleeping after every page.
const leastNap = 10 * time.Millisecond

func (p *pace) read(bytes int) error {
	p.owed += time.Duration(float64(bytes) / float64(p.rate) * float64(time.Second))
	if p.owed < leastNap {
		return p.ctx.Err()
	}
	nap := p.owed
	p.owed = 0
	select {
	case <-time.After(nap):
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}
