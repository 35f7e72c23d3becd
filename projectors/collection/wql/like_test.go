package wql_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bugle-fleet/bugle/projectors/collection/wql"
	"pgregory.net/rapid"
)

func TestLike(t *testing.T) {
	for _, c := range []struct {
		pattern  string
		yes, not []string
	}{
		{"", []string{""}, []string{"a"}},
		{"abc", []string{"abc", "ABC"}, []string{"", "ab", "abcd", "xabc"}},
		{"%", []string{"", "a", "ü%"}, nil},
		{"%%", []string{"", "a"}, nil},
		{"PC-%", []string{"pc-", "PC-1"}, []string{"pc", "xpc-1"}},
		{"%east", []string{"east", "Northeast"}, []string{"east-1", "eas"}},
		{"%dell%", []string{"Dell Inc.", "a DELL", "dell"}, []string{"del l", ""}},
		{"a%b%c", []string{"abc", "axbxc", "abbcc"}, []string{"acb", "ab", "ac", "abcd"}},
		{"ab%ba", []string{"abba", "abxba"}, []string{"aba", "abab"}},
		{"%ab%b", []string{"abb", "xabxb"}, []string{"xab", "ab"}},
		{"a%ab", []string{"aab"}, []string{"xab", "ab", "axb"}},
		{"_", []string{"a", "ü", "€"}, []string{"", "ab"}},
		{"%_%", []string{"a", "abc"}, []string{""}},
		{"%a_c%", []string{"abc", "xxaücxx", "aaxc"}, []string{"ac", "abbc"}},
		{"PC[0-3]", []string{"pc0", "PC3"}, []string{"pc4", "pc", "pc[0-3]"}},
		{"PC[^0-3]", []string{"pc4", "PCx", "pcü"}, []string{"pc0", "pc"}},
		{"[a-f]", []string{"a", "F", "c"}, []string{"g", ""}},
		{"[A-F]", []string{"a", "F"}, []string{"g"}},
		{"[^A-F]", []string{"g", "-"}, []string{"a", "F"}},
		{"[а-я]", []string{"Д", "я"}, []string{"a"}},
		{"100[%]", []string{"100%"}, []string{"1000", "100"}},
		{"a[_]b", []string{"a_b"}, []string{"axb"}},
		{"[[]x]", []string{"[x]"}, []string{"x", "[x"}},
		{"a]b", []string{"a]b"}, []string{"ab"}},
		{"[a-]", []string{"a", "-"}, []string{"b"}},
		{"[-a]", []string{"a", "-"}, []string{"b"}},
		{"[a-c-e]", []string{"b", "-", "e"}, []string{"d"}},
		{"[a^]", []string{"a", "^"}, []string{"b"}},
		{"STRAẞE%", []string{"straße 1"}, []string{"strasse 1"}},
		{"%Σ", []string{"όδος", "ΟΔΌΣ"}, nil},
		{`a\%b`, []string{`a\b`, `a\xb`}, []string{"a%b"}},
		{"[abc", []string{"[abc"}, []string{"a"}},
		{"%0123456_89%", []string{"x0123456789x", "0123456x89"}, []string{"012345689", "012345x789"}},
		{"%ü23456[7-8]_9%", []string{"Ü23456789", "..ü234568-9"}, []string{"u23456789"}},
	} {
		p := wql.CompileLike(c.pattern)
		for _, text := range c.yes {
			if !p.Match(wql.Fold(text)) {
				t.Errorf("%q is not like %q", text, c.pattern)
			}
		}
		for _, text := range c.not {
			if p.Match(wql.Fold(text)) {
				t.Errorf("%q is like %q", text, c.pattern)
			}
		}
	}
}

// naive matches as the words say it: one case after the other, trying everything.
func naive(pattern, text []rune) bool {
	if len(pattern) == 0 {
		return len(text) == 0
	}
	switch pattern[0] {
	case '%':
		return naive(pattern[1:], text) || len(text) > 0 && naive(pattern, text[1:])
	case '[':
		shut := strings.IndexRune(string(pattern), ']')
		if shut < 0 {
			break
		}
		shut = utf8.RuneCountInString(string(pattern)[:shut])
		return len(text) > 0 && naiveSet(pattern[1:shut], text[0]) && naive(pattern[shut+1:], text[1:])
	case '_':
		return len(text) > 0 && naive(pattern[1:], text[1:])
	}
	return len(text) > 0 && strings.EqualFold(string(pattern[0]), string(text[0])) && naive(pattern[1:], text[1:])
}

func naiveSet(set []rune, c rune) bool {
	if len(set) > 0 && set[0] == '^' {
		return !naiveSet(set[1:], c)
	}
	for len(set) > 0 {
		n, last := 1, set[0]
		if len(set) > 2 && set[1] == '-' {
			n, last = 3, set[2]
		}
		for m := set[0]; m <= last; m++ {
			if strings.EqualFold(string(m), string(c)) {
				return true
			}
		}
		set = set[n:]
	}
	return false
}

func TestLikeMatchesWhatANaiveMatcherDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.SampledFrom([]string{"a", "b", "A", "ü", "Σ", "-", "%", "%", "_", "[ab]", "[^ab]", "[a-c]", "[^Ä-Ü]", "[", "]", "[%]", "ς", "aaaaaaaa_", "ab"})
		pattern := strings.Join(rapid.SliceOfN(piece, 0, 9).Draw(t, "pattern"), "")
		char := rapid.SampledFrom([]string{"a", "b", "B", "c", "ü", "Ü", "σ", "-", "[", "%", "_", "aaaaaaaa"})
		text := strings.Join(rapid.SliceOfN(char, 0, 9).Draw(t, "text"), "")
		if got, want := wql.CompileLike(pattern).Match(wql.Fold(text)), naive([]rune(pattern), []rune(text)); got != want {
			t.Fatalf("%q like %q is %v, want %v", text, pattern, got, want)
		}
	})
}

// A matcher that goes back would not be done with these in a lifetime.
func TestLikeDoesNotGoBack(t *testing.T) {
	as := strings.Repeat("a", 4096)
	for _, pattern := range []string{
		strings.Repeat("%a", 500) + "b",
		strings.Repeat("%a_", 300) + "b%",
		"%" + strings.Repeat("a_", 500) + "b%",
		"%" + strings.Repeat("[a-f]", 200) + "b%",
		strings.Repeat("%_", 500) + "%b%",
	} {
		p := wql.CompileLike(pattern)
		for range 100 {
			if p.Match(as) {
				t.Errorf("%.40s… matches", pattern)
			}
		}
		if !p.Match(as+"b"+as) && pattern[len(pattern)-1] == '%' {
			t.Errorf("%.40s… does not match", pattern)
		}
	}
}

func FuzzLike(f *testing.F) {
	for _, s := range []string{"%a[b-d]_", "[", "[^]", "%%%_%", "ü[Ä-Ü]%"} {
		f.Add(s, "abücd")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 64 || len(text) > 64 || strings.Count(pattern, "%") > 6 || !utf8.ValidString(pattern) || !utf8.ValidString(text) {
			return
		}
		for _, r := range pattern {
			if r > 0x2fff {
				return // ranges that the naive matcher takes too long for
			}
		}
		if got, want := wql.CompileLike(pattern).Match(wql.Fold(text)), naive([]rune(pattern), []rune(text)); got != want {
			t.Errorf("%q like %q is %v, want %v", text, pattern, got, want)
		}
	})
}
