package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/generation"
)

// ErrEmpty is returned by [Journal.Seal] if the open generation has no events.
var ErrEmpty = errors.New("the open generation of the journal has no events")

// Seal closes the open generation and begins the next one. Appends go on, before
// and behind it; event numbers and the chain of hashes run on. It returns the
// generation that was closed.
func (j *Journal) Seal(ctx context.Context) (sealed generation.Generation, err error) {
	err = j.engine.AppendIf(ctx, func() error {
		j.store.settle(j.engine.Head())
		sealed, err = j.store.roll()
		return err
	})
	if err != nil {
		return generation.Generation{}, fmt.Errorf("seal generation: %w", err)
	}
	return sealed, nil
}

// rollPause is for how long no other try is made after one has failed.
const rollPause = time.Minute

// rollIfDue closes the open generation before a page that was accepted at the
// given time, if it is large or old enough. A failure of that is only logged: the
// page goes into the old generation. But if it is not sure which generation is the
// open one, that is an error.
func (s *store) rollIfDue(accepted int64) error {
	if s.unsure {
		if err := s.restoreList(); err != nil {
			return err
		}
	}
	old := s.size > 0 && accepted-s.began >= int64(s.sealAge)
	if s.size < s.sealBytes && !old || accepted < s.rollAgain {
		return nil
	}
	if s.at.Head.Pages == s.open.before.Head.Pages {
		return nil
	}
	g, err := s.roll()
	if err == nil {
		s.log.Info("journal has closed a generation", "generation", g.Number, "events", g.End.Event-g.Before.Event)
		return nil
	}
	s.rollAgain = accepted + int64(rollPause)
	s.log.Error("journal cannot close a generation and goes on in it", "error", err)
	if s.unsure {
		return err
	}
	return nil
}

// roll closes the open generation and begins the next one: first in the list,
// then in the live store. If there is a crash in between, the stream is made when
// the journal is opened.
func (s *store) roll() (generation.Generation, error) {
	if err := context.Cause(s.well); err != nil {
		return generation.Generation{}, err
	}
	if s.unsure {
		if err := s.restoreList(); err != nil {
			return generation.Generation{}, err
		}
	}
	if s.at.Head.Pages == s.open.before.Head.Pages {
		return generation.Generation{}, ErrEmpty
	}
	closed := s.open
	next := &live{number: closed.number + 1, before: s.at}
	next.msgs = generation.LiveFolder(s.dir, next.number)
	err := s.step("was about to close a generation")
	if err == nil {
		err = s.shelf.begin(next)
	}
	if err == nil {
		err = s.step("wrote the list")
	}
	if err == nil {
		err = s.makeStream(next.number)
	}
	if err == nil {
		err = s.step("made the stream")
	}
	if err != nil {
		s.unsure = true
		return generation.Generation{}, errors.Join(err, s.restoreList())
	}
	if b := closed.newest(); b != nil {
		files, err := block.Files(closed.msgs)
		if err != nil || len(files) == 0 {
			s.log.Warn("journal cannot look at the files of a generation", "generation", closed.number, "error", err)
			b.finish(b.file, s.at)
		} else {
			b.finish(files[len(files)-1], s.at)
		}
	}
	s.open, s.newest, s.size, s.began = next, 0, 0, 0
	return s.shelf.generation(closed.number)
}

// makeStream makes the stream of a generation, and its names durable.
func (s *store) makeStream(n uint32) error {
	ctx, cancel := context.WithTimeout(s.well, patience)
	defer cancel()
	if err := s.make(ctx, n); err != nil {
		return err
	}
	return syncTree(streamsFolder(s.dir))
}

// restoreList makes the list on disk the one that the store goes by.
func (s *store) restoreList() error {
	s.shelf.back(s.open.number)
	if err := s.shelf.change(func(l generation.List) generation.List { return l }); err != nil {
		return fmt.Errorf("it is not sure which generation is open: %w", err)
	}
	s.unsure = false
	return nil
}
