package engine

import (
	"errors"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
)

func TestWhatIf(t *testing.T) {
	b := office(t)
	b.define(b.rule("P0100001", "select * from SMS_R_System where Client = 1"), Collection{ID: "P0100002", Limit: "P0100001", Direct: roaring.BitmapOf(1, 2)},
		Collection{ID: "P0100003", Include: []string{"P0100002"}}, Collection{ID: "P0100004", Direct: roaring.BitmapOf(4)})
	b.evaluate(Request{})
	changes, err := b.e.WhatIf([]Collection{b.rule("P0100001", `select * from SMS_R_System where Name like "PC2"`),
		{ID: "P0100005", Include: []string{"P0100003"}}}, []string{"P0100004"}, noon)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][2]*roaring.Bitmap{
		"P0100001": {roaring.BitmapOf(2), roaring.BitmapOf(1, 70_000)}, "P0100002": {roaring.BitmapOf(2), roaring.BitmapOf(1)},
		"P0100003": {roaring.BitmapOf(2), roaring.BitmapOf(1)}, "P0100004": {roaring.New(), roaring.BitmapOf(4)}, "P0100005": {roaring.BitmapOf(2), roaring.New()},
	}
	for _, c := range changes {
		if w := want[c.ID]; w[0] == nil || !c.Added.Equals(w[0]) || !c.Removed.Equals(w[1]) {
			t.Errorf("%s: %v come, %v go, %d are members", c.ID, c.Added, c.Removed, c.Members)
		}
		delete(want, c.ID)
	}
	if len(want) > 0 {
		t.Errorf("nothing is told of %v", want)
	}
	b.members("P0100001", 1, 70_000)
	b.members("P0100003", 1)
	b.members("P0100005")
	var bad *DefinitionError
	for _, err := range []error{
		second(b.e.WhatIf(nil, []string{"P0100009"}, noon)),
		second(b.e.WhatIf([]Collection{{ID: Root}}, nil, noon)),
		second(b.e.WhatIf([]Collection{{ID: "P0100001"}}, []string{"P0100001"}, noon)),
		second(b.e.WhatIf([]Collection{{ID: "P0100001", Limit: "P0100099"}}, nil, noon)),
	} {
		if !errors.As(err, &bad) {
			t.Errorf("what if: %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A question is answered as if it was done, and leaves no trace.
func TestWhatIfIsWhatWouldBe(t *testing.T) {
	m := newMaker(5)
	texts, all := m.graph(50, 200)
	all = parsed(t, m.s, texts, all)
	all[7] = Collection{ID: all[7].ID, Queries: append(all[7].Queries, parse(t, m.s, joinOS+`SMS_G_System_OPERATING_SYSTEM.Version in (select Build from SMS_R_System where ResourceID in (select ResourceID from SMS_CM_RES_COLL_`+all[2].ID+`))`))}
	for seed := range uint64(15) {
		askAndDo(t, newMaker(seed+10), all)
	}
}

// askAndDo asks one engine what another one does.
func askAndDo(t *testing.T, m *maker, all []Collection) {
	e, twin := New(m.s), New(m.s)
	evaluate := func(x *Engine) []Change {
		changes, err := x.Evaluate(Request{Now: noon})
		if err != nil {
			t.Fatal(err)
		}
		return changes
	}
	for range 60 {
		r := m.record(uint32(m.r.IntN(200) * 700))
		for _, x := range []*Engine{e, twin} {
			if err := x.Put(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, x := range []*Engine{e, twin} {
		if err := x.Define(all); err != nil {
			t.Fatal(err)
		}
		evaluate(x)
	}
	next := append([]Collection{}, all...)
	var edited []Collection
	for range 1 + m.r.IntN(3) {
		c := &next[m.r.IntN(len(next))]
		if !containsID(edited, c.ID) {
			c.Queries, c.Direct = append(c.Queries[:0:0], parse(t, m.s, m.query())), nil
			edited = append(edited, *c)
		}
	}
	told := map[string]Change{}
	changes, err := e.WhatIf(edited, nil, noon)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		told[c.ID] = c
	}
	if err := twin.Define(next); err != nil {
		t.Fatal(err)
	}
	for _, w := range evaluate(twin) {
		c, ok := told[w.ID]
		if !ok && w.Added.IsEmpty() && w.Removed.IsEmpty() {
			continue
		}
		if !ok || !c.Added.Equals(w.Added) || !c.Removed.Equals(w.Removed) || c.Members != w.Members {
			t.Fatalf("%s: %+v, and it is %+v", w.ID, c, w)
		}
	}
	for _, c := range evaluate(e) {
		if !c.Added.IsEmpty() || !c.Removed.IsEmpty() {
			t.Fatalf("the question changed %s", c.ID)
		}
	}
}

func containsID(all []Collection, id string) bool {
	for i := range all {
		if all[i].ID == id {
			return true
		}
	}
	return false
}
