package journaltest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// A list is a fold that keeps names. The appender's goroutine and guards may
// read it without a lock.
type list struct{ names []string }

func (l *list) Apply(e *event.Event) {
	name := string(e.Kind())
	if p, ok := e.Payload.(*event.FileRequeued); ok {
		name = p.Name
	}
	l.names = append(l.names, fmt.Sprintf("%d %s", e.Number, name))
}

// tokens is a list that wants one kind.
type tokens struct{ list }

func (*tokens) Wants(k event.Kind) bool { return k == event.KindTokenRevoked }

func testGuard(t *testing.T, s suite) {
	var l list
	j := s.start(t, t.TempDir(), journal.Options{Folds: []journal.Fold{&l}})
	mustAppend(t, j, named("a"), named("b"))
	errNo := errors.New("no")
	refuse := func() error { return errNo }
	if err := j.AppendIf(context.Background(), refuse, named("c")); err != errNo {
		t.Errorf("refused with %v, want the guard's own error", err)
	}
	e := named("")
	fill := func() error {
		if want := []string{"1 a", "2 b"}; !slices.Equal(l.names, want) {
			t.Errorf("the guard sees %q, want %q", l.names, want)
		}
		e.Payload.(*event.FileRequeued).Name = "filled in"
		return nil
	}
	if err := j.AppendIf(context.Background(), fill, e); err != nil {
		t.Fatal(err)
	}
	if err := j.AppendIf(context.Background(), nil, named("d")); err != nil {
		t.Fatalf("no guard at all: %v", err)
	}
	if e.Number != 3 || e.Accepted.IsZero() {
		t.Errorf("the event got number %d and time %s", e.Number, e.Accepted)
	}
	if got, want := names(t, j), []string{"a", "b", "filled in", "d"}; !slices.Equal(got, want) {
		t.Errorf("stored %q, want %q", got, want)
	}
}

func testGuardNumbers(t *testing.T, s suite) {
	var l list
	j := s.start(t, t.TempDir(), journal.Options{Folds: []journal.Fold{&l}})
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			e := named("")
			guard := func() error {
				e.Payload.(*event.FileRequeued).Name = fmt.Sprint("n", len(l.names)+1)
				return nil
			}
			if err := j.AppendIf(context.Background(), guard, e); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() { tryAppend(t, j, named("plain")) })
	}
	wg.Wait()
	for i, name := range names(t, j) {
		if name != "plain" && name != fmt.Sprint("n", i+1) {
			t.Errorf("event %d was given the name %q", i+1, name)
		}
	}
}

func testBarrier(t *testing.T, s suite) {
	var l list
	j := s.start(t, t.TempDir(), journal.Options{Folds: []journal.Fold{&l}})
	mustAppend(t, j, named("a"))
	seen := 0
	if err := j.AppendIf(context.Background(), func() error { seen = len(l.names); return nil }); err != nil {
		t.Fatal(err)
	}
	if h := j.Head(); seen != 1 || h.Event != 1 || h.Pages != 1 {
		t.Errorf("the guard saw %d events, the journal ends with %+v", seen, h)
	}
}

func testFolds(t *testing.T, s suite) {
	dir := t.TempDir()
	var a, b list
	j := s.open(t, dir, journal.Options{Folds: []journal.Fold{&a, &b}})
	var want []string
	for i := range 10 {
		mustAppend(t, j, named("x"), named("y"))
		want = append(want, fmt.Sprintf("%d x", 2*i+1), fmt.Sprintf("%d y", 2*i+2))
		// Append has returned: nobody writes to the lists now.
		if !slices.Equal(a.names, want) || !slices.Equal(b.names, want) {
			t.Fatalf("the folds know %q and %q, want %q", a.names, b.names, want)
		}
	}
	closeJournal(t, j)
	var again list
	j = s.open(t, dir, journal.Options{Folds: []journal.Fold{&again}})
	defer closeJournal(t, j)
	if !slices.Equal(again.names, want) {
		t.Errorf("after opening again the fold knows %q, want %q", again.names, want)
	}
}

func testSelectiveFold(t *testing.T, s suite) {
	var some tokens
	var all list
	j := s.start(t, t.TempDir(), journal.Options{Folds: []journal.Fold{&some, &all}})
	mustAppend(t, j, named("a"), &event.Event{Payload: &event.TokenRevoked{Token: "t"}}, named("b"))
	if want := []string{"2 token.revoked"}; !slices.Equal(some.names, want) {
		t.Errorf("the selective fold knows %q, want %q", some.names, want)
	}
	if want := []string{"1 a", "2 token.revoked", "3 b"}; !slices.Equal(all.names, want) {
		t.Errorf("the other fold knows %q, want %q", all.names, want)
	}
}

// A saver is a list that can be saved.
type saver struct {
	list
	saves string
	fail  error // of Restore
}

func (s *saver) Saves() string { return s.saves }

func (s *saver) Save() ([]byte, error) { return json.Marshal(s.names) }

func (s *saver) Restore(saved []byte) error {
	if s.fail != nil {
		return s.fail
	}
	return json.Unmarshal(saved, &s.names)
}

func testSavingFold(t *testing.T, s suite) {
	dir := t.TempDir()
	var want []string
	for round := range 4 {
		a, b := &saver{saves: "a/1"}, &saver{saves: "b/1"}
		folds := []journal.Fold{a, b}
		if round%2 == 1 {
			folds = []journal.Fold{b, a}
		}
		j := s.open(t, dir, journal.Options{Folds: folds})
		if !slices.Equal(a.names, want) || !slices.Equal(b.names, want) {
			t.Fatalf("round %d begins with folds that know %q and %q, want %q", round, a.names, b.names, want)
		}
		for i := range 3 {
			mustAppend(t, j, named("%d.%d", round, i), named("more"))
			want = append(want, fmt.Sprintf("%d %d.%d", len(want)+1, round, i), fmt.Sprintf("%d more", len(want)+2))
		}
		if !slices.Equal(a.names, want) || !slices.Equal(b.names, want) {
			t.Fatalf("round %d ends with folds that know %q and %q, want %q", round, a.names, b.names, want)
		}
		if got := pages(t, j, 1); len(got) != 3*(round+1) {
			t.Fatalf("round %d: %d pages", round, len(got))
		}
		readEverywhere(t, j)
		closeJournal(t, j)
	}
}

func testFoldNotRestored(t *testing.T, s suite) {
	dir := t.TempDir()
	j := s.open(t, dir, journal.Options{Folds: []journal.Fold{&saver{saves: "a/1"}, &saver{saves: "b/1"}}})
	mustAppend(t, j, named("x"), named("y"))
	mustAppend(t, j, named("z"))
	closeJournal(t, j)
	want := []string{"1 x", "2 y", "3 z"}
	for name, b := range map[string]*saver{
		"cannot":             {saves: "b/1", fail: errors.New("no")},
		"is of another kind": {saves: "b/2"},
	} {
		a, plain := &saver{saves: "a/1"}, new(list)
		j := s.open(t, dir, journal.Options{Folds: []journal.Fold{plain, b, a}})
		for i, got := range [][]string{plain.names, b.names, a.names} {
			if !slices.Equal(got, want) {
				t.Errorf("%s: fold %d knows %q, want %q", name, i, got, want)
			}
		}
		if h := j.Head(); h.Event != 3 || h.Pages != 2 {
			t.Errorf("%s: the journal ends with %+v", name, h)
		}
		closeJournal(t, j)
	}
}
