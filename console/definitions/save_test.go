package definitions_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

var add = flag.Bool("add", false, "write golden files that are not there yet")

var _ journal.SavingFold = (*definitions.Definitions)(nil)

func saved(t interface{ Fatal(...any) }, d *definitions.Definitions) []byte {
	b, err := d.Save()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// history is events with everything that the fold keeps.
func history(t testing.TB) *site {
	s := newSite(t)
	s.apply(office)
	s.apply(`
classes: [{name: SMS_G_System_BADGE, properties: [{name: Number, type: text, key: true}, {name: Doors, type: text, list: true}, {name: Since, type: date}]}]
collections:
- name: Badges
  queries: [select SMS_R_System.ResourceID from SMS_R_System inner join SMS_G_System_BADGE on SMS_G_System_BADGE.ResourceID = SMS_R_System.ResourceID]
  windows: [{name: night, start: "2026-01-03T01:00", minutes: 120}]
`)
	s.apply("collections: [{name: Gone}]")
	s.apply("", "Gone")
	direct, err := roaring.BitmapOf(1, 2, 3, 70_000).ToBytes()
	if err != nil {
		t.Fatal(err)
	}
	s.tell(&event.CollectionChanged{ID: "XYZ00001", After: &event.Collection{ID: "XYZ00001", Name: "from elsewhere", Limit: event.RootCollection, Direct: direct}})
	return s
}

// What is kept under the name definitions/1 is spelled as it is in testdata, for
// ever: another spelling needs another version, or another name.
func TestSaveGolden(t *testing.T) {
	s := history(t)
	got := hex.EncodeToString(saved(t, s.Definitions)) + "\n"
	file := filepath.Join("testdata", "definitions.v1.hex")
	if _, err := os.Stat(file); err != nil && *add {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || got != string(want) {
		t.Errorf("saved\n%s, want\n%s, %v", got, want, err)
	}
}

// A fold that was saved anywhere, restored and told the rest knows what one does
// that was told all, whatever the events say.
func TestSaveAnywhere(t *testing.T) {
	ids := []string{"P0100001", "P0100002", "P01000A0", "XYZ00001", "P01", event.RootCollection, ""}
	names := []string{"a", "A", "b", "All Systems", ""}
	rapid.Check(t, func(t *rapid.T) {
		var events []*event.Event
		for i := range rapid.IntRange(0, 30).Draw(t, "events") {
			var p event.Payload
			id := rapid.SampledFrom(ids).Draw(t, "id")
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0:
				p = &event.CollectionChanged{ID: id}
			case 1:
				p = &event.ClassesDefined{Classes: []event.DefinedClass{{Name: rapid.SampledFrom([]string{"SMS_G_System_A", "sms_g_system_a", "SMS_R_System", "x y"}).Draw(t, "class"),
					Properties: []event.ClassProperty{{Name: rapid.SampledFrom(names).Draw(t, "property"), Type: event.PropertyType(rapid.IntRange(0, 5).Draw(t, "type"))}}}}}
			case 2:
				p = &event.WindowChanged{Collection: id, Name: "w", After: []byte(rapid.SampledFrom([]string{"", "{}", "no window"}).Draw(t, "window"))}
			default:
				p = &event.CollectionChanged{ID: id, After: &event.Collection{ID: rapid.SampledFrom(append(ids, id, id, id)).Draw(t, "after"), Name: rapid.SampledFrom(names).Draw(t, "name"),
					Limit: rapid.SampledFrom(ids).Draw(t, "limit"), Queries: []event.CollectionQuery{{WQL: "nonsense"}}, Direct: []byte("nonsense")}}
			}
			events = append(events, &event.Event{Number: uint64(i + 1), Payload: p})
		}
		cut := rapid.IntRange(0, len(events)).Draw(t, "cut")
		all, prefix, restored := definitions.New("P01"), definitions.New("P01"), definitions.New("P01")
		for i, e := range events {
			all.Apply(e)
			if i < cut {
				prefix.Apply(e)
			}
			if i%3 == 0 {
				restored.Apply(e) // what it knew before does not matter
			}
		}
		b := saved(t, prefix)
		if err := restored.Restore(b); err != nil {
			t.Fatal(err)
		}
		if again := saved(t, restored); !bytes.Equal(again, b) {
			t.Fatalf("saved\n%x\nrestored\n%x", b, again)
		}
		for _, e := range events[cut:] {
			restored.Apply(e)
		}
		if !bytes.Equal(saved(t, restored), saved(t, all)) {
			t.Fatal("restored and told the rest, it knows something else")
		}
		if diff := cmp.Diff(known(all), known(restored)); diff != "" {
			t.Fatalf("(-told +restored):\n%s", diff)
		}
	})
}

// known is all that a fold tells.
func known(d *definitions.Definitions) (words []string) {
	s := d.Now()
	words = append(words, fmt.Sprint(s.Version(), s.Classes(), len(s.Schema().Classes())))
	for _, c := range s.All() {
		words = append(words, fmt.Sprintf("%d %+v %v %v", c.Event, c.Collection, s.Inputs(c.ID), s.Dependants(c.ID)))
	}
	for _, w := range s.AllWindows() {
		words = append(words, fmt.Sprintf("%+v", w))
	}
	for _, word := range []string{"a", "B", "p0100001", "all systems"} {
		c, ok := s.Find(word)
		if ok {
			words = append(words, word+" is "+c.ID)
		}
	}
	return words
}

func TestRestoreRefuses(t *testing.T) {
	s := history(t)
	b := saved(t, s.Definitions)
	other := definitions.New("P02")
	if err := other.Restore(b); err == nil || !strings.Contains(err.Error(), `site "P01"`) {
		t.Errorf("another site's: %v", err)
	}
	empty := saved(t, definitions.New("P02"))
	for n := range len(b) {
		d := definitions.New("P01")
		if err := d.Restore(b[:n]); err == nil {
			t.Errorf("%d of %d bytes are taken", n, len(b))
		}
		if d.Version() != 0 || len(d.Now().All()) != 0 {
			t.Errorf("after %d bytes it knows something", n)
		}
	}
	if again := saved(t, other); !bytes.Equal(again, empty) {
		t.Error("what was refused left something behind")
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(saved(f, history(f).Definitions))
	f.Add(saved(f, definitions.New("P01")))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := definitions.New("P01")
		if d.Restore(b) != nil {
			return
		}
		known(d)
		again := saved(t, d)
		other := definitions.New("P01")
		if err := other.Restore(again); err != nil || !bytes.Equal(saved(t, other), again) {
			t.Fatalf("what it saves cannot be restored: %v", err)
		}
	})
}
