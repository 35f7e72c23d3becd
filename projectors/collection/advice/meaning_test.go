package advice_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/projectors/collection/advice"
	"github.com/bugle-fleet/bugle/projectors/collection/enginetest"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// device makes the record of a device of some rows; a value is CLASS.PROPERTY.
func device(s *schema.Schema, rows ...map[string]string) *schema.Record {
	r := &schema.Record{Device: 1}
	byClass := map[int][]schema.Row{0: nil}
	for _, values := range rows {
		row, index := schema.Row(nil), 0
		for path, text := range values {
			class, name, _ := strings.Cut(path, ".")
			c, _ := s.Class(class)
			i, ok := c.Property(name)
			if !ok {
				panic(path)
			}
			if index = c.Index; row == nil {
				row = make(schema.Row, len(c.Properties))
			}
			v, err := schema.ParseValue(&c.Properties[i], text)
			if err != nil {
				panic(err)
			}
			row[i] = v
		}
		byClass[index] = append(byClass[index], row)
	}
	if byClass[0] == nil {
		byClass[0] = []schema.Row{{}}
	}
	for index := range s.Classes() {
		if len(byClass[index]) > 0 {
			r.Classes = append(r.Classes, schema.ClassRows{Class: index, Rows: byClass[index]})
		}
	}
	return r
}

func selects(t testing.TB, s *schema.Schema, text string, r *schema.Record) bool {
	q, err := wql.Parse(text, s)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	f := enginetest.NewFleet(s)
	f.Records[1] = r
	return f.Selects(q, 1, enginetest.Epoch)
}

// compareVersions compares number by number; what is longer is above.
func compareVersions(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(a, b string) int {
		x, _ := strconv.Atoi(a)
		y, _ := strconv.Atoi(b)
		return x - y
	})
}

// TestVersionsAreCompared asks the oracle what the patterns select that are proposed
// in place of a comparison of texts.
func TestVersionsAreCompared(t *testing.T) {
	s := schema.Standard()
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.OneOf(rapid.IntRange(0, 12), rapid.IntRange(0, 120), rapid.IntRange(18000, 20000))
		version := func(what string) string {
			parts := make([]string, rapid.IntRange(1, 3).Draw(t, what+" parts"))
			for i := range parts {
				parts[i] = fmt.Sprint(number.Draw(t, what))
			}
			return strings.Join(parts, ".")
		}
		bound, value := version("bound"), version("value")
		for op, want := range map[string]bool{"<": compareVersions(value, bound) < 0, "<=": compareVersions(value, bound) <= 0, ">": compareVersions(value, bound) > 0, ">=": compareVersions(value, bound) >= 0} {
			text := fmt.Sprintf("select * from SMS_R_System where Build %s %q", op, bound)
			found := said(site(query(text)), "A303")
			if len(found) != 1 {
				t.Fatalf("%s: said %d times", text, len(found))
			}
			corrected := found[0].Rule.Corrected
			if corrected == "" {
				continue // too many patterns, or nothing is below 0
			}
			q, err := wql.Parse(corrected, s)
			if err != nil {
				t.Fatalf("%s: %v", corrected, err)
			}
			f := enginetest.NewFleet(s)
			f.Records[1] = device(s, map[string]string{"SMS_R_System.Build": value})
			if got := f.Selects(q, 1, enginetest.Epoch); got != want {
				t.Fatalf("%s %s %s: %v by %s", value, op, bound, got, corrected)
			}
		}
	})
}

// TestCorrectedMeansWhatItSays asks the oracle about devices that a query gets wrong.
func TestCorrectedMeansWhatItSays(t *testing.T) {
	s := schema.Standard()
	const product = "SMS_G_System_ADD_REMOVE_PROGRAMS.DisplayName"
	named := func(text string) map[string]string { return map[string]string{"SMS_R_System.Name": text} }
	has := func(product_ string) map[string]string { return map[string]string{product: product_} }
	ou := func(text string) map[string]string { return map[string]string{"SMS_R_System.SystemOUName": text} }
	for _, c := range []struct {
		code, query string
		device      *schema.Record
		was, is     bool
	}{
		{"A301", arp + product + ` not like "%Chrome%"`, device(s, named("PC"), has("Chrome 120"), has("Reader")), true, false},
		{"A301", arp + product + ` not like "%Chrome%"`, device(s, named("PC"), has("Reader")), true, true},
		{"A301", arp + product + ` != "a" and ` + product + ` != "b" and SMS_R_System.Name = "PC"`, device(s, named("PC"), has("a"), has("c")), true, false},
		{"A301", arp + product + ` != "a" and ` + product + ` != "b" and SMS_R_System.Name = "PC"`, device(s, named("PC"), has("c")), true, true},
		{"A301", arp + `not (` + product + ` = "a" or SMS_R_System.Name = "X")`, device(s, named("PC"), has("a"), has("c")), true, false},
		{"A301", `select * from SMS_R_System where SystemOUName != "a"`, device(s, ou("a")), false, false},
		{"A301", `select * from SMS_R_System where SystemOUName != "a"`, device(s, ou("b")), true, true},
		{"A302", arp + product + ` = "a" or SMS_R_System.Name = "PC"`, device(s, named("PC")), false, true},
		{"A302", arp + product + ` = "a" or SMS_R_System.Name = "PC"`, device(s, named("X")), false, false},
		{"A304", `select * from SMS_R_System where Name like "A_B%"`, device(s, named("AxB")), true, false},
		{"A304", `select * from SMS_R_System where Name like "A_B%"`, device(s, named("A_B1")), true, true},
	} {
		found := said(site(query(c.query)), c.code)
		if len(found) != 1 {
			t.Errorf("%s: %s said %d times", c.query, c.code, len(found))
			continue
		}
		corrected := found[0].Rule.Corrected
		if was, is := selects(t, s, c.query, c.device), selects(t, s, corrected, c.device); was != c.was || is != c.is {
			t.Errorf("%s selects the device: %v, and corrected, %s: %v", c.query, was, corrected, is)
		}
	}
}

// TestRandomQueries looks for advice about any query: a proposal can be read, and
// what is said never to select a device selects none.
func TestRandomQueries(t *testing.T) {
	s := enginetest.Schema()
	rapid.Check(t, func(t *rapid.T) {
		q := enginetest.Query(t, s, []string{"P0100001"}, true)
		text := q.String()
		parsed, err := wql.Parse(text, s)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		c := coll("Q", func(c *advice.Collection) {
			asks(c, text)
			c.Rules[0] = advice.Query{Parsed: parsed}
		})
		for _, a := range advice.Advise(site(c)) {
			if a.Rule == nil {
				continue
			}
			if a.Rule.Corrected != "" {
				if _, err := wql.Parse(a.Rule.Corrected, s); err != nil {
					t.Fatalf("%s of %s: %s: %v", a.Code, text, a.Rule.Corrected, err)
				}
			}
			if a.Code == "A306" {
				selectsNobody(t, s, parsed)
			}
		}
	})
}

func selectsNobody(t *rapid.T, s *schema.Schema, q *wql.Query) {
	f := enginetest.NewFleet(s)
	for i := range 4 {
		r := randomDevice(t, s, q)
		r.Device = uint32(i)
		f.Records[r.Device] = r
	}
	for d := range f.Records {
		if f.Selects(q, d, enginetest.Epoch) {
			t.Fatalf("%s is said to select nobody, and selects device %d", q, d)
		}
	}
}

// randomDevice has rows of the classes of a query, with values that conditions of
// random queries ask for.
func randomDevice(t *rapid.T, s *schema.Schema, q *wql.Query) *schema.Record {
	var rows []map[string]string
	for _, src := range q.Sources {
		if src.Class == nil {
			continue
		}
		values := map[string]string{}
		for _, p := range src.Class.Properties {
			switch {
			case rapid.Bool().Draw(t, "null"):
			case p.Type == schema.Text:
				values[src.Class.Name+"."+p.Name] = rapid.SampledFrom([]string{"", "a", "A", "b", "ab", "b_a", "10", "9"}).Draw(t, p.Name)
			case p.Type != schema.Date:
				values[src.Class.Name+"."+p.Name] = rapid.SampledFrom([]string{"0", "1"}).Draw(t, p.Name)
			}
		}
		if len(values) > 0 && (src.Class.Index > 0 || len(rows) == 0) {
			rows = append(rows, values)
		}
	}
	return device(s, rows...)
}
