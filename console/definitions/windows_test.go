package definitions

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

func aWindow(collection, name string, minutes int) Window {
	return Window{Collection: collection, Window: window.Window{Name: name, Enabled: true, Kind: window.General,
		Start: time.Date(2026, 11, 28, 1, 0, 0, 0, time.UTC), Length: time.Duration(minutes) * time.Minute}}
}

// withWindows is a fold that knows collections and windows.
func withWindows(t *testing.T, collections []string, windows ...Window) *Definitions {
	t.Helper()
	d := New("P01")
	number := uint64(0)
	for _, id := range collections {
		number++
		d.Apply(&event.Event{Number: number, Payload: &event.CollectionChanged{ID: id, After: &event.Collection{ID: id, Name: "c " + id, Limit: event.RootCollection}}})
	}
	changes, err := d.Now().ChangeWindows(windows, true, "")
	if err != nil {
		t.Fatal(err)
	}
	apply(d, changes...)
	return d
}

func apply(d *Definitions, changes ...*event.WindowChanged) {
	for _, p := range changes {
		d.Apply(&event.Event{Number: d.Version() + 1, Payload: p})
	}
}

func inWords(changes []*event.WindowChanged) string {
	var all []string
	for _, p := range changes {
		sign := "~"
		if len(p.Before) == 0 {
			sign = "+"
		} else if len(p.After) == 0 {
			sign = "-"
		}
		all = append(all, sign+p.Collection+"/"+p.Name)
	}
	return strings.Join(all, " ")
}

func TestChangesOfWindows(t *testing.T) {
	d := withWindows(t, []string{"P0100001", "P0100002"}, aWindow("P0100001", "a", 60), aWindow("P0100001", "b", 60), aWindow("P0100002", "a", 60))
	for _, c := range []struct {
		want   []Window
		others bool
		became string
	}{
		{[]Window{aWindow("P0100001", "a", 60), aWindow("P0100002", "a", 60)}, true, ""},
		{[]Window{aWindow("P0100001", "b", 90), aWindow("P0100001", "a", 60), aWindow("P0100002", "c", 60)}, true, "~P0100001/b +P0100002/c"},
		{[]Window{aWindow("P0100001", "b", 60)}, false, "-P0100001/a"},
		{[]Window{aWindow("P0100001", "c", 60)}, false, "-P0100001/a -P0100001/b +P0100001/c"},
	} {
		changes, err := d.Now().ChangeWindows(c.want, c.others, "because")
		if err != nil || inWords(changes) != c.became {
			t.Errorf("%v others %t: %q, want %q, %v", c.want, c.others, inWords(changes), c.became, err)
		}
		for _, p := range changes {
			if p.Reason != "because" {
				t.Errorf("reason %q", p.Reason)
			}
		}
	}
	changes, err := d.Now().ChangeWindows([]Window{aWindow("P0100001", "b", 90)}, true, "")
	if err != nil || !strings.Contains(string(changes[0].Before), `"minutes":60`) || !strings.Contains(string(changes[0].After), `"minutes":90`) {
		t.Errorf("before and after: %+v, %v", changes, err)
	}
	apply(d, changes...)
	if w, ok := d.Now().Window("P0100001", "b"); !ok || w.Window.Length != 90*time.Minute || w.Event != d.Version() {
		t.Errorf("the window is %+v", w)
	}
	if p := d.Now().DeleteWindow("P0100001", "never", ""); p != nil {
		t.Errorf("a window that is not there: %+v", p)
	}
	apply(d, d.Now().DeleteWindow("P0100001", "b", ""))
	if all := d.Now().AllWindows(); len(all) != 2 {
		t.Errorf("windows: %+v", all)
	}
	d.Apply(&event.Event{Number: 99, Payload: &event.CollectionChanged{ID: "P0100002", Before: &event.Collection{ID: "P0100002"}}})
	if all := d.Now().AllWindows(); len(all) != 1 || all[0].Collection != "P0100001" {
		t.Errorf("windows of a deleted collection stay: %+v", all)
	}
}

func TestWindowsThatCannotBe(t *testing.T) {
	d := withWindows(t, []string{"P0100001"}, aWindow("P0100001", "a", 60))
	many := make([]Window, MaxCollectionWindows)
	for i := range many {
		many[i] = aWindow("P0100001", fmt.Sprint("w", i), 60)
	}
	if changes, err := d.Now().ChangeWindows(many[1:], true, ""); err != nil || len(changes) != MaxCollectionWindows-1 {
		t.Errorf("%d windows, %v", len(changes), err)
	}
	if changes, err := d.Now().ChangeWindows(many, false, ""); err != nil || len(changes) != MaxCollectionWindows+1 {
		t.Errorf("as many as may be, in the place of others: %d windows, %v", len(changes), err)
	}
	for what, c := range map[string]struct {
		want []Window
		says string
	}{
		"too many":   {many, "collection P0100001 would have 65 windows, at most 64"},
		"twice":      {[]Window{aWindow("P0100001", "x", 60), aWindow("P0100001", "x", 90)}, `window "x" of collection P0100001 is there twice`},
		"the root":   {[]Window{aWindow(event.RootCollection, "x", 60)}, "in the policy of the site (bugle policy edit)"},
		"nobody's":   {[]Window{aWindow("P0100009", "x", 60)}, "there is no collection P0100009"},
		"no window":  {[]Window{{Collection: "P0100001"}}, "name of 0 bytes"},
		"too short":  {[]Window{aWindow("P0100001", "x", 4)}, "length 4m0s"},
		"too long":   {[]Window{aWindow("P0100001", "x", 50_000)}, "length"},
		"backwards":  {[]Window{aWindow("P0100001", "x", -60)}, "length"},
		"no minutes": {[]Window{aWindow("P0100001", "x", 0)}, "length 0s"},
	} {
		if changes, err := d.Now().ChangeWindows(c.want, true, ""); err == nil || changes != nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %v, want %q", what, inWords(changes), err, c.says)
		}
	}
}

// What the journal says and cannot be is left out, or counts for nobody.
func TestWindowTableSurvivesAnything(t *testing.T) {
	var w windowTable
	w.apply(&event.Event{Number: 1, Payload: &event.WindowChanged{Collection: "X", Name: "junk", After: []byte("{")}})
	w.apply(&event.Event{Number: 2, Payload: &event.WindowChanged{Collection: "X", Name: "never"}})
	w.apply(&event.Event{Number: 3, Payload: &event.WindowChanged{}})
	w.apply(&event.Event{Number: 4, Payload: &event.CollectionChanged{ID: "Y"}})
	if all := w.list(""); len(all) != 0 || w.count != 1 {
		t.Errorf("%d windows: %+v", w.count, all)
	}
	for i := range MaxWindows + 10 {
		w.apply(&event.Event{Number: uint64(i), Payload: &event.WindowChanged{Collection: fmt.Sprint(i / 64), Name: fmt.Sprint(i), After: []byte("{}")}})
	}
	if w.count != MaxWindows {
		t.Errorf("%d windows are kept", w.count)
	}
}

var windowLimits = bounded.Limits{Bytes: 64 << 20}

func saved(t testing.TB, w *windowTable) []byte {
	t.Helper()
	b, err := bounded.Encode(nil, w.save)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func restored(b []byte) (w windowTable, err error) {
	err = bounded.Decode(b, windowLimits, func(r *bounded.Reader) error { w.restore(r); return nil })
	return w, err
}

func FuzzWindowTable(f *testing.F) {
	var w windowTable
	f.Add(saved(f, &w))
	for i := range 5 {
		w.apply(&event.Event{Number: uint64(i + 1), Payload: &event.WindowChanged{Collection: fmt.Sprint("P010000", i/2), Name: fmt.Sprint(i), After: []byte("{}")}})
	}
	f.Add(saved(f, &w))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := restored(b)
		if err != nil {
			return
		}
		once := saved(t, &w)
		again, err := restored(once)
		if err != nil || string(saved(t, &again)) != string(once) {
			t.Errorf("%x is read as something else, %v", once, err)
		}
	})
}
