package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
)

// A history is what was read of a journal, to be compared with what is read
// later.
type history struct {
	lines [][32]byte     // a digest of each event, from number 1
	names map[string]int // how often each name of a record is in it
	epoch uint32         // newest of the site's listener
}

// An entry is an event as the API tells it.
type entry struct {
	Number   uint64          `json:"number"`
	Accepted json.RawMessage `json:"accepted"`
	Kind     string          `json:"kind"`
	Payload  json.RawMessage `json:"payload"`
}

// read reads the journal from event from to its end and adds it to the history.
// What the history has already must be the same.
func (l *lab) read(h *history, from uint64) {
	l.t.Helper()
	for next := from; next != 0; {
		var page struct {
			Items []entry
			Next  uint64
			Event uint64
		}
		if err := l.api.call(l.t.Context(), http.MethodGet, fmt.Sprintf("%s?from=%d&limit=1000", console.PathEvents, next), nil, &page); err != nil {
			l.t.Fatalf("cycle %d: read history: %v", l.cycles, err)
		}
		for _, e := range page.Items {
			if e.Number != next {
				l.t.Fatalf("cycle %d: event %d stands where event %d should", l.cycles, e.Number, next)
			}
			next++
			l.take(h, &e)
		}
		if page.Next == 0 {
			if page.Event >= next && len(page.Items) > 0 {
				continue // it has grown meanwhile
			}
			return
		}
	}
}

func (l *lab) take(h *history, e *entry) {
	l.t.Helper()
	line := sha256.Sum256(fmt.Appendf(nil, "%d %s %s %s", e.Number, e.Accepted, e.Kind, e.Payload))
	if e.Number <= uint64(len(h.lines)) {
		if h.lines[e.Number-1] != line {
			l.t.Fatalf("cycle %d: event %d is not what it was: %s %s", l.cycles, e.Number, e.Kind, e.Payload)
		}
		return
	}
	h.lines = append(h.lines, line)
	var p struct {
		Token     string
		ID        string
		Operation string
		Task      struct{ Operation string }
		Epoch     uint32
		Listener  string
		Facts     []struct{ Name, Value string }
	}
	if err := json.Unmarshal(e.Payload, &p); err != nil {
		return // of a kind that is of no interest here
	}
	switch e.Kind {
	case "token.created":
		h.names["token "+p.Token]++
	case "operation.requested":
		h.names["operation "+p.Task.Operation]++
	case "device.discovered":
		for _, f := range p.Facts {
			if f.Name == "lab" {
				h.names[f.Value]++
			}
		}
	case "listener.granted":
		h.epoch = p.Epoch
	}
}

// check looks whether everything that was told is there, once. Files that were
// dropped need a moment until they are taken.
func (l *lab) check(h *history, whole bool) {
	l.t.Helper()
	from := uint64(len(h.lines)) + 1
	if whole {
		from = 1
	}
	l.read(h, from)
	for limit := time.Now().Add(patience); ; {
		missing := l.missing(h)
		if len(missing) == 0 {
			break
		}
		if time.Now().After(limit) {
			l.t.Fatalf("cycle %d: acknowledged and not there within %s of the start after %s: %d things, such as %s",
				l.cycles, patience, l.before, len(missing), missing[0])
		}
		time.Sleep(50 * time.Millisecond)
		l.read(h, uint64(len(h.lines))+1)
	}
	for name, n := range h.names {
		if n > 1 {
			l.t.Fatalf("cycle %d: %s is %d times in the history", l.cycles, name, n)
		}
	}
}

func (l *lab) missing(h *history) (all []string) {
	l.records.mu.Lock()
	defer l.records.mu.Unlock()
	for name := range l.records.acked {
		if h.names[name] == 0 {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// compare compares the views with a rebuild, and the history with what is signed
// of it.
func (l *lab) compare() {
	l.t.Helper()
	rebuildAll(l.t, l.world)
	l.text("journal", "verify")
}

// report prints what was met how often; what never was does not count.
func (l *lab) report(t *testing.T, h *history) {
	t.Helper()
	n, _ := l.records.count()
	t.Logf("%d cycles, %d things acknowledged, 0 lost, %d events in the history, none twice; cuts have lost %d names and torn or lost the unsynced part of %d files",
		max(0, l.cycles-1), n, len(h.lines), l.lostNames, l.lostWrites)
}

func sortedKeys(m map[string]int) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
