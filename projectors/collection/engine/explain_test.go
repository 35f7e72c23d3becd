package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
)

func explained(t *testing.T, b *bench, id string, device uint32) *Explanation {
	t.Helper()
	x, err := b.e.Explain(id, device, noon)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// deciding prints the tests that decide.
func deciding(c *Condition) (out []string) {
	if c == nil || !c.Decides {
		return nil
	}
	if len(c.Terms) == 0 {
		return []string{fmt.Sprintf("%s: %s (%s)", c.Text, c.Truth, strings.Join(c.Values, "; "))}
	}
	for _, t := range c.Terms {
		out = append(out, deciding(t)...)
	}
	return out
}

func TestExplain(t *testing.T) {
	b := office(t)
	b.define(b.rule("P0100001", `select * from SMS_R_System where Client = 1 and (Name like "PC%" or Obsolete = 1)`),
		Collection{ID: "P0100002", Limit: "P0100001", Direct: roaring.BitmapOf(1, 2), Exclude: []string{"P0100004"}},
		Collection{ID: "P0100003", Limit: "P0100002", Include: []string{"P0100001"}}, Collection{ID: "P0100004", Direct: roaring.BitmapOf(1)},
		b.rule("P0100005", "select SMS_R_System.ResourceID from SMS_R_System inner join "+soft+" as A on A.ResourceID = SMS_R_System.ResourceID where A.DisplayName = \"suite\" and A.Version > \"8\""))
	b.evaluate(Request{})
	for _, c := range []struct {
		id       string
		device   uint32
		member   bool
		why      string
		truth    Truth
		deciding string
	}{
		{"P0100001", 1, true, "query 1 selects the device", True, `SMS_R_System.Client = 1: true (SMS_R_System.Client is 1)|SMS_R_System.Name like "PC%": true (SMS_R_System.Name is "pc1")`},
		{"P0100001", 2, false, "no rule selects the device", False, `SMS_R_System.Client = 1: false (SMS_R_System.Client is 0)`},
		{"P0100001", 3, false, "no rule selects the device; query 1 cannot be decided, for a value is NULL", Unknown, `SMS_R_System.Client = 1: unknown (SMS_R_System.Client is NULL)`},
		{"P0100001", 999, false, "the device is not there", False, ""},
		{"P0100002", 1, false, "collection P0100004 is excluded, and the device is in it", False, ""},
		{"P0100002", 2, false, "the device is not in the limiting collection P0100001", False, ""},
		{"P0100003", 2, false, "the device is not in the limiting collection P0100002, for it is not in P0100001", False, ""},
		{"P0100004", 1, true, "a direct rule names the device", False, ""},
		{"P0100005", 1, true, "query 1 selects the device", True, `A.DisplayName = "suite": true (A.DisplayName is "suite")|A.Version > "8": true (A.Version is "9.1")`},
		{"P0100005", 70_000, false, "no rule selects the device", False, `A.Version > "8": false (A.Version is "7.0")`},
		{Root, 4, true, "every device is a member", False, ""},
	} {
		x := explained(t, b, c.id, c.device)
		if x.Member != c.member || x.Was != c.member || x.Why != c.why {
			t.Errorf("%s of %d: %+v", c.id, c.device, x)
		}
		if c.deciding == "" {
			continue
		}
		if got := strings.Join(deciding(x.Rules[0].Condition), "|"); got != c.deciding || x.Rules[0].Truth != c.truth {
			t.Errorf("%s of %d is %s, decided by %s, want %s", c.id, c.device, x.Rules[0].Truth, got, c.deciding)
		}
	}
	if x := explained(t, b, "P0100005", 4); x.Rules[0].Lacks != soft || x.Rules[0].Condition != nil {
		t.Errorf("%+v", x.Rules[0])
	}
	if x := explained(t, b, "P0100003", 1); len(x.Limits) != 3 || x.Limits[2] != (Membership{Root, true}) || x.Includes[0] != (Membership{"P0100001", true}) {
		t.Errorf("%+v", x)
	}
	if _, err := b.e.Explain("P0100009", 1, noon); err == nil {
		t.Error("a collection that is not defined was explained")
	}
}

// What explaining comes to is what evaluating comes to, for everything.
func TestExplainAgrees(t *testing.T) {
	f := newFleet(t, 300, 80)
	for _, c := range f.all {
		members := f.e.Members(c.ID)
		for d := range uint32(310) {
			x := explained(t, &bench{TB: t, e: f.e}, c.ID, d)
			if x.Member != members.Contains(d) || x.Was != x.Member {
				t.Fatalf("%s of %d: %+v", c.ID, d, x)
			}
			for _, r := range x.Rules {
				if r.Condition != nil && (r.Truth != r.Condition.Truth || !r.Condition.Decides || len(deciding(r.Condition)) == 0) {
					t.Fatalf("%s of %d: rule %+v, condition %+v", c.ID, d, r, r.Condition)
				}
			}
		}
	}
}
