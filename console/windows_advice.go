package console

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection"
)

// An adviser says what is worth a second look about windows. It reckons local
// windows in UTC: what it says is about lengths and days, which no zone changes
// much.
type adviser struct {
	now     time.Time
	sites   []placedWindow
	all     []placedWindow             // of collections, after the changes
	members map[string]*roaring.Bitmap // of the collections that have windows
	longest map[string]assigned        // by collection

	spans  map[*placedWindow][]window.Span // of the days ahead, found so far
	shares map[[2]string]bool              // whether two collections have a device in common, found so far
	looked int                             // how many windows were compared with all others
}

// maxLooked is how many windows of one request are compared with all others.
const maxLooked = 100

// An assigned work is open for devices of a collection and keeps to windows.
type assigned struct {
	what string
	run  time.Duration
}

// ahead is how far an adviser looks for windows that overlap.
const ahead = 35 * 24 * time.Hour

// newAdviser collects what advice about changes needs.
func (c *Console) newAdviser(ctx context.Context, now *definitions.State, changes []*event.WindowChanged) (*adviser, error) {
	a := &adviser{now: c.cfg.Now(), members: map[string]*roaring.Bitmap{}, longest: map[string]assigned{},
		spans: map[*placedWindow][]window.Span{}, shares: map[[2]string]bool{}}
	var err error
	if a.sites, err = c.sitesWindows(ctx, c.now()); err != nil {
		return nil, err
	}
	a.all = windowsAfter(now, changes)
	if c.cfg.Collections != nil {
		_, err = c.cfg.Collections.At(func(s *collection.Snapshot) error {
			for i := range a.all {
				a.members[a.all[i].collection] = s.Members(a.all[i].collection)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return a, a.assign(c, changes)
}

// windowsAfter returns the windows of collections as they are after changes.
func windowsAfter(now *definitions.State, changes []*event.WindowChanged) (all []placedWindow) {
	changed := map[[2]string]bool{}
	for _, p := range changes {
		changed[[2]string{p.Collection, p.Name}] = true
		w := placedWindow{collection: p.Collection, name: nameOf(now, p.Collection)}
		if len(p.After) > 0 && json.Unmarshal(p.After, &w.Window) == nil {
			all = append(all, w)
		}
	}
	for _, w := range now.AllWindows() {
		if !changed[[2]string{w.Collection, w.Window.Name}] {
			all = append(all, placedWindow{Window: w.Window, collection: w.Collection, name: nameOf(now, w.Collection)})
		}
	}
	slices.SortStableFunc(all, func(x, y placedWindow) int { return strings.Compare(x.collection, y.collection) })
	return all
}

// assign finds the longest work that waits for windows of the collections that
// change.
func (a *adviser) assign(c *Console, changes []*event.WindowChanged) error {
	open, _, err := c.cfg.Operations.Open()
	if err != nil {
		return err
	}
	for i := range open {
		o := &open[i]
		t, err := o.Signed.Task()
		if err != nil {
			continue
		}
		k := kinds[t.Kind]
		if k == nil || k.class == "normal" {
			continue
		}
		run := t.RunTimeout
		if run <= 0 {
			run = k.timeout
		}
		for _, p := range changes {
			m := a.members[p.Collection]
			if m == nil || run <= a.longest[p.Collection].run || !o.Targets.Intersects(m) {
				continue
			}
			a.longest[p.Collection] = assigned{fmt.Sprintf("operation %s (%s)", o.ID, t.Kind), run}
		}
	}
	return nil
}

// advise says what is worth a second look about a window that is set.
func (a *adviser) advise(p *event.WindowChanged) (say []string) {
	w := placedWindow{collection: p.Collection}
	if json.Unmarshal(p.After, &w.Window) != nil {
		return nil
	}
	add := func(format string, args ...any) { say = append(say, fmt.Sprintf(format, args...)) }
	if !w.Enabled {
		add("it is disabled: it counts for nobody")
	}
	if m := a.members[p.Collection]; m == nil || m.IsEmpty() {
		add("its collection has no members")
	}
	next, ok := window.List{w.enabled()}.Next(a.now, time.UTC)
	if !ok {
		add("it is over and never opens again; a device that has no other window of its kind may never begin")
		return say
	}
	if need := window.Need(0); w.Length <= need {
		add("it is too short for work that takes the default of %d min: that needs more than %d, it is open for %d", minutes(window.DefaultRun), minutes(need), minutes(w.Length))
	}
	if l := a.longest[p.Collection]; l.run > 0 && w.Length <= window.Need(l.run) && l.run > window.DefaultRun {
		add("it is too short for %s, which takes up to %d min and needs more than %d", l.what, minutes(l.run), minutes(window.Need(l.run)))
	}
	if next.Length() > w.Length && next.Length() >= window.MaxLength {
		add("it opens again before it closes: it is always open")
	} else if w.Length > 24*time.Hour {
		add("it is open for more than a day: %s", spell(w.Length))
	}
	if a.looked++; !w.Enabled || a.looked > maxLooked {
		return say
	}
	if w.Kind != window.General {
		a.narrows(&w, add)
	}
	a.overlaps(&w, add)
	return say
}

// enabled is the window as if it were.
func (p *placedWindow) enabled() window.Window {
	w := p.Window
	w.Enabled = true
	return w
}

// narrows tells that general windows count no more for a kind that has its own.
func (a *adviser) narrows(w *placedWindow, add func(string, ...any)) {
	var general []string
	for _, o := range a.beside(w, window.General) {
		general = append(general, o.named())
	}
	if len(general) > 0 {
		add("devices that have it keep %s to windows for that, and no longer to the general ones: %s", w.Kind, several(general))
	}
}

// overlaps tells which windows of others it becomes one with.
func (a *adviser) overlaps(w *placedWindow, add func(string, ...any)) {
	var merged []string
	mine := window.List{w.Window}.Between(a.now, a.now.Add(ahead), time.UTC)
	for _, o := range a.beside(w, w.Kind) {
		if _, ok := a.spans[o]; !ok {
			a.spans[o] = window.List{o.Window}.Between(a.now, a.now.Add(ahead), time.UTC)
		}
		if touch(mine, a.spans[o]) {
			merged = append(merged, o.named())
		}
	}
	if len(merged) > 0 {
		add("on devices that have both it overlaps and becomes one with: %s", several(merged))
	}
}

// beside returns the enabled windows of a kind that some device has beside w.
func (a *adviser) beside(w *placedWindow, kind window.Kind) (all []*placedWindow) {
	for i := range a.sites {
		if o := &a.sites[i]; o.Enabled && o.Kind == kind {
			all = append(all, o)
		}
	}
	for i := range a.all {
		o := &a.all[i]
		if o.Enabled && o.Kind == kind && (o.collection != w.collection || o.Name != w.Name) && a.share(o.collection, w.collection) {
			all = append(all, o)
		}
	}
	return all
}

// share tells whether some device is in both collections.
func (a *adviser) share(x, y string) bool {
	if x == y {
		return true
	}
	pair := [2]string{x, y}
	yes, ok := a.shares[pair]
	if !ok {
		mine, theirs := a.members[x], a.members[y]
		yes = mine != nil && theirs != nil && mine.Intersects(theirs)
		a.shares[pair] = yes
	}
	return yes
}

func (p *placedWindow) named() string {
	if p.collection == "" {
		return fmt.Sprintf("%q of the site's policy", p.Name)
	}
	return fmt.Sprintf("%q of %s", p.Name, p.name)
}

// touch tells whether a span of x and one of y overlap or meet; both are in order.
func touch(x, y []window.Span) bool {
	for i, j := 0, 0; i < len(x) && j < len(y); {
		switch {
		case x[i].Close.Before(y[j].Open):
			i++
		case y[j].Close.Before(x[i].Open):
			j++
		default:
			return true
		}
	}
	return false
}

// several names some things and counts the others.
func several(all []string) string {
	const most = 5
	if n := len(all); n > most {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), n-most)
	}
	return strings.Join(all, ", ")
}

func minutes(d time.Duration) int { return int(d / time.Minute) }

// spell is a length for people.
func spell(d time.Duration) string {
	days, rest := d/(24*time.Hour), d%(24*time.Hour)
	if rest == 0 {
		return fmt.Sprintf("%d days", days)
	}
	return fmt.Sprintf("%d days and %d min", days, minutes(rest))
}
