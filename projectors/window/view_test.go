package window_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/bugle-fleet/bugle/projectors/projectorstest"
	"github.com/bugle-fleet/bugle/projectors/window"
)

func start(t *testing.T) (*projectorstest.Site, *window.Reader) {
	t.Helper()
	view, r := window.New()
	return projectorstest.Start(t, view), r
}

func names(t *testing.T, list []window.Window, err error) (all []string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range list {
		all = append(all, w.Collection+"/"+w.Name)
	}
	return all
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("windows are %q, want %q", got, want)
	}
}

func TestWindowsOfCollections(t *testing.T) {
	s, r := start(t)
	list, err := r.All()
	want(t, names(t, list, err))
	s.Append(set("B", "two", night), set("B", "one", night), set("AB", "x", night), set("A", "Bx", night))
	list, err = r.All()
	want(t, names(t, list, err), "A/Bx", "AB/x", "B/one", "B/two")
	list, err = r.Of("B")
	want(t, names(t, list, err), "B/one", "B/two")
	list, err = r.Of("C")
	want(t, names(t, list, err))

	n := s.Append(set("B", "one", `{"other":1}`))
	list, err = r.Of("B")
	want(t, names(t, list, err), "B/one", "B/two")
	if w := list[0]; w.Event != n || string(w.JSON) != `{"other":1}` || w.Changed.IsZero() {
		t.Errorf("the window is %+v", w)
	}
	s.Append(set("B", "two", ""), set("B", "three", ""))
	list, err = r.All()
	want(t, names(t, list, err), "A/Bx", "AB/x", "B/one")
}

// The windows go with their collection, and a new one of its id has none.
func TestDeletedCollectionTakesItsWindowsAlong(t *testing.T) {
	s, r := start(t)
	s.Append(made("B"), set("B", "one", night), set("B", "two", night), set("BC", "x", night), made("B"), deleted("B"))
	list, err := r.All()
	want(t, names(t, list, err), "BC/x")
	s.Append(made("B"))
	list, err = r.Of("B")
	want(t, names(t, list, err))
}

// What a reader was given stays as it was, and is the same until a window changes.
func TestListIsShared(t *testing.T) {
	s, r := start(t)
	s.Append(set("B", "one", night), set("B", "two", night))
	before, err := r.All()
	s.Append(made("C"))
	if again, _ := r.All(); err != nil || &again[0] != &before[0] {
		t.Errorf("another list although no window changed, %v", err)
	}
	s.Append(set("B", "one", "{}"), set("B", "two", ""), set("A", "new", night))
	want(t, names(t, before, nil), "B/one", "B/two")
	if string(before[0].JSON) != night {
		t.Errorf("the list changed: %+v", before)
	}
	_, err = r.At(func(snap *window.Snapshot) error {
		s.Append(set("A", "newer", night))
		if n := len(snap.All()); n != 2 {
			t.Errorf("a snapshot changed: %d windows", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWindowsAreBounded(t *testing.T) {
	const most = 50
	view, r := window.NewBounded(most)
	s := projectorstest.Start(t, view)
	for i := range most + 5 {
		s.Append(set("A", fmt.Sprintf("w%05d", i), "{}"))
	}
	list, err := r.All()
	if err != nil || len(list) != most {
		t.Fatalf("%d windows are kept, %v", len(list), err)
	}
	s.Append(set("A", "w00000", `{"changed":1}`), set("A", "w00001", ""), set("A", "new", "{}"), set("A", "newer", "{}"))
	list, err = r.All()
	if err != nil || len(list) != most || list[0].Name != "new" || string(list[1].JSON) != `{"changed":1}` || list[2].Name != "w00002" {
		t.Errorf("%d windows are kept, the first %+v, %v", len(list), list[:3], err)
	}
}
