package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A bench is an engine with few devices that one can read.
type bench struct {
	testing.TB
	s *schema.Schema
	e *Engine
}

func newBench(t testing.TB) *bench {
	s := schema.Standard()
	return &bench{TB: t, s: s, e: New(s)}
}

// put takes lines such as "SMS_R_System Name=PC1 Client=1".
func (b *bench) put(device uint32, lines ...string) {
	b.Helper()
	r := &schema.Record{Device: device}
	for _, line := range lines {
		words := strings.Fields(line)
		c, ok := b.s.Class(words[0])
		if !ok {
			b.Fatalf("class %s", words[0])
		}
		row := make(schema.Row, len(c.Properties))
		for _, w := range words[1:] {
			name, text, _ := strings.Cut(w, "=")
			i, ok := c.Property(name)
			if !ok {
				b.Fatalf("property %s", name)
			}
			p := &c.Properties[i]
			if p.List {
				row[i] = schema.Value{Set: true, List: strings.Split(text, "+")}
				continue
			}
			v, err := schema.ParseValue(p, text)
			if err != nil {
				b.Fatal(err)
			}
			row[i] = v
		}
		at, found := slices.BinarySearchFunc(r.Classes, c.Index, func(r schema.ClassRows, k int) int { return r.Class - k })
		if !found {
			r.Classes = slices.Insert(r.Classes, at, schema.ClassRows{Class: c.Index})
		}
		r.Classes[at].Rows = append(r.Classes[at].Rows, row)
	}
	if err := b.e.Put(r); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) query(text string) *wql.Query {
	b.Helper()
	return parse(b, b.s, text)
}

func (b *bench) rule(id, text string) Collection {
	b.Helper()
	return Collection{ID: id, Queries: []*wql.Query{b.query(text)}}
}

func (b *bench) define(all ...Collection) {
	b.Helper()
	if err := b.e.Define(all); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) evaluate(r Request) []Change {
	b.Helper()
	if r.Now.IsZero() {
		r.Now = noon
	}
	changes, err := b.e.Evaluate(r)
	if err != nil {
		b.Fatal(err)
	}
	return changes
}

func (b *bench) members(id string, want ...uint32) {
	b.Helper()
	got := b.e.Members(id).ToArray()
	if !slices.Equal(got, want) || b.e.Count(id) != len(want) {
		b.Errorf("collection %s has %v (%d), want %v", id, got, b.e.Count(id), want)
	}
}

// selects asks a query and compares.
func (b *bench) selects(text string, want ...uint32) {
	b.Helper()
	got, err := b.e.Query(b.query(text), noon)
	if err != nil {
		b.Fatalf("%s: %v", text, err)
	}
	if !slices.Equal(got.ToArray(), want) {
		b.Errorf("%s selects %v, want %v", text, got, want)
	}
}

// Include and exclude hit the same device: exclude wins.
func TestCOL1(t *testing.T) {
	b := newBench(t)
	b.put(1, "SMS_R_System Name=PC1 Client=1")
	b.put(2, "SMS_R_System Name=PC2 Client=1")
	b.define(b.rule("P0100001", "select * from SMS_R_System where Client = 1"), b.rule("P0100002", `select * from SMS_R_System where Name = "pc2"`),
		Collection{ID: "P0100003", Include: []string{"P0100001"}, Exclude: []string{"P0100002"}})
	b.evaluate(Request{})
	b.members("P0100003", 1)
}

// A rule matches a device outside the limiting collection: it is not a member.
func TestCOL2(t *testing.T) {
	b := newBench(t)
	b.put(1, "SMS_R_System Name=PC1 Client=1")
	b.put(2, "SMS_R_System Name=PC2")
	b.define(b.rule("P0100001", "select * from SMS_R_System where Client = 1"),
		Collection{ID: "P0100002", Limit: "p0100001", Direct: roaring.BitmapOf(1, 2, 3)})
	b.evaluate(Request{})
	b.members("P0100002", 1)
	b.put(2, "SMS_R_System Name=PC2 Client=1")
	b.evaluate(Request{Devices: roaring.BitmapOf(2)})
	b.members("P0100002", 1, 2)
}

// An excluded device with a direct rule is no member.
func TestCOL3(t *testing.T) {
	b := newBench(t)
	b.put(1, "SMS_R_System Name=PC1")
	b.define(b.rule("P0100001", "select * from SMS_R_System"), Collection{ID: "P0100002", Direct: roaring.BitmapOf(1), Exclude: []string{"P0100001"}})
	b.evaluate(Request{})
	b.members("P0100002")
}

// A graph that bites its tail is refused, and the circle is printed.
func TestCOL5(t *testing.T) {
	b := newBench(t)
	b.put(1, "SMS_R_System Name=PC1")
	good := Collection{ID: "P0100001", Direct: roaring.BitmapOf(1)}
	b.define(good)
	b.evaluate(Request{})
	for name, all := range map[string][]Collection{
		"P0100001 depends on P0100002 depends on P0100001": {{ID: "P0100001", Include: []string{"P0100002"}}, {ID: "P0100002", Include: []string{"P0100001"}}},
		"P0100001 depends on P0100003 depends on P0100002 depends on P0100001": {{ID: "P0100001", Limit: "P0100003"}, {ID: "P0100002", Limit: "P0100001"},
			{ID: "P0100003", Limit: "P0100002"}},
		"P0100002 depends on P0100002": {good, b.rule("P0100002", "select ResourceID from SMS_R_System where ResourceID in (select ResourceID from SMS_CM_RES_COLL_P0100002)")},
	} {
		err := b.e.Define(all)
		var circle *CycleError
		if !errors.As(err, &circle) || !strings.Contains(err.Error(), name) {
			t.Errorf("define: %v, want %s", err, name)
		}
		if _, err := b.e.WhatIf(all, nil, noon); !errors.As(err, &circle) {
			t.Errorf("what if: %v", err)
		}
		b.members("P0100001", 1)
	}
}

// A rule with a date changes members at the right instant although nothing came.
func TestCOL9(t *testing.T) {
	b := newBench(t)
	at := func(text string) time.Time {
		d, err := schema.ParseDate(text)
		if err != nil {
			t.Fatal(err)
		}
		return time.UnixMilli(d).UTC()
	}
	b.put(1, "SMS_R_System Name=PC1", "SMS_G_System_WORKSTATION_STATUS LastHardwareScan=2026-02-20T23:00:00Z")
	b.put(2, "SMS_R_System Name=PC2", "SMS_G_System_WORKSTATION_STATUS LastHardwareScan=2026-02-22T01:00:00Z")
	b.put(3, "SMS_R_System Name=PC3")
	const join = "select SMS_R_System.ResourceID from SMS_R_System inner join SMS_G_System_WORKSTATION_STATUS as W on W.ResourceID = SMS_R_System.ResourceID where "
	b.define(b.rule("P0100001", join+"DateDiff(dd, W.LastHardwareScan, GetDate()) > 14"),
		b.rule("P0100002", join+"W.LastHardwareScan >= DateAdd(hh, -336, GetDate())"))
	now := at("2026-03-05T12:00:00Z")
	b.evaluate(Request{Now: now})
	b.members("P0100001")
	b.members("P0100002", 1, 2)
	for _, step := range []struct {
		turn       string
		old, fresh []uint32
		dirty      uint32
	}{
		{"2026-03-06T23:00:00.001Z", nil, []uint32{2}, 1}, // 336 hours and a millisecond later
		{"2026-03-07T00:00:00Z", []uint32{1}, []uint32{2}, 1},
		{"2026-03-08T01:00:00.001Z", []uint32{1}, nil, 2},
		{"2026-03-09T00:00:00Z", []uint32{1, 2}, nil, 2},
	} {
		next, ok := b.e.NextTurn(now)
		if !ok || !next.Equal(at(step.turn)) {
			t.Fatalf("after %s the next turn is %s, want %s", now, next, step.turn)
		}
		if early := b.e.Turning(now, next.Add(-time.Millisecond)); !early.IsEmpty() {
			t.Errorf("%v turn before %s", early, next)
		}
		devices := b.e.Turning(now, next)
		if !devices.Equals(roaring.BitmapOf(step.dirty)) {
			t.Errorf("%v turn until %s, want %d", devices, next, step.dirty)
		}
		b.evaluate(Request{Now: next, Devices: devices})
		b.members("P0100001", step.old...)
		b.members("P0100002", step.fresh...)
		now = next
	}
	if next, ok := b.e.NextTurn(now); ok {
		t.Errorf("there is no turn any more, but %s", next)
	}
}

// Evaluating what a collection limits along with it brings all of it up to date: the
// engine's part of "a full evaluation includes what it limits".
func TestCOL11(t *testing.T) {
	b := newBench(t)
	b.put(1, "SMS_R_System Name=PC1")
	b.define(b.rule("P0100001", "select * from SMS_R_System where Client = 1"), Collection{ID: "P0100002", Limit: "P0100001", Direct: roaring.BitmapOf(1)},
		Collection{ID: "P0100003", Limit: "P0100002", Include: []string{"P0100002"}}, Collection{ID: "P0100004"})
	b.evaluate(Request{})
	b.put(1, "SMS_R_System Name=PC1 Client=1")
	below := b.e.Dependants("P0100001")
	if !slices.Equal(below, []string{"P0100002", "P0100003"}) {
		t.Fatalf("%v depend on the limit", below)
	}
	changes := b.evaluate(Request{Collections: append(below, "P0100001")})
	for i, id := range []string{"P0100001", "P0100002", "P0100003"} {
		if c := changes[i]; c.ID != id || !c.Added.Equals(roaring.BitmapOf(1)) || !c.Removed.IsEmpty() || c.Members != 1 {
			t.Errorf("change %d: %+v", i, c)
		}
	}
}

// What evaluating changed devices comes to is what evaluating all comes to, after
// random changes and with random evaluations of parts in between.
func TestCOL6(t *testing.T) {
	m := newMaker(3)
	texts, all := m.graph(60, 300)
	all = parsed(t, m.s, texts, all)
	rapid.Check(t, func(t *rapid.T) {
		m := newMaker(rapid.Uint64().Draw(t, "seed"))
		e, twin := New(m.s), New(m.s)
		for _, x := range []*Engine{e, twin} {
			if err := x.Define(all); err != nil {
				t.Fatal(err)
			}
		}
		dirty := roaring.New()
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			for range rapid.IntRange(0, 8).Draw(t, "changes") {
				d := uint32(m.r.IntN(300))
				dirty.Add(d)
				if m.r.IntN(5) == 0 {
					e.Remove(d)
					twin.Remove(d)
					continue
				}
				r := m.record(d)
				for _, x := range []*Engine{e, twin} {
					if err := x.Put(r); err != nil {
						t.Fatal(err)
					}
				}
			}
			r := Request{Now: noon, Devices: dirty.Clone()}
			if rapid.Bool().Draw(t, "part") {
				r.Collections = []string{all[m.r.IntN(len(all))].ID, all[m.r.IntN(len(all))].ID}
			} else {
				dirty.Clear()
			}
			if _, err := e.Evaluate(r); err != nil {
				t.Fatal(err)
			}
			if !dirty.IsEmpty() {
				continue
			}
			if _, err := twin.Evaluate(Request{Now: noon}); err != nil {
				t.Fatal(err)
			}
			for _, id := range e.Order() {
				if got, want := e.Members(id), twin.Members(id); !got.Equals(want) || e.Count(id) != int(want.GetCardinality()) {
					t.Fatalf("collection %s has %v, evaluated in full %v: %s", id, got, want, texts[id])
				}
			}
		}
	})
}

// A change is told once, in order, and the counts are right.
func TestChanges(t *testing.T) {
	b := newBench(t)
	b.define(b.rule("P0100002", "select * from SMS_R_System where Client = 1"), b.rule("P0100001", "select * from SMS_R_System where Client = 1 and Obsolete is null"))
	for d := range uint32(200) {
		b.put(d*1000, "SMS_R_System Client=1")
	}
	changes := b.evaluate(Request{})
	if ids := fmt.Sprint(changes[0].ID, changes[1].ID, changes[2].ID); ids != "SMS00001P0100001P0100002" {
		t.Errorf("order %s", ids)
	}
	for _, c := range changes {
		if c.Added.GetCardinality() != 200 || c.Members != 200 || !c.Removed.IsEmpty() || c.Took < 0 {
			t.Errorf("%+v", c)
		}
	}
	if c := changes[2]; c.Computed != 0 || c.Reused != 1 {
		t.Errorf("%d conditions computed, %d reused; both are the other's", c.Computed, c.Reused)
	}
	b.e.Remove(5000)
	b.put(6000, "SMS_R_System Client=0")
	for _, c := range b.evaluate(Request{Devices: roaring.BitmapOf(5000, 6000, 7000, 999_999)})[1:] {
		if !c.Added.IsEmpty() || !c.Removed.Equals(roaring.BitmapOf(5000, 6000)) || c.Members != 198 {
			t.Errorf("%+v", c)
		}
	}
	if _, err := b.e.Evaluate(Request{Collections: []string{"P0100009"}}); err == nil {
		t.Error("a collection that is not defined was evaluated")
	}
}

// Definitions that cannot be taken change nothing.
func TestDefineRefuses(t *testing.T) {
	b := newBench(t)
	b.put(1, "SMS_R_System Name=PC1")
	b.define(Collection{ID: "P0100001", Direct: roaring.BitmapOf(1)})
	b.evaluate(Request{})
	system, _ := b.s.Class(schema.System)
	far := *system
	far.Index = 5000
	for what, all := range map[string][]Collection{
		"it has no id":                 {{}},
		"root":                         {{ID: "sms00001"}},
		"twice":                        {{ID: "P0100001"}, {ID: "p0100001"}},
		"P0100007, which is not":       {{ID: "P0100001", Limit: "p0100007"}},
		"P0100008, which is not":       {b.rule("P0100001", "select * from SMS_CM_RES_COLL_P0100008")},
		"class SMS_R_System is not":    {{ID: "P0100001", Queries: []*wql.Query{{Sources: []wql.Source{{Class: &far}}}}}},
		"no source":                    {{ID: "P0100001", Queries: []*wql.Query{{}}}},
		"property 999 of source":       {{ID: "P0100001", Queries: []*wql.Query{{Sources: []wql.Source{{Class: system}}, Where: &wql.IsNull{Operand: wql.Column{Property: 999}}}}}},
		"source 3 of the query is not": {{ID: "P0100001", Queries: []*wql.Query{{Sources: []wql.Source{{Class: system}}, Where: &wql.IsNull{Operand: wql.Column{Source: 3}}}}}},
	} {
		err := b.e.Define(all)
		var bad *DefinitionError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
		b.members("P0100001", 1)
	}
	if err := b.e.Put(&schema.Record{Device: MaxDevice + 1}); err == nil {
		t.Error("a device too far was taken")
	}
	if err := b.e.Put(&schema.Record{Device: 1, Classes: []schema.ClassRows{{Class: 9999}}}); err == nil {
		t.Error("a class that is not there was taken")
	}
}

// Members are kept for ids that stay, and restored ones are as if evaluated.
func TestDefineKeeps(t *testing.T) {
	b := newBench(t)
	b.put(1, "SMS_R_System Name=PC1")
	b.define(Collection{ID: "P0100001", Direct: roaring.BitmapOf(1)}, Collection{ID: "P0100002", Direct: roaring.BitmapOf(1)})
	b.evaluate(Request{})
	b.define(Collection{ID: "P0100002"}, Collection{ID: "P0100003"})
	b.members("P0100001")
	b.members("P0100002", 1)
	b.members("P0100003")
	b.members(Root, 1)
	b.e.Restore("P0100003", roaring.BitmapOf(1, 70_000))
	b.members("P0100003", 1, 70_000)
	b.evaluate(Request{Collections: []string{"P0100003"}, Devices: roaring.BitmapOf(70_000)})
	b.members("P0100003", 1)
}

// A device that is gone is a member of nothing, whatever the root was last.
func TestGone(t *testing.T) {
	b := newBench(t)
	b.put(1, "SMS_R_System Name=PC1")
	b.put(2, "SMS_R_System Name=PC2")
	b.define(b.rule("P0100001", "select * from SMS_R_System where Client is null"), Collection{ID: "P0100002", Include: []string{"P0100001"}})
	b.evaluate(Request{})
	b.e.Remove(1)
	b.evaluate(Request{Collections: []string{"P0100001"}, Devices: roaring.BitmapOf(1)})
	b.members("P0100001", 2)
	b.members(Root, 1, 2)
	b.e.Remove(2)
	b.evaluate(Request{Collections: []string{"P0100001", "P0100002"}})
	b.members("P0100001")
	b.members("P0100002")
	b.selects("select * from SMS_R_System")
	if !b.e.Devices().IsEmpty() {
		t.Errorf("%v are there", b.e.Devices())
	}
}
