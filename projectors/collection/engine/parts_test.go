package engine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// An index is a map, with hashes that collide.
func TestIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x index
		known := map[uint32]bool{}
		hash := func(c uint32) uint64 { return uint64(c % 7 * 3) }
		for _, c := range rapid.SliceOf(rapid.Uint32Range(1, 40)).Draw(t, "codes") {
			found := x.find(hash(c), func(d uint32) bool { return c == d })
			if (found == c) != known[c] {
				t.Fatalf("code %d is found as %d", c, found)
			}
			if known[c] = !known[c]; known[c] {
				x.add(hash(c), c)
			} else {
				x.remove(hash(c), c)
			}
		}
	})
}

// A dictionary gives equal values one code, and takes codes back.
func TestDictionary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, k := range []kind{ofTexts, ofNumbers, ofLists} {
			dictionaryHolds(t, k, rapid.SliceOfN(rapid.IntRange(-10, 10), 0, 60).Draw(t, "steps"))
		}
	})
	d := newDictionary(ofTexts)
	if c := d.code(&schema.Value{Set: true, Text: string(make([]byte, 3*block))}); len(d.texts[c]) != 3*block {
		t.Error("a long text was cut")
	}
	if newDictionary(ofLists).code(&schema.Value{Set: true}) != null {
		t.Error("a list without values is not NULL")
	}
}

// printedCode is what a code stands for.
func printedCode(d *dictionary, c uint32) string {
	all := d.scalars(c)
	switch d.kind {
	case ofTexts:
		return all[0].text
	case ofNumbers:
		return fmt.Sprint(all[0].number)
	}
	texts := []string{}
	for _, s := range all {
		texts = append(texts, s.text)
	}
	slices.Sort(texts)
	return fmt.Sprint(texts)
}

// dictionaryHolds takes a value at a number that is not negative, and gives one back
// at one that is.
func dictionaryHolds(t *rapid.T, k kind, steps []int) {
	d := newDictionary(k)
	var held []uint32
	var values []string
	for _, n := range steps {
		if n < 0 && len(held) > 0 {
			i := -n % len(held)
			d.release(held[i])
			held, values = slices.Delete(held, i, i+1), slices.Delete(values, i, i+1)
			continue
		}
		list := []string{fmt.Sprint("A", n%3), fmt.Sprint("a", n%3), fmt.Sprint("b", n)}
		held = append(held, d.code(&schema.Value{Set: true, Number: int64(n), Text: fmt.Sprintf("Text %d", n), List: list}))
		values = append(values, map[kind]string{ofTexts: fmt.Sprintf("text %d", n), ofNumbers: fmt.Sprint(n), ofLists: fmt.Sprint(list[1:])}[k])
	}
	distinct := map[uint32]bool{}
	for i, c := range held {
		if got := printedCode(d, c); got != values[i] {
			t.Fatalf("code %d is %s, want %s", c, got, values[i])
		}
		distinct[c] = true
	}
	if used := d.size() - 1 - len(d.free); used != len(distinct) {
		t.Fatalf("%d codes are in use for %d values", used, len(distinct))
	}
	for _, c := range held {
		d.release(c)
	}
	if len(d.free) != d.size()-1 || d.values != nil && len(d.values.free) != d.values.size()-1 {
		t.Fatal("codes are in use that nobody has")
	}
}

func TestTranspose(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var m, n [64]uint64
	for i := range m {
		m[i] = r.Uint64()
	}
	n = m
	transpose(&n)
	for i := range m {
		for j := range n {
			if m[i]>>j&1 != n[j]>>i&1 {
				t.Fatalf("bit %d of word %d", j, i)
			}
		}
		if pick(&m, uint8(i)) != n[i] {
			t.Fatalf("bits %d are picked otherwise", i)
		}
	}
}

// Lists of rows keep what they were given, also after many changes.
func TestRowLists(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l lists
		want := map[uint32][]uint32{}
		for _, i := range rapid.SliceOfN(rapid.SampledFrom([]uint32{0, 1, 2, 4095, 4096, 9000}), 0, 100).Draw(t, "devices") {
			rows := rapid.SliceOfN(rapid.Uint32(), 0, 40).Draw(t, "rows")
			l.set(i, rows)
			want[i] = rows
			for i, rows := range want {
				if !slices.Equal(l.at(i), rows) {
					t.Fatalf("device %d has %v, want %v", i, l.at(i), rows)
				}
			}
		}
		for _, p := range l.pages {
			if p != nil && len(p.rows) > 4*len(l.pages)*6*40+1000 {
				t.Fatalf("%d places for so few rows", len(p.rows))
			}
		}
	})
}

func TestMatrix(t *testing.T) {
	var m matrix
	a, b := m.take(), m.take()
	m.restore(a, roaring.BitmapOf(1, 63, 64, 70_000))
	m.restore(b, roaring.BitmapOf(2))
	for range 50 {
		m.take()
	}
	if got := m.members(a); !got.Equals(roaring.BitmapOf(1, 63, 64, 70_000)) || m.counts[a] != 4 || !m.has(a, 64) || m.has(a, 65) || m.has(-1, 1) || m.has(a, 1<<30) {
		t.Errorf("%v", got)
	}
	m.restore(a, roaring.BitmapOf(5))
	m.drop(b)
	if c := m.take(); c != b || !m.members(c).IsEmpty() || m.counts[c] != 0 {
		t.Error("a slot that was given back has members")
	}
	if !m.members(a).Equals(roaring.BitmapOf(5)) {
		t.Error("restoring adds to what was there")
	}
}

// near finds what a search from end to end finds.
func TestNear(t *testing.T) {
	edge := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64 - 1, math.MaxInt64}))
	rapid.Check(t, func(t *rapid.T) {
		from, guess, none := edge.Draw(t, "from"), edge.Draw(t, "guess"), rapid.IntRange(0, 9).Draw(t, "none") == 0
		is := func(v int64) bool { return !none && v >= from }
		got, ok := near(guess, is)
		if ok == none || ok && got != from {
			t.Fatalf("%d %t", got, ok)
		}
	})
}

// clockTests are conditions with the time, of all sorts.
func clockTests(t *rapid.T, column wql.Operand) wql.Expr {
	part := rapid.SampledFrom([]wql.Part{wql.Year, wql.Quarter, wql.Month, wql.DayOfYear, wql.Day, wql.Week, wql.Weekday, wql.Hour, wql.Minute, wql.Second, wql.Millisecond})
	number := func() wql.Operand {
		return wql.Constant{Of: schema.Number, Number: int64(rapid.IntRange(-3, 3).Draw(t, "n")), Round: rapid.IntRange(0, 5).Draw(t, "half") == 0}
	}
	add := func(o wql.Operand) wql.Operand {
		if rapid.Bool().Draw(t, "plain") {
			return o
		}
		return &wql.Call{Function: wql.DateAdd, Part: part.Draw(t, "part"), Args: []wql.Operand{
			wql.Constant{Of: schema.Number, Number: int64(rapid.IntRange(-3, 3).Draw(t, "n"))}, o}}
	}
	a, b := add(column), add(wql.Now{})
	if rapid.Bool().Draw(t, "swap") {
		a, b = b, a
	}
	if rapid.Bool().Draw(t, "diff") {
		a, b = &wql.Call{Function: wql.DateDiff, Part: part.Draw(t, "part"), Args: []wql.Operand{a, b}}, number()
	}
	return &wql.Compare{Op: wql.Op(rapid.IntRange(1, 6).Draw(t, "op")), Left: a, Right: b}
}

// The next turn is where the truth turns first, and thresholds tell the truth.
func TestClock(t *testing.T) {
	base := noon.UnixMilli()
	near := rapid.OneOf(rapid.Int64Range(-5000, 5000), rapid.Int64Range(-4*86_400_000, 4*86_400_000), rapid.Int64Range(-1000*86_400_000, 1000*86_400_000))
	rapid.Check(t, func(t *rapid.T) {
		e := clockTests(t, wql.Column{Of: schema.Date})
		d := newDictionary(ofNumbers)
		for _, v := range rapid.SliceOfN(near, 1, 6).Draw(t, "values") {
			d.number(base + v)
		}
		k, _ := compileTest(e, false, nil)
		c := newClock(e)
		c.flip = k.flip
		now := base + near.Draw(t, "now")
		truths := func(now int64) (out []Truth) {
			c.prepare(now)
			for _, v := range []int64{c.below - 1, c.below, c.below + 1, c.above - 1, c.above, c.above + 1} {
				if is := k.test(scalar{number: v}, now); c.sorted && c.at(v) != (is == True) {
					t.Fatalf("%+v: %d is %s at %d, by thresholds %t", e, v, is, now, c.at(v))
				}
			}
			for code := 1; code < d.size(); code++ {
				v := d.numbers[code]
				is := k.test(scalar{number: v}, now)
				if c.sorted && c.at(v) != (is == True) {
					t.Fatalf("%+v: %d is %s at %d, by thresholds %t", e, v, is, now, c.at(v))
				}
				out = append(out, is)
			}
			return out
		}
		before := truths(now)
		next, ok := c.next(d, now)
		if ok && next <= now {
			t.Fatalf("after %d the next turn is %d", now, next)
		}
		for range 8 { // nothing turns before
			at := now + rapid.Int64Range(0, 400*86_400_000).Draw(t, "later")
			if ok && at >= next {
				at = next - 1 - rapid.Int64Range(0, next-1-now).Draw(t, "earlier")
			}
			if !slices.Equal(truths(at), before) {
				t.Fatalf("%+v turns between %d and %d, before %d (%t)", e, now, at, next, ok)
			}
		}
		// An equation may be passed over: two days are never 0.5 apart.
		if ok && c.part == 0 && !c.daily && c.op != wql.Equal && c.op != wql.NotEqual && slices.Equal(truths(next), before) {
			t.Fatalf("%+v does not turn at %d", e, next)
		}
		to := now + rapid.Int64Range(1, 10*86_400_000).Draw(t, "span")
		told := map[uint32]bool{}
		all := c.turning(d, now, to, func(code uint32) { told[code] = true })
		for i, is := range truths(to) {
			if is != before[i] && !all && !told[uint32(i+1)] {
				t.Fatalf("%+v: %d turns between %d and %d, and is not told", e, d.numbers[i+1], now, to)
			}
		}
	})
}

// What was asked while texts, lists and rows changed is answered from what they are.
func TestAnswersFollow(t *testing.T) {
	b := newBench(t)
	b.put(1, "SMS_R_System SystemOUName=z", soft+" ProdID=a DisplayName=x", soft+" ProdID=b DisplayName=y")
	b.define(b.rule("P0100001", "select ResourceID from "+soft+` where DisplayName = "b"`), b.rule("P0100002", `select * from SMS_R_System where SystemOUName = "b"`))
	b.evaluate(Request{})
	b.put(2, "SMS_R_System SystemOUName=b+c", soft+" ProdID=a DisplayName=b")
	// Other conditions on the same columns, and an evaluation that needs them only.
	b.selects("select ResourceID from " + soft + ` where DisplayName like "x%" and ProdID = DisplayName`)
	b.selects(`select * from SMS_R_System where SystemOUName like "z%"`, 1)
	b.evaluate(Request{})
	b.members("P0100001", 2)
	b.members("P0100002", 2)
}

// Many conditions on one column fill several batches, and give their bits back.
func TestManyConditions(t *testing.T) {
	b := newBench(t)
	var all []Collection
	for i := range 200 {
		b.put(uint32(i), fmt.Sprintf("SMS_R_System Name=PC%d", i))
		all = append(all, b.rule(fmt.Sprintf("P01%05X", i+1), fmt.Sprintf(`select * from SMS_R_System where Name = "PC%d"`, i)))
	}
	for round := range 3 {
		b.define(all[round*50:]...)
		b.evaluate(Request{})
		for i := round * 50; i < 200; i++ {
			b.members(all[i].ID, uint32(i))
		}
	}
	i, _ := b.e.tables[b.e.system].class.Property("Name")
	d := b.e.tables[b.e.system].columns[i].dict
	b.define()
	if len(d.answers.batches) != 0 || len(d.asked) != 0 {
		t.Errorf("%d batches and %d conditions are kept for nobody", len(d.answers.batches), len(d.asked))
	}
}
