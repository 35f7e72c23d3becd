package advice_test

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/agent/window"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/advice"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

var now = time.Date(2026, 11, 28, 12, 30, 0, 0, time.UTC) // a Saturday

// coll is a collection as tests define one: evaluated, with some members.
func coll(id string, change func(c *advice.Collection)) advice.Collection {
	c := advice.Collection{Collection: event.Collection{ID: id, Name: "name of " + id, Limit: event.RootCollection}, Evaluated: true, Members: roaring.BitmapOf(1, 2)}
	if change != nil {
		change(&c)
	}
	return c
}

// asks adds a query rule.
func asks(c *advice.Collection, text string) {
	c.Queries = append(c.Queries, event.CollectionQuery{WQL: text})
	q, err := wql.Parse(text, schema.Standard())
	c.Rules = append(c.Rules, advice.Query{Parsed: q, Err: err})
}

// query is a collection with a query that can be evaluated.
func query(text string) advice.Collection {
	c := broken(text)
	if err := c.Rules[0].Err; err != nil {
		panic(text + ": " + err.Error())
	}
	return c
}

func broken(text string) advice.Collection {
	return coll("Q", func(c *advice.Collection) { asks(c, text) })
}

func site(all ...advice.Collection) *advice.Input {
	return &advice.Input{Now: now, Collections: all, Devices: roaring.BitmapOf(1, 2, 3, 4)}
}

func scheduled(id, schedule string, change func(c *advice.Collection)) advice.Collection {
	return coll(id, func(c *advice.Collection) {
		c.Schedule = schedule
		if change != nil {
			change(c)
		}
	})
}

func limitedTo(limit string) func(c *advice.Collection) {
	return func(c *advice.Collection) { c.Limit = limit }
}

func many(n int, schedule string) (all []advice.Collection) {
	for i := range n {
		all = append(all, scheduled(fmt.Sprintf("C%02d", i), schedule, nil))
	}
	return all
}

// chain is collections each of which is limited to the one before.
func chain(n int) (all []advice.Collection) {
	limit := event.RootCollection
	for i := range n {
		id := fmt.Sprintf("L%02d", i)
		all = append(all, coll(id, limitedTo(limit)))
		limit = id
	}
	return all
}

func cycles(n int, took time.Duration, collections int) (all []advice.Cycle) {
	for range n {
		all = append(all, advice.Cycle{Took: took, Collections: collections})
	}
	return all
}

func incremental(n int) (all []advice.Collection) {
	for i := range n {
		all = append(all, coll(fmt.Sprintf("I%02d", i), func(c *advice.Collection) { c.Incremental, c.Uses = true, []string{"policy"} }))
	}
	return all
}

func opens(minutes int, change func(w *window.Window)) *advice.Input {
	in := site(coll("W", nil))
	w := window.Window{Name: "patch night", Enabled: true, Kind: window.Updates, Start: time.Date(2026, 11, 20, 1, 0, 0, 0, time.UTC),
		Length: time.Duration(minutes) * time.Minute, Every: window.Every{Unit: window.Day, N: 1}}
	if change != nil {
		change(&w)
	}
	in.Windows = []advice.Window{{Collection: "W", Window: w}}
	return in
}

func with(in *advice.Input, change func(in *advice.Input)) *advice.Input {
	change(in)
	return in
}

const (
	arp  = "select * from SMS_R_System inner join SMS_G_System_ADD_REMOVE_PROGRAMS on SMS_G_System_ADD_REMOVE_PROGRAMS.ResourceID = SMS_R_System.ResourceID where "
	os1  = "select * from SMS_R_System inner join SMS_G_System_OPERATING_SYSTEM on SMS_G_System_OPERATING_SYSTEM.ResourceID = SMS_R_System.ResourceID where "
	name = "SMS_G_System_ADD_REMOVE_PROGRAMS.DisplayName"
)

// A test of one code: inputs for which it must be said, and inputs for which it
// must not.
type trial struct{ fires, silent []*advice.Input }

var trials = map[string]trial{
	"A101": {
		fires:  []*advice.Input{site(many(11, "0 4 * * *")...), site(append(many(6, "0 4 * * *"), with(site(many(12, "0 4 * * sun")...), func(in *advice.Input) { in.Collections = in.Collections[6:] }).Collections...)...)},
		silent: []*advice.Input{site(many(10, "0 4 * * *")...), site(append(many(6, "0 4 * * sat"), many(12, "0 4 * * sun")[6:]...)...)},
	},
	"A102": {
		fires: []*advice.Input{
			site(scheduled("P", "0 4 * * *", nil), scheduled("C", "0 3 * * *", limitedTo("P"))),
			site(scheduled("P", "0 4 * * sun", nil), scheduled("C", "30 3 * * sun", func(c *advice.Collection) { c.Include = []string{"P"} })),
			site(scheduled("P", "30 * * * *", nil), scheduled("C", "20 * * * *", limitedTo("P"))),
		},
		silent: []*advice.Input{
			site(scheduled("P", "0 4 * * *", nil), scheduled("C", "0 5 * * *", limitedTo("P"))),
			site(scheduled("P", "0 4 * * *", nil), scheduled("C", "0 4 * * *", limitedTo("P"))),
			site(scheduled("P", "0 4 * * sun", nil), scheduled("C", "0 3 * * *", limitedTo("P"))),
			site(scheduled("P", "0 4 * * *", func(c *advice.Collection) { c.Incremental = true }), scheduled("C", "0 3 * * *", limitedTo("P"))),
		},
	},
	"A103": {
		fires:  []*advice.Input{with(site(chain(5)...), func(in *advice.Input) { in.Collections[0].Schedule = "*/15 * * * *" })},
		silent: []*advice.Input{with(site(chain(5)...), func(in *advice.Input) { in.Collections[0].Schedule = "0 * * * *" }), with(site(chain(4)...), func(in *advice.Input) { in.Collections[0].Schedule = "*/15 * * * *" })},
	},
	"A104": {
		fires: []*advice.Input{site(coll("P", nil), scheduled("C", "0 4 * * *", limitedTo("P")))},
		silent: []*advice.Input{
			site(coll("P", func(c *advice.Collection) { c.Incremental = true }), scheduled("C", "0 4 * * *", limitedTo("P"))),
			site(scheduled("P", "0 3 * * *", nil), scheduled("C", "0 4 * * *", limitedTo("P"))),
			site(scheduled("G", "0 3 * * *", nil), coll("P", limitedTo("G")), scheduled("C", "0 4 * * *", limitedTo("P"))),
			site(scheduled("C", "0 4 * * *", nil)),
		},
	},
	"A105": {
		fires: []*advice.Input{
			site(scheduled("C", "*/5 * * * *", func(c *advice.Collection) { c.FullCycle = 6 * time.Minute })),
			with(site(), func(in *advice.Input) {
				in.Cycles = append(cycles(9, time.Second, 10), cycles(1, 6*time.Second, 10)...)
			}),
		},
		silent: []*advice.Input{
			site(scheduled("C", "*/5 * * * *", func(c *advice.Collection) { c.FullCycle = 5 * time.Minute })),
			with(site(), func(in *advice.Input) { in.Cycles = cycles(9, 5*time.Second, 10) }),
			with(site(), func(in *advice.Input) { in.Cycles, in.Interval = cycles(9, 6*time.Second, 10), time.Minute }),
		},
	},
	"A106": {
		fires:  []*advice.Input{with(site(incremental(30)...), func(in *advice.Input) { in.Cycles = cycles(10, 2*time.Second, 10) })},
		silent: []*advice.Input{with(site(incremental(30)...), func(in *advice.Input) { in.Cycles = cycles(10, time.Second, 10) }), with(site(incremental(30)...), func(in *advice.Input) { in.Cycles = cycles(4, 2*time.Second, 10) })},
	},
	"A107": {
		fires: []*advice.Input{site(coll("C", func(c *advice.Collection) { c.Incremental = true }))},
		silent: []*advice.Input{
			site(coll("C", nil)),
			site(coll("C", func(c *advice.Collection) { c.Incremental, c.Uses = true, []string{"operation 7"} })),
			site(coll("C", func(c *advice.Collection) { c.Incremental = true }), coll("D", func(c *advice.Collection) { c.Exclude, c.Uses = []string{"C"}, []string{"policy"} })),
			with(opens(120, nil), func(in *advice.Input) { in.Collections[0].Incremental = true }),
		},
	},
	"A108": {
		fires:  []*advice.Input{site(scheduled("C", "A33AFB8000080001", nil)), site(scheduled("C", "daily", nil))},
		silent: []*advice.Input{site(scheduled("C", "0 4 * * *", nil)), site(scheduled("C", "0001200000100038", nil))},
	},
	"A201": {
		fires:  []*advice.Input{site(coll("C", func(c *advice.Collection) { c.DirectMembers = roaring.BitmapOf(1, 9) })), site(coll("P", nil), coll("C", func(c *advice.Collection) { c.Limit, c.DirectMembers = "P", roaring.BitmapOf(3) }))},
		silent: []*advice.Input{site(coll("C", func(c *advice.Collection) { c.DirectMembers = roaring.BitmapOf(1, 4) })), site(coll("P", func(c *advice.Collection) { c.Evaluated = false }), coll("C", func(c *advice.Collection) { c.Limit, c.DirectMembers = "P", roaring.BitmapOf(3) }))},
	},
	"A202": {
		fires: []*advice.Input{
			site(coll("E", func(c *advice.Collection) { c.Members = nil }), coll("C", func(c *advice.Collection) { c.Exclude = []string{"E"} })),
			site(coll("E", nil), coll("C", func(c *advice.Collection) { c.DirectMembers, c.Exclude = roaring.BitmapOf(3), []string{"E"} })),
			site(coll("E", func(c *advice.Collection) { c.Members = roaring.BitmapOf(9) }), coll("C", func(c *advice.Collection) { c.DirectMembers, c.Exclude = roaring.BitmapOf(3, 9), []string{"E"} })),
			site(coll("E", nil), coll("F", nil), coll("C", func(c *advice.Collection) { c.DirectMembers, c.Exclude = roaring.BitmapOf(1), []string{"E", "F"} })),
		},
		silent: []*advice.Input{
			site(coll("E", nil), coll("C", func(c *advice.Collection) { c.DirectMembers, c.Exclude = roaring.BitmapOf(1, 3), []string{"E"} })),
			site(coll("E", nil), coll("C", func(c *advice.Collection) {
				asks(c, "select * from SMS_R_System")
				c.Exclude = []string{"E"}
			})),
		},
	},
	"A203": {
		fires: []*advice.Input{
			site(coll("I", func(c *advice.Collection) { c.Members = nil }), coll("C", func(c *advice.Collection) { c.Include = []string{"I"} })),
			site(coll("I", func(c *advice.Collection) { c.Members = roaring.BitmapOf(9) }), coll("C", func(c *advice.Collection) { c.Include = []string{"I"} })),
			site(coll("I", nil), coll("C", func(c *advice.Collection) { c.DirectMembers, c.Include = roaring.BitmapOf(1, 2, 3), []string{"I"} })),
			site(coll("I", nil), coll("C", func(c *advice.Collection) {
				asks(c, "select * from SMS_R_System")
				c.Rules[0].Selected, c.Include = roaring.BitmapOf(1, 2), []string{"I"}
			})),
		},
		silent: []*advice.Input{
			site(coll("I", nil), coll("C", func(c *advice.Collection) { c.DirectMembers, c.Include = roaring.BitmapOf(1, 3), []string{"I"} })),
			site(coll("I", nil), coll("C", func(c *advice.Collection) {
				asks(c, "select * from SMS_R_System")
				c.Include = []string{"I"}
			})),
		},
	},
	"A204": {
		fires:  []*advice.Input{site(coll("P", func(c *advice.Collection) { c.Members = nil }), coll("C", limitedTo("P")))},
		silent: []*advice.Input{site(coll("P", func(c *advice.Collection) { c.Members = nil })), site(coll("P", nil), coll("C", limitedTo("P"))), site(coll("P", func(c *advice.Collection) { c.Members, c.Evaluated = nil, false }), coll("C", limitedTo("P")))},
	},
	"A205": {fires: []*advice.Input{site(chain(9)...)}, silent: []*advice.Input{site(chain(8)...)}},
	"A206": {
		fires: []*advice.Input{site(coll("C", limitedTo("X"))), site(coll("C", func(c *advice.Collection) { c.Include = []string{"X"} })), site(coll("C", func(c *advice.Collection) { c.Exclude = []string{"X"} })),
			site(query("select * from SMS_R_System where ResourceID in (select ResourceID from SMS_CM_RES_COLL_P01FFFFF)"))},
		silent: []*advice.Input{site(coll("X", nil), coll("C", func(c *advice.Collection) { c.Limit, c.Include, c.Exclude = "X", []string{"SMS00001"}, []string{"X"} }))},
	},
	"A207": {
		fires: []*advice.Input{site(broken("select * from SMS_R_System where Nmae = 1")), site(coll("A", limitedTo("B")), coll("B", func(c *advice.Collection) { c.Include = []string{"A"} })),
			site(coll("C", func(c *advice.Collection) { c.Broken = errors.New("it is too large.") }))},
		silent: []*advice.Input{site(query("select * from SMS_R_System where Name = '1'"), coll("A", limitedTo("Q")))},
	},
	"A208": {
		fires:  []*advice.Input{site(coll("A", func(c *advice.Collection) { asks(c, "select Name from SMS_R_System where Name = 'X'") }), coll("B", func(c *advice.Collection) { asks(c, "select * from sms_r_system where NAME='x'") }))},
		silent: []*advice.Input{site(coll("A", nil), coll("B", nil)), site(query("select * from SMS_R_System where Name = 'X'"), coll("B", func(c *advice.Collection) { asks(c, "select * from SMS_R_System where Name = 'Y'") }))},
	},
	"A301": {
		fires: []*advice.Input{site(query(arp + name + ` not like "%Chrome%"`)), site(query(arp + name + ` != "Chrome" and SMS_R_System.Client = 1`)), site(query(arp + "not " + name + ` in ("a", "b")`)), site(query(arp + name + ` is not null and ` + name + ` != "x"`)),
			site(query(`select * from SMS_R_System where SystemOUName != "a/b"`)),
			site(query(`select * from SMS_R_System where ResourceID in (select ResourceID from SMS_G_System_ADD_REMOVE_PROGRAMS where DisplayName <> "x")`))},
		silent: []*advice.Input{site(query(arp + name + ` like "%Chrome%" and Version != "120.0"`)), site(query(os1 + `Caption != "x"`)), site(query(`select * from SMS_R_System where not SystemOUName = "a/b"`)), site(query(arp + `not ` + name + ` != "x"`))},
	},
	"A302": {
		fires: []*advice.Input{site(query(arp + name + ` = "x" or SMS_R_System.Name = "y"`)), site(query(arp + `Client = 1 and not (` + name + ` != "x" and SMS_R_System.Name != "y")`)),
			site(query(`select * from SMS_G_System_TPM inner join SMS_R_System on SMS_R_System.ResourceID = SMS_G_System_TPM.ResourceID where SpecVersion = "x" or Name = "y"`))},
		silent: []*advice.Input{site(query(arp + name + ` = "x" or ` + name + ` = "y"`)), site(query(arp + `Publisher = "z" and (` + name + ` = "x" or SMS_R_System.Name = "y")`)), site(query(strings.Replace(arp, "inner", "left", 1) + name + ` = "x" or SMS_R_System.Name = "y"`)),
			site(query(`select * from SMS_R_System where Name = "x" or Client = 1`))},
	},
	"A303": {
		fires:  []*advice.Input{site(query(os1 + `BuildNumber < "19045"`)), site(query(os1 + `10.5 >= SMS_G_System_OPERATING_SYSTEM.Version`)), site(query(os1 + `upper(Caption) > "7"`))},
		silent: []*advice.Input{site(query(os1 + `BuildNumber = "19045"`)), site(query(`select * from SMS_R_System where Client < 1`)), site(query(`select * from SMS_R_System where Name < "m"`)), site(query(arp + `InstallDate < "20240101"`))},
	},
	"A304": {
		fires:  []*advice.Input{site(query(`select * from SMS_R_System where Name like "ADM_PC%"`)), site(query(`select * from SMS_R_System where Name like "ADM_%"`))},
		silent: []*advice.Input{site(query(`select * from SMS_R_System where Name like "ADM[_]PC%"`)), site(query(`select * from SMS_R_System where Name like "PC-___"`)), site(query(`select * from SMS_R_System where Build like "10.0.190_5"`)), site(query(`select * from SMS_R_System where Name = "A_B"`))},
	},
	"A305": {
		fires: []*advice.Input{site(coll("C", func(c *advice.Collection) {
			asks(c, "select Name from SMS_R_System where Name = 'X'")
			asks(c, "select * from SMS_R_System where (name = 'x')")
		}))},
		silent: []*advice.Input{site(coll("C", func(c *advice.Collection) {
			asks(c, "select Name from SMS_R_System where Name = 'X'")
			asks(c, "select * from SMS_R_System where name = 'y'")
		}))},
	},
	"A306": {
		fires: []*advice.Input{site(query(`select * from SMS_R_System where Name = "a" and Name = "b"`)), site(query(`select * from SMS_R_System where Client > 3 and Client < 4`)), site(query(`select * from SMS_R_System where Client = 2.5`)),
			site(query(`select * from SMS_R_System where Name is null and Name like "a%"`)), site(query(`select * from SMS_R_System where Name like "a%" and Name like "b%"`)), site(query(`select * from SMS_R_System where Name in ("a", "b") and (Name = "c" or Name like "d%")`)),
			site(query(`select * from SMS_R_System where not (Name != "a" or Name = "a")`)), site(query(`select * from SMS_R_System where Name > "b" and Name <= "B"`)), site(query(os1 + `BuildNumber = "1" and not BuildNumber in ("1", "2")`)),
			site(query(`select * from SMS_R_System where Client = 2 and Client > 2.5`)), site(query(`select * from SMS_R_System where Name = "a" and not Name = "A"`)), site(query(`select * from SMS_R_System where Client > 5 and not Client > 3`))},
		silent: []*advice.Input{site(query(`select * from SMS_R_System where Name = "a" or Name = "b"`)), site(query(`select * from SMS_R_System where Client >= 3 and Client < 4`)), site(query(`select * from SMS_R_System where SystemOUName = "a" and SystemOUName = "b"`)),
			site(query(`select * from SMS_R_System where Name in ("a", "b") and (Name = "c" or Name like "A%")`)), site(query(`select * from SMS_R_System where Name like "a%" and Name like "%b"`)), site(query(`select * from SMS_R_System where Name = "A" and Name >= "a"`)),
			site(query(`select * from SMS_R_System where Client = 2 and Client < 2.5`)), site(query(`select * from SMS_R_System where Client = 3 and not Client = 4`)), site(query(`select * from SMS_R_System where Client < 5 and not Client < 3`))},
	},
	"A307": {
		fires:  []*advice.Input{knowing(`select * from SMS_R_System where Name = "known" or Name = "unheard"`), knowing(`select * from SMS_R_System where Name in ("x", "y")`)},
		silent: []*advice.Input{knowing(`select * from SMS_R_System where Name = "known"`), knowing(`select * from SMS_R_System where Name in ("x", "known")`), knowing(`select * from SMS_R_System where Name != "x"`), site(query(`select * from SMS_R_System where Name = "x"`))},
	},
	"A401": {
		fires: []*advice.Input{opens(60, nil), opens(65, nil), with(opens(120, nil), func(in *advice.Input) {
			in.Work = []advice.Work{{What: "operation 7 (update.install)", Kind: window.Updates, Run: 2 * time.Hour, Devices: roaring.BitmapOf(2)}}
		})},
		silent: []*advice.Input{opens(66, nil), with(opens(120, nil), func(in *advice.Input) {
			in.Work = []advice.Work{{What: "operation 7", Kind: window.Updates, Run: 2 * time.Hour, Devices: roaring.BitmapOf(3)}, {What: "operation 8", Kind: window.General, Run: 2 * time.Hour, Devices: roaring.BitmapOf(1)}}
		}), with(opens(120, func(w *window.Window) { w.Kind = window.General }), func(in *advice.Input) {
			w := in.Windows[0]
			w.Name, w.Kind, w.Length, w.Start = "updates", window.Updates, 4*time.Hour, w.Start.Add(12*time.Hour)
			in.Windows = append(in.Windows, w)
			in.Work = []advice.Work{{What: "operation 7", Kind: window.Updates, Run: 2 * time.Hour, Devices: roaring.BitmapOf(2)}}
		}), with(opens(60, nil), func(in *advice.Input) {
			w := in.Windows[0]
			w.Name, w.Start = "second", w.Start.Add(time.Hour)
			in.Windows = append(in.Windows, w)
		})},
	},
	"A402": {fires: []*advice.Input{opens(60, func(w *window.Window) { w.Enabled = false })}, silent: []*advice.Input{opens(60, nil)}},
	"A403": {fires: []*advice.Input{opens(60, func(w *window.Window) { w.Every = window.Every{} })}, silent: []*advice.Input{opens(60, nil)}},
}

func knowing(text string) *advice.Input {
	return with(site(query(text)), func(in *advice.Input) {
		in.Absent = map[advice.Text]bool{}
		for _, t := range advice.Texts(in.Collections[0].Rules[0].Parsed) {
			in.Absent[t] = t.Text != "known"
		}
	})
}

func said(in *advice.Input, code string) (found []advice.Advice) {
	for _, a := range advice.Advise(in) {
		if a.Code == code {
			found = append(found, a)
		}
	}
	return found
}

func TestEachAdvice(t *testing.T) {
	for _, code := range advice.Codes() {
		t.Run(code, func(t *testing.T) {
			trial := trials[code]
			if len(trial.fires) == 0 || len(trial.silent) == 0 {
				t.Fatal("no test")
			}
			for i, in := range trial.fires {
				found := said(in, code)
				if len(found) == 0 {
					t.Errorf("input %d: not said", i)
				}
				for _, a := range found {
					check(t, in, &a)
				}
			}
			for i, in := range trial.silent {
				if found := said(in, code); len(found) > 0 {
					t.Errorf("input %d: said %s", i, found[0].What)
				}
			}
		})
	}
}

// check looks at what all advice has in common.
func check(t *testing.T, in *advice.Input, a *advice.Advice) {
	t.Helper()
	for _, sentence := range []string{a.What, a.Why, a.Remedy} {
		if !strings.HasSuffix(sentence, ".") && !strings.HasSuffix(sentence, "?") || strings.Contains(sentence, "%!") || strings.Contains(sentence, "..") {
			t.Errorf("%q is no sentence", sentence)
		}
	}
	for _, c := range a.Commands {
		if !strings.HasPrefix(c, "bugle ") {
			t.Errorf("%q is no command", c)
		}
	}
	if a.Rule != nil && a.Rule.Corrected != "" {
		q, err := wql.Parse(a.Rule.Corrected, schema.Standard())
		if err != nil {
			t.Fatalf("%s: %v", a.Rule.Corrected, err)
		}
		c := query(q.Text)
		for _, again := range said(site(c), a.Code) {
			t.Errorf("the corrected query %s has it again: %s", q.Text, again.What)
		}
	}
}

// TestCorrectedQueries has what is proposed.
func TestCorrectedQueries(t *testing.T) {
	const system, programs = "select * from SMS_R_System where ", "SMS_G_System_ADD_REMOVE_PROGRAMS"
	for _, c := range []struct{ code, query, place, want string }{
		{"A301", arp + "\n" + name + ` not like "%Chrome%"`, "2:1", system + `SMS_R_System.ResourceID not in (select ` + programs + `.ResourceID from ` + programs + ` where ` + name + ` like "%Chrome%")`},
		{"A301", `select * from ` + programs + ` where DisplayName != "x"`, "1:54", system + `SMS_R_System.ResourceID not in (select ` + programs + `.ResourceID from ` + programs + ` where ` + name + ` = "x")`},
		{"A301", `select ` + name + ` from ` + programs + ` inner join SMS_R_System on SMS_R_System.ResourceID = ` + programs + `.ResourceID where not DisplayName in ("x", "y") and Client = 1`, "",
			system + `not SMS_R_System.ResourceID in (select ` + programs + `.ResourceID from ` + programs + ` where ` + name + ` in ("x", "y")) and SMS_R_System.Client = 1`},
		{"A301", system + `SystemOUName not in ("a", "b")`, "", system + `not SMS_R_System.SystemOUName in ("a", "b")`},
		{"A302", arp + name + ` = "x" or Client = 0`, "", strings.Replace(arp, "inner", "left", 1) + name + ` = "x" or SMS_R_System.Client = 0`},
		{"A302", `select * from SMS_G_System_TPM as t inner join SMS_R_System as s on s.ResourceID = t.ResourceID where t.SpecVersion = "2" or s.Client = 0`, "",
			`select * from SMS_R_System as s left join SMS_G_System_TPM as t on t.ResourceID = s.ResourceID where t.SpecVersion = "2" or s.Client = 0`},
		{"A303", system + `Build < "7.2"`, "", system + `SMS_R_System.Build like "[0-6]" or SMS_R_System.Build like "[0-6].%" or SMS_R_System.Build = "7" or SMS_R_System.Build like "7.[0-1]" or SMS_R_System.Build like "7.[0-1].%"`},
		{"A304", system + `Name like "A_B[_x]%"`, "", system + `SMS_R_System.Name like "A[_]B[_x]%"`},
		{"A306", system + `Client = 1 and Name = "a" and Name like "b%"`, "", system + `SMS_R_System.Client = 1 and (SMS_R_System.Name = "a" or SMS_R_System.Name like "b%")`},
	} {
		found := said(site(query(c.query)), c.code)
		if len(found) != 1 || found[0].Rule == nil {
			t.Errorf("%s: %s said %d times", c.query, c.code, len(found))
			continue
		}
		r := found[0].Rule
		if r.Corrected != c.want {
			t.Errorf("%s: %s\n got %s\nwant %s", c.code, c.query, r.Corrected, c.want)
		}
		if place := fmt.Sprintf("%d:%d", r.Line, r.Column); c.place != "" && place != c.place {
			t.Errorf("%s: %s: at %s, want %s", c.code, c.query, place, c.place)
		}
	}
}

func TestCodesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range advice.Codes() {
		if len(trials[code].fires) == 0 {
			t.Errorf("%s has no test", code)
		}
		found := said(trials[code].fires[0], code)
		if line := fmt.Sprintf("//\t%s %-8s", code, found[0].Severity); !strings.Contains(string(text), line) {
			t.Errorf("doc.go has no line %q", line)
		}
	}
}

// TestOneOfTwoStays has rules that make each other useless: one of them stays.
func TestOneOfTwoStays(t *testing.T) {
	for code, change := range map[string]func(c *advice.Collection){
		"A202": func(c *advice.Collection) { c.DirectMembers, c.Exclude = roaring.BitmapOf(1, 2, 3), []string{"E", "F"} },
		"A203": func(c *advice.Collection) { c.Include = []string{"E", "F"} },
	} {
		found := said(site(coll("E", nil), coll("F", nil), coll("C", change)), code)
		if len(found) != 1 || found[0].Collections[1].ID != "E" {
			t.Errorf("%s: said %d times: %+v", code, len(found), found)
		}
	}
}

// TestOrder asks twice, with the collections in another order.
func TestOrder(t *testing.T) {
	var all []advice.Collection
	for _, code := range advice.Codes() {
		for i, in := range trials[code].fires {
			for _, c := range in.Collections {
				c.ID, c.Name = fmt.Sprintf("%s%d%s", code, i, c.ID), "name"
				all = append(all, c)
			}
		}
	}
	first := advice.Advise(site(all...))
	slices.Reverse(all)
	if !reflect.DeepEqual(first, advice.Advise(site(all...))) {
		t.Error("the order of the collections matters")
	}
	if len(first) < 20 || !slices.IsSortedFunc(first, func(a, b advice.Advice) int { return int(b.Severity) - int(a.Severity) }) {
		t.Errorf("%d in no order", len(first))
	}
}
