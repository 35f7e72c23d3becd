package upkeep

import (
	"context"
	"errors"
	"fmt"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/generation"
)

// tend takes the steps that closed generations still need.
func (u *Upkeep) tend(ctx context.Context) error {
	list := u.cfg.Store.Generations()
	var errs []error
	waiting := 0
	for i := range list {
		if !list[i].Sealed() {
			continue
		}
		stays := len(list)-1-i <= u.set.KeepLive
		if err := u.tendOne(ctx, list[i], stays); err != nil {
			errs = append(errs, fmt.Errorf("generation %d: %w", list[i].Number, err))
			waiting++
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	err := errors.Join(errs...)
	u.count(func(s *Stats) { s.Generations, s.Waiting = len(list), waiting })
	if errors.Is(err, journal.ErrClosed) {
		return err
	}
	return errors.Join(err, u.tell(ctx, err))
}

// tendOne takes the steps that one closed generation still needs; stays tells
// that it is not removed from the live store.
func (u *Upkeep) tendOne(ctx context.Context, g generation.Generation, stays bool) (err error) {
	if err := u.saySealed(ctx, g); err != nil {
		return err
	}
	if g.Archive == "" {
		if g, err = u.cfg.Store.Archive(ctx, g.Number, u.cfg.Checkpoints, nil); err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		u.cfg.Log.Info("a generation of the journal is archived", "generation", g.Number, "archive", g.Archive, "bytes", g.Size)
	}
	if err := u.sayArchived(ctx, g, false); err != nil {
		return err
	}
	if !g.Removed && stays {
		return nil
	}
	if !g.Removed {
		if err := u.cfg.Store.Remove(ctx, g.Number); err != nil {
			return fmt.Errorf("remove from the live store: %w", err)
		}
		u.cfg.Log.Info("a generation of the journal is in its archive alone", "generation", g.Number)
	}
	return u.sayArchived(ctx, g, true)
}

func (u *Upkeep) saySealed(ctx context.Context, g generation.Generation) error {
	said := func() bool { return u.cfg.Notes.generation(g.Number, g.End.Hash).End == g.End.Hash }
	if said() {
		return nil
	}
	appended, err := u.say(ctx, fmt.Sprintf("upkeep/sealed/%d", g.Number), said, &event.GenerationSealed{
		Generation: g.Number, First: g.Before.Event + 1, Last: g.End.Event, Pages: g.End.Pages, Head: g.End.Hash,
	})
	if appended {
		u.count(func(s *Stats) { s.Sealed++ })
	}
	return err
}

func (u *Upkeep) sayArchived(ctx context.Context, g generation.Generation, removed bool) error {
	said := func() bool {
		n := u.cfg.Notes.generation(g.Number, g.End.Hash)
		return n.Archived == g.Digest && (n.Removed || !removed)
	}
	if said() {
		return nil
	}
	step := "archived"
	if removed {
		step = "removed"
	}
	appended, err := u.say(ctx, fmt.Sprintf("upkeep/%s/%d", step, g.Number), said, &event.GenerationArchived{
		Generation: g.Number, Name: g.Archive, Size: g.Size, Digest: g.Digest, Removed: removed,
	})
	if appended && removed {
		u.count(func(s *Stats) { s.Removed++ })
	} else if appended {
		u.count(func(s *Stats) { s.Archived++ })
	}
	return err
}

// tell makes it a status message when generations begin or end to fail, not when
// they go on to.
func (u *Upkeep) tell(ctx context.Context, failing error) error {
	u.mu.Lock()
	was := u.failed
	u.mu.Unlock()
	var m *event.SiteMessage
	switch {
	case failing != nil && was == "":
		m = message(msgNotArchived, event.Warning, "a closed generation of the journal cannot be archived or removed: %v", failing)
	case failing == nil && was != "":
		m = message(msgArchived, event.Info, "all closed generations of the journal are archived again")
	default:
		return nil
	}
	if _, err := u.say(ctx, "", never, m); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failed = ""; failing != nil {
		u.failed = failing.Error()
	}
	return nil
}
