package enginetest

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// The oracle takes these from the language's own package where it takes them at all, so
// they are compared with naive ones first.

func TestFold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		if rapid.Bool().Draw(t, "upper") {
			b = strings.ToUpper(a)
		}
		if (wql.Fold(a) == wql.Fold(b)) != strings.EqualFold(a, b) {
			t.Fatalf("%q and %q fold to %q and %q", a, b, wql.Fold(a), wql.Fold(b))
		}
		if again := wql.Fold(wql.Fold(a)); again != wql.Fold(a) {
			t.Fatalf("%q folds to %q and then to %q", a, wql.Fold(a), again)
		}
	})
}

func TestLike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := strings.Join(rapid.SliceOfN(rapid.SampledFrom(append(pieces, "%", "ab", "[b-c]", "[^ä-ü]", "[-]", "[[]", "É")), 0, 8).Draw(t, "pattern"), "")
		text := wql.Fold(strings.Join(rapid.SliceOfN(rapid.SampledFrom(append(texts, "c", "é", "-", "[", "]", "%", "_")), 0, 5).Draw(t, "text"), ""))
		if got, want := wql.CompileLike(pattern).Match(text), like(text, pattern); got != want {
			t.Fatalf("%q like %q: %v, want %v", text, pattern, got, want)
		}
	})
}

func TestSubstring(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "text")
		from, length := rapid.Int64Range(-3, 8).Draw(t, "from"), rapid.Int64Range(-2, 8).Draw(t, "length")
		if got, want := wql.SubstringOf(s, from, length), substring(s, from, length); got != want {
			t.Fatalf("substring(%q, %d, %d) is %q, want %q", s, from, length, got, want)
		}
	})
}

func parts() *rapid.Generator[wql.Part] {
	return rapid.Custom(func(t *rapid.T) wql.Part {
		return wql.Part(rapid.IntRange(int(wql.Year), int(wql.Millisecond)).Draw(t, "part"))
	})
}

func moments() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "near") {
			return instant(date(t))
		}
		return instant(rapid.Int64Range(firstDate.UnixMilli(), lastDate.UnixMilli()).Draw(t, "ms"))
	})
}

func TestDates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := parts().Draw(t, "part")
		a, b := moments().Draw(t, "a"), moments().Draw(t, "b")
		if got, want := p.Diff(a.UnixMilli(), b.UnixMilli()), dateDiff(p, a, b); got != want {
			t.Fatalf("DateDiff(%s, %s, %s) is %d, want %d", p, a, b, got, want)
		}
		if got, want := p.Of(a.UnixMilli()), datePart(p, a); got != want {
			t.Fatalf("DatePart(%s, %s) is %d, want %d", p, a, got, want)
		}
		n := rapid.OneOf(rapid.Int64Range(-100, 100), rapid.Int64()).Draw(t, "n")
		if got, want := p.Add(n, a.UnixMilli()), dateAdd(p, n, a).UnixMilli(); got != want {
			t.Fatalf("DateAdd(%s, %d, %s) is %s, want %s", p, n, a, instant(got), instant(want))
		}
	})
}

// TestDateDiffWalks counts boundaries by walking from one millisecond to the next part.
func TestDateDiffWalks(t *testing.T) {
	for _, c := range []struct {
		part wql.Part
		a, b string
		want int64
	}{
		{wql.Day, "2026-03-01 23:59", "2026-03-02 00:01", 1},
		{wql.Year, "2025-12-31 23:59", "2026-01-01 00:00", 1},
		{wql.Month, "2026-01-31 00:00", "2026-02-01 00:00", 1},
		{wql.Quarter, "2026-01-01 00:00", "2026-03-31 23:59", 0},
		{wql.Week, "2026-02-28 12:00", "2026-03-01 00:00", 1}, // from a Saturday to a Sunday
		{wql.Hour, "2026-03-01 01:59", "2026-03-01 00:00", -1},
	} {
		a, _ := time.Parse("2006-01-02 15:04", c.a)
		b, _ := time.Parse("2006-01-02 15:04", c.b)
		if got := dateDiff(c.part, a, b); got != c.want {
			t.Errorf("from %s to %s there are %d boundaries of part %s, want %d", c.a, c.b, got, c.part, c.want)
		}
	}
}
