package upkeep

import (
	"fmt"
	"time"
)

// Settings say how often what is done; doc.go has the table. A zero value means
// the default.
type Settings struct {
	CheckpointEvery time.Duration // between two checkpoint.signed events
	KeepLive        int           // how many archived generations stay in the live store too
	CheckEvery      time.Duration // between two checks; below 0: never
	CheckAgain      time.Duration // after one that was bad or could not be done
	CheckRate       int64         // bytes of pages that a check reads in a second
}

// Default is the settings that hold if nobody says anything.
func Default() Settings {
	return Settings{
		CheckpointEvery: time.Hour,
		CheckEvery:      24 * time.Hour,
		CheckAgain:      time.Hour,
		CheckRate:       64 << 20,
	}
}

// Bounds of settings.
const (
	minCheckpointEvery = time.Minute
	minCheckEvery      = time.Minute
	minCheckRate       = 1 << 20
)

// orDefault fills in what is zero.
func (s Settings) orDefault() Settings {
	d := Default()
	for _, p := range []struct{ of, to *time.Duration }{
		{&s.CheckpointEvery, &d.CheckpointEvery}, {&s.CheckEvery, &d.CheckEvery}, {&s.CheckAgain, &d.CheckAgain},
	} {
		if *p.of == 0 {
			*p.of = *p.to
		}
	}
	if s.CheckRate == 0 {
		s.CheckRate = d.CheckRate
	}
	return s
}

// Check says which setting cannot work.
func (s Settings) Check() error {
	s = s.orDefault()
	switch {
	case s.CheckpointEvery < minCheckpointEvery:
		return fmt.Errorf("checkpoint-every: %s is less than %s", s.CheckpointEvery, minCheckpointEvery)
	case s.KeepLive < 0:
		return fmt.Errorf("keep-live: %d is less than 0", s.KeepLive)
	case s.CheckEvery > 0 && s.CheckEvery < minCheckEvery:
		return fmt.Errorf("check-every: %s is less than %s", s.CheckEvery, minCheckEvery)
	case s.CheckAgain < minCheckEvery:
		return fmt.Errorf("check-again: %s is less than %s", s.CheckAgain, minCheckEvery)
	case s.CheckRate < minCheckRate:
		return fmt.Errorf("check-rate: %d bytes a second is less than %d", s.CheckRate, minCheckRate)
	}
	return nil
}
