package projectors

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal/durable"
)

// Keep says which states of views are kept beyond the [Window].
type Keep struct {
	Every  time.Duration // by the events' times; 0 means a day
	Events uint64        // at most so many events apart; 0 means 1,000,000
	Last   int           // so many, and of the older ones one a week; 0 means 7
}

func (k Keep) orDefault() Keep {
	if k.Every <= 0 {
		k.Every = 24 * time.Hour
	}
	if k.Events == 0 {
		k.Events = 1_000_000
	}
	if k.Last <= 0 {
		k.Last = 7
	}
	return k
}

const (
	week = 7 * 24 * time.Hour
	// minKept is the event from which a first state is kept.
	minKept = 10_000
)

// kept is the folder of the kept states of one view, as files that FORMAT.md
// describes. They are a cache: without them the past is folded from further back.
type kept struct {
	dir    string
	of     keptState // view, schema and history
	policy Keep
	log    *slog.Logger

	mu     sync.Mutex
	states []keptState // by rising event
}

func openKept(dir string, of keptState, policy Keep, log *slog.Logger) (*kept, error) {
	k := &kept{dir: dir, of: of, policy: policy.orDefault(), log: log}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), keptSuffix)
		event, err := strconv.ParseUint(number, 10, 64)
		if !ok || err != nil {
			continue
		}
		s, err := readKeptHead(filepath.Join(dir, e.Name()))
		if err == nil {
			err = k.fits(s, event)
		}
		if err != nil {
			k.remove(event, err)
			continue
		}
		k.states = append(k.states, s)
	}
	slices.SortFunc(k.states, func(a, b keptState) int { return int(int64(a.event) - int64(b.event)) })
	return k, nil
}

func (k *kept) fits(s keptState, event uint64) error {
	switch {
	case s.view != k.of.view || s.event != event:
		return fmt.Errorf("it is view %s at event %d", s.view, s.event)
	case s.schema != k.of.schema:
		return fmt.Errorf("rows of schema %d, this bugle writes %d", s.schema, k.of.schema)
	case s.history != k.of.history:
		return fmt.Errorf("rows of history %x, the journal is %x", s.history, k.of.history)
	}
	return nil
}

func (k *kept) name(event uint64) string {
	return filepath.Join(k.dir, fmt.Sprintf("%020d%s", event, keptSuffix))
}

// remove takes a file away, over what is wrong with it or because it is not
// needed any more.
func (k *kept) remove(event uint64, why error) {
	if why != nil {
		k.log.Warn("kept state is removed", "event", event, "err", why)
	}
	if err := os.Remove(k.name(event)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.log.Warn("remove kept state", "event", event, "err", err)
	}
}

// before returns the events at which states are kept, up to and with event, the
// latest first.
func (k *kept) before(event uint64) (all []uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range slices.Backward(k.states) {
		if s.event <= event {
			all = append(all, s.event)
		}
	}
	return all
}

// due tells whether the state after an event is to be kept.
func (k *kept) due(event uint64, accepted int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	i, found := slices.BinarySearchFunc(k.states, event, func(s keptState, n uint64) int { return int(int64(s.event) - int64(n)) })
	if event == 0 || found {
		return false
	}
	var last keptState
	if i > 0 {
		last = k.states[i-1]
	}
	if last.event == 0 && event < min(minKept, k.policy.Events) {
		return false
	}
	return last.event == 0 || event-last.event >= k.policy.Events || accepted-last.accepted >= int64(k.policy.Every)
}

// read returns a kept state whole. A file that does not hold together is removed.
func (k *kept) read(event uint64) (keptState, *memory, error) {
	s, rows, err := readKept(k.name(event))
	if err == nil {
		err = k.fits(s, event)
	}
	if err != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.states = slices.DeleteFunc(k.states, func(s keptState) bool { return s.event == event })
		k.remove(event, nil)
		return s, nil, fmt.Errorf("read kept state: %w", err)
	}
	return s, rows, nil
}

// clear lets go of all states, because what wrote them cannot be trusted.
func (k *kept) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.states {
		k.remove(s.event, nil)
	}
	k.states = nil
}

// keep writes the rows as they are after an event, durably, and lets go of what
// the policy does not want any more.
func (k *kept) keep(s *Snapshot, accepted int64) error {
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return fmt.Errorf("keep state: %w", err)
	}
	state := k.of
	state.event, state.accepted = s.position, accepted
	name := k.name(s.position)
	if err := writeKept(name+".tmp", state, s); err != nil {
		return errors.Join(fmt.Errorf("keep state at event %d: %w", s.position, err), os.Remove(name+".tmp"))
	}
	if err := durable.Rename(name+".tmp", name); err != nil {
		return fmt.Errorf("keep state at event %d: %w", s.position, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	i, found := slices.BinarySearchFunc(k.states, s.position, func(s keptState, n uint64) int { return int(int64(s.event) - int64(n)) })
	if !found {
		k.states = slices.Insert(k.states, i, state)
	}
	for _, gone := range k.thin() {
		k.remove(gone, nil)
	}
	return nil
}

// thin takes out of the list what the policy does not want: of all but the last
// ones, those that are less than a week behind the one before.
func (k *kept) thin() (gone []uint64) {
	old := max(len(k.states)-k.policy.Last, 0)
	stay := make([]keptState, 0, len(k.states))
	for i, s := range k.states {
		if i > 0 && i < old && s.accepted-stay[len(stay)-1].accepted < int64(week) {
			gone = append(gone, s.event)
			continue
		}
		stay = append(stay, s)
	}
	k.states = stay
	return gone
}
