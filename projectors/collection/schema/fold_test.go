package schema_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

func TestFoldIsThatOfUnicode(t *testing.T) {
	// All that SimpleFold leads to folds to the same character, which is one of them.
	// Behind the second plane nothing has cases.
	for r := rune(0); r < 0x20000; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		folded := schema.Fold(string(r))
		if utf8.RuneCountInString(folded) != 1 || !strings.EqualFold(folded, string(r)) {
			t.Fatalf("%q folds to %q, which is another character", r, folded)
		}
		if again := schema.Fold(folded); again != folded {
			t.Fatalf("%q folds to %q, that to %q", r, folded, again)
		}
		if next := schema.Fold(string(unicode.SimpleFold(r))); next != folded {
			t.Fatalf("%q folds to %q, in another case to %q", r, folded, next)
		}
	}
}

func TestFold(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "abc-1_~": "abc-1_~", "ABC": "abc", "aBc": "abc", "Ä": "ä", "STRAẞE": "straße",
		"ΌΔΟΣ ὈΔΌΣ όδος": "όδοσ ὀδόσ όδοσ", "ДА": "да", "\u212aelvin": "kelvin", "İ": "İ", "a\xffB": "a\ufffdb",
	} {
		if got := schema.Fold(text); got != want {
			t.Errorf("%q folds to %q, want %q", text, got, want)
		}
	}
	lower := "already lower"
	if n := testing.AllocsPerRun(10, func() { schema.Fold(lower) }); n != 0 {
		t.Errorf("folding what is folded allocates %v times", n)
	}
}
