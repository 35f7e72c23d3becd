package estate

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/console/definitions"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

func newEstate(t testing.TB, devices, collections int, seed uint64) *Estate {
	t.Helper()
	e, err := New(Options{Devices: devices, Collections: collections, Seed: seed}, schema.Standard())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func written(t *testing.T, e *Estate) (inventory, definitions []byte) {
	t.Helper()
	var a, b bytes.Buffer
	if err := e.WriteInventory(&a); err != nil {
		t.Fatal(err)
	}
	if err := e.WriteChanges(&a, 1, 10); err != nil {
		t.Fatal(err)
	}
	if err := e.WriteDefinitions(&b); err != nil {
		t.Fatal(err)
	}
	return a.Bytes(), b.Bytes()
}

func TestTheSameSeedMakesTheSameEstate(t *testing.T) {
	i1, d1 := written(t, newEstate(t, 50, 200, 1))
	i2, d2 := written(t, newEstate(t, 50, 200, 1))
	if !bytes.Equal(i1, i2) || !bytes.Equal(d1, d2) {
		t.Error("two estates of one seed differ")
	}
	i3, d3 := written(t, newEstate(t, 50, 200, 2))
	if bytes.Equal(i1, i3) || bytes.Equal(d1, d3) {
		t.Error("two estates of different seeds are the same")
	}
}

func TestEveryLineIsOneDevice(t *testing.T) {
	e := newEstate(t, 200, 0, 3)
	inventory, _ := written(t, e)
	lines := strings.Split(strings.TrimSuffix(string(inventory), "\n"), "\n")
	if len(lines) != 210 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, line := range lines[:200] {
		var d map[string]any
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		if d["name"] != Name(uint32(i+1)) {
			t.Errorf("line %d is device %v", i+1, d["name"])
		}
		products := 0
		for _, class := range []string{programs, programs64} {
			if rows, ok := d[class].([]any); ok {
				products += len(rows)
			}
		}
		if products != 50 {
			t.Errorf("line %d has %d products", i+1, products)
		}
	}
}

func TestRecordsAreOfTheSchema(t *testing.T) {
	e := newEstate(t, 300, 0, 4)
	for device := uint32(1); device <= 300; device++ {
		for _, r := range []*schema.Record{e.Record(device), e.Change(e.Record(device), 1)} {
			checkRecord(t, e.schema, r)
		}
	}
}

func checkRecord(t *testing.T, s *schema.Schema, r *schema.Record) {
	t.Helper()
	last := -1
	for _, rows := range r.Classes {
		if rows.Class <= last {
			t.Fatalf("device %d: class %d comes after class %d", r.Device, rows.Class, last)
		}
		last = rows.Class
		class := s.Classes()[rows.Class]
		if !class.Keyed() && len(rows.Rows) > 1 {
			t.Errorf("device %d has %d rows of %s", r.Device, len(rows.Rows), class.Name)
		}
		keys := map[string]bool{}
		for _, row := range rows.Rows {
			key := schema.Key(class, row)
			if keys[key] {
				t.Errorf("device %d has row %q of %s twice", r.Device, key, class.Name)
			}
			keys[key] = true
		}
	}
}

func TestAChangeLeavesTheRecordBefore(t *testing.T) {
	e := newEstate(t, 100, 0, 5)
	changed := 0
	for device := uint32(1); device <= 100; device++ {
		before := e.Record(device)
		after := e.Change(before, 1)
		if !reflect.DeepEqual(before, e.Record(device)) {
			t.Fatalf("device %d: the record before the change is another one now", device)
		}
		if !reflect.DeepEqual(before, after) {
			changed++
		}
	}
	if changed != 100 {
		t.Errorf("%d of 100 devices changed", changed)
	}
	if n := len(e.Batch(1, 1000)); n != 100 {
		t.Errorf("a batch of more than all has %d devices", n)
	}
}

func TestDefinitionsAreOfAllKinds(t *testing.T) {
	e := newEstate(t, 1000, 1000, 6)
	depth := map[string]int{"SMS00001": 0}
	var queries, include, exclude, direct, deepest int
	for i := range e.Definitions() {
		d := &e.Definitions()[i]
		deep := 0
		for _, id := range append(append([]string{d.Limit}, d.Include...), d.Exclude...) {
			n, ok := depth[id]
			if !ok {
				t.Fatalf("collection %s depends on %s, which comes later", d.ID, id)
			}
			deep = max(deep, n)
		}
		for _, q := range d.Queries {
			if id, ok := named(q.WQL); ok {
				deep = max(deep, depth[id])
			}
		}
		depth[d.ID] = deep + 1
		deepest = max(deepest, deep+1)
		switch {
		case len(d.Include) > 0:
			include++
		case len(d.Exclude) > 0:
			exclude++
		case len(d.Direct) > 0:
			direct++
		default:
			queries++
		}
	}
	if deepest != MaxDepth {
		t.Errorf("the longest chain is %d, want %d", deepest, MaxDepth)
	}
	if queries != 600 || include != 200 || exclude != 100 || direct != 100 {
		t.Errorf("%d with queries, %d include, %d exclude, %d name devices", queries, include, exclude, direct)
	}
}

// TestDefinitionsAreTaken applies the file as it would be applied: 1,000 collections at
// once.
func TestDefinitionsAreTaken(t *testing.T) {
	e := newEstate(t, 20_000, 1000, 7)
	var file bytes.Buffer
	if err := e.WriteDefinitions(&file); err != nil {
		t.Fatal(err)
	}
	doc, _, err := definitions.Parse(file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	r := &definitions.Request{Document: *doc}
	for i := range doc.Collections {
		if len(doc.Collections[i].Direct) != len(e.Definitions()[i].Direct) {
			t.Fatalf("collection %s has %d direct members", doc.Collections[i].ID, len(doc.Collections[i].Direct))
		}
		r.Direct = append(r.Direct, roaring.BitmapOf(e.Definitions()[i].Direct...))
	}
	plan, err := definitions.New("P01").Now().Plan(r)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(plan.Events()); n != 1000 {
		t.Errorf("%d events", n)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{Devices: 0}, {Devices: MaxDevices + 1}, {Devices: 1, Collections: -1}, {Devices: 1, Installed: 4000}} {
		if _, err := New(o, schema.Standard()); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
