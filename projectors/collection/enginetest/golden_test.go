package enginetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// golden is an engine with a few devices and collections that one can read.
type golden struct {
	t *testing.T
	s *schema.Schema
	e *engine.Engine
}

func newGolden(t *testing.T, sheets ...string) *golden {
	g := &golden{t: t, s: schema.Standard()}
	g.e = engine.New(g.s)
	for i, text := range sheets {
		g.put(uint32(i+1), text)
	}
	return g
}

func (g *golden) put(device uint32, text string) {
	g.t.Helper()
	if err := g.e.Put(sheet(g.t, g.s, device, text)); err != nil {
		g.t.Fatal(err)
	}
}

func (g *golden) query(text string) []*wql.Query {
	g.t.Helper()
	q, err := wql.Parse(text, g.s)
	if err != nil {
		g.t.Fatalf("%s: %v", text, err)
	}
	return []*wql.Query{q}
}

func (g *golden) define(all ...engine.Collection) {
	g.t.Helper()
	if err := g.e.Define(all); err != nil {
		g.t.Fatal(err)
	}
}

func (g *golden) evaluate(r engine.Request) {
	g.t.Helper()
	if r.Now.IsZero() {
		r.Now = Epoch
	}
	if _, err := g.e.Evaluate(r); err != nil {
		g.t.Fatal(err)
	}
}

func (g *golden) members(id string, want ...uint32) {
	g.t.Helper()
	if got := g.e.Members(id).ToArray(); !slices.Equal(got, want) {
		g.t.Errorf("collection %s has %v, want %v", id, got, want)
	}
}

const a, b, c = "P0100001", "P0100002", "P0100003"

// Include and exclude hit the same device: exclude wins.
func TestCOL1(t *testing.T) {
	g := newGolden(t, "SMS_R_System Name=PC1", "SMS_R_System Name=PC2")
	g.define(engine.Collection{ID: a, Direct: roaring.BitmapOf(1, 2)}, engine.Collection{ID: b, Direct: roaring.BitmapOf(2)},
		engine.Collection{ID: c, Include: []string{a}, Exclude: []string{b}})
	g.evaluate(engine.Request{})
	g.members(c, 1)
}

// A rule matches a device outside the limiting collection: it is not a member. A direct
// member becomes one as soon as it enters the limit.
func TestCOL2(t *testing.T) {
	g := newGolden(t, "SMS_R_System Name=PC1 Client=1", "SMS_R_System Name=PC2 Client=0")
	g.define(engine.Collection{ID: a, Queries: g.query("select * from SMS_R_System where Client = 1")},
		engine.Collection{ID: b, Limit: a, Queries: g.query(`select * from SMS_R_System where Name like "PC%"`)},
		engine.Collection{ID: c, Limit: a, Direct: roaring.BitmapOf(2)})
	g.evaluate(engine.Request{})
	g.members(b, 1)
	g.members(c)
	g.put(2, "SMS_R_System Name=PC2 Client=1")
	g.evaluate(engine.Request{Devices: roaring.BitmapOf(2)})
	g.members(b, 1, 2)
	g.members(c, 2)
}

// An excluded device with a direct rule: it is not a member.
func TestCOL3(t *testing.T) {
	g := newGolden(t, "SMS_R_System Name=PC1")
	g.define(engine.Collection{ID: a, Direct: roaring.BitmapOf(1)}, engine.Collection{ID: b, Direct: roaring.BitmapOf(1), Exclude: []string{a}})
	g.evaluate(engine.Request{})
	g.members(b)
}

// An incremental evaluation of the parent took a change; its child was not part of it. A
// full evaluation of both updates the child, although the parent changes no more.
func TestCOL4(t *testing.T) {
	g := newGolden(t, "SMS_R_System Name=PC1 Client=0")
	g.define(engine.Collection{ID: a, Queries: g.query("select * from SMS_R_System where Client = 1")},
		engine.Collection{ID: b, Limit: a, Queries: g.query("select * from SMS_R_System")})
	g.evaluate(engine.Request{})
	g.put(1, "SMS_R_System Name=PC1 Client=1")
	g.evaluate(engine.Request{Collections: []string{a}, Devices: roaring.BitmapOf(1)})
	g.members(a, 1)
	g.members(b)
	g.evaluate(engine.Request{Collections: []string{a, b}})
	g.members(b, 1)
}

// A graph that bites its tail is refused, and the cycle is told.
func TestCOL5(t *testing.T) {
	for name, all := range map[string][]engine.Collection{
		"include": {{ID: a, Include: []string{b}}, {ID: b, Include: []string{a}}},
		"limit":   {{ID: a, Limit: c}, {ID: b, Limit: a}, {ID: c, Limit: b}},
		"exclude": {{ID: a, Exclude: []string{a}}},
	} {
		g := newGolden(t, "SMS_R_System Name=PC1")
		g.define(engine.Collection{ID: a, Direct: roaring.BitmapOf(1)})
		g.evaluate(engine.Request{})
		var cycle *engine.CycleError
		if err := g.e.Define(all); !errors.As(err, &cycle) || len(cycle.Path) < len(all) {
			t.Errorf("%s: %v", name, err)
		}
		g.members(a, 1) // all stays as it was
	}
	g := newGolden(t)
	all := []engine.Collection{{ID: a, Queries: g.query("select ResourceID from SMS_R_System where ResourceID in (select ResourceID from SMS_CM_RES_COLL_P0100002)")}, {ID: b, Limit: a}}
	var cycle *engine.CycleError
	if err := g.e.Define(all); !errors.As(err, &cycle) {
		t.Errorf("query: %v", err)
	}
}

// Incremental evaluations come to what full ones come to, after any history.
func TestCOL6(t *testing.T) { Run(t) }

// A rule with a date changes membership at the right instant, although nothing came.
func TestCOL9(t *testing.T) {
	const scanned = "SMS_R_System Name=PC1\nSMS_G_System_WORKSTATION_STATUS LastHardwareScan="
	g := newGolden(t, scanned+"2026-02-20T10:00:00Z", scanned+"2026-02-24T10:00:00Z", "SMS_R_System Name=PC3")
	g.define(engine.Collection{ID: a, Queries: g.query("select * from SMS_R_System inner join SMS_G_System_WORKSTATION_STATUS as W on W.ResourceID = SMS_R_System.ResourceID where DateDiff(dd, W.LastHardwareScan, GetDate()) > 14")},
		engine.Collection{ID: b, Limit: a, Direct: roaring.BitmapOf(1, 2)})
	g.evaluate(engine.Request{})
	g.members(b)
	at := Epoch
	for _, turn := range []struct {
		at      string
		device  uint32
		members []uint32
	}{{"2026-03-07T00:00:00Z", 1, []uint32{1}}, {"2026-03-11T00:00:00Z", 2, []uint32{1, 2}}} {
		next, ok := g.e.NextTurn(at)
		if !ok || next.UTC().Format(time.RFC3339) != turn.at {
			t.Fatalf("after %s the next turn is %s, want %s", at, next, turn.at)
		}
		if early := g.e.Turning(at, next.Add(-time.Millisecond)); !early.IsEmpty() {
			t.Errorf("%v turn before %s", early, turn.at)
		}
		turning := g.e.Turning(at, next)
		if !turning.Contains(turn.device) {
			t.Errorf("%v turn at %s, want %d", turning, turn.at, turn.device)
		}
		g.evaluate(engine.Request{Now: next, Devices: turning})
		g.members(b, turn.members...)
		at = next
	}
	if next, ok := g.e.NextTurn(at); ok {
		t.Errorf("after all turned, one turns at %s", next)
	}
}

// A value that is new, and a question about its row at the same time: the row's answers
// to what collections ask are those with the new value.
func TestNewValueAndQuestion(t *testing.T) {
	g := newGolden(t)
	g.s = Schema()
	g.e = engine.New(g.s)
	g.put(1, many+" Text=x List=z\n"+many+" Text=y")
	g.define(engine.Collection{ID: a, Queries: g.query(`select ResourceID from SMS_G_System_TEST_MANY where List = "b" or Text = "b"`)})
	g.evaluate(engine.Request{})
	g.put(2, many+" Number=5 List=b+c")
	if _, err := g.e.Query(g.query(`select ResourceID from SMS_G_System_TEST_MANY where Text = List`)[0], Epoch); err != nil {
		t.Fatal(err)
	}
	g.evaluate(engine.Request{})
	g.members(a, 2)
}
