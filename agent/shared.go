package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
)

// sharedFile keeps what the site has acknowledged of this machine's facts. Losing it
// costs one report of everything.
const sharedFile = "facts.shared"

const (
	maxShared  = 2 << 20            // bytes of the file
	fullReport = 7 * 24 * time.Hour // everything is reported that often
)

// A shared is what the site has of this machine: a digest of the value of each fact,
// and of which topic it is.
type shared struct {
	Version int               `json:"version"`
	History string            `json:"history"` // of the site's journal
	Device  uint32            `json:"device"`
	Topics  map[string]*topic `json:"topics"`
	Values  map[string]string `json:"values"`
}

// A topic is what is reported together.
type topic struct {
	Full  time.Time `json:"full"`  // when all of it was reported last
	Names []string  `json:"names"` // of its facts, in order
}

const sharedVersion = 1

// sharedFacts guards the file; nothing of it is kept in memory, for many agents may be
// in one process.
type sharedFacts struct{ mu sync.Mutex }

func (a *Agent) loadShared(history [16]byte) *shared {
	k := &shared{}
	b, err := readBounded(filepath.Join(a.dir, sharedFile), maxShared)
	if err != nil || json.Unmarshal(b, k) != nil || k.Version != sharedVersion || k.History != hex.EncodeToString(history[:]) || k.Device != a.id.Device || k.Topics == nil || k.Values == nil {
		k = &shared{sharedVersion, hex.EncodeToString(history[:]), a.id.Device, map[string]*topic{}, map[string]string{}}
	}
	return k
}

func (a *Agent) storeShared(k *shared) error {
	b, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("keep what was reported: %w", err)
	}
	if err := replace(filepath.Join(a.dir, sharedFile), b, true); err != nil {
		return fmt.Errorf("keep what was reported: %w", err)
	}
	return nil
}

// Changes returns which facts of a topic the site does not have as they are, those
// that are gone without a value; all of them if it is not known what the site has, or
// a week after they all were reported. Once they are stored at the site, done keeps
// that in mind.
func (h host) Changes(ctx context.Context, name string, facts []action.Fact) (changed []action.Fact, done func(), err error) {
	s, err := h.a.session(ctx)
	if err != nil {
		return nil, nil, err
	}
	history := s.welcome.History
	h.a.shared.mu.Lock()
	defer h.a.shared.mu.Unlock()
	k, now := h.a.loadShared(history), h.a.clock.stamp()
	before := k.Topics[name]
	full := before == nil || now.Before(before.Full) || now.Sub(before.Full) >= fullReport
	var names []string
	for _, f := range facts {
		names = append(names, f.Name)
		if full || k.Values[f.Name] != digestOf(f.Value) {
			changed = append(changed, f)
		}
	}
	slices.Sort(names)
	if before != nil {
		for _, n := range before.Names {
			if _, gone := slices.BinarySearch(names, n); !gone {
				changed = append(changed, action.Fact{Name: n})
			}
		}
	}
	return changed, func() { h.a.keepShared(history, name, names, changed, full, now) }, nil
}

// keepShared takes note of what the site has now.
func (a *Agent) keepShared(history [16]byte, name string, names []string, sent []action.Fact, full bool, now time.Time) {
	a.shared.mu.Lock()
	defer a.shared.mu.Unlock()
	k := a.loadShared(history)
	t := k.Topics[name]
	if t == nil {
		t = &topic{}
		k.Topics[name] = t
	}
	if full {
		t.Full = now
	}
	t.Names = names
	for _, f := range sent {
		if f.Value == "" {
			delete(k.Values, f.Name)
		} else {
			k.Values[f.Name] = digestOf(f.Value)
		}
	}
	if err := a.storeShared(k); err != nil {
		a.cfg.Log.Warn("all facts are reported again next time", "err", err)
	}
}

// digestOf is enough of a value to tell whether it is another one.
func digestOf(value string) string {
	sum := sha256.Sum256([]byte(cut(value, maxFactValue)))
	return hex.EncodeToString(sum[:12])
}
