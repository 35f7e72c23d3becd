package advice

import (
	"strings"
	"unicode"

	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// wildcards speaks of underscores in patterns that look as if they were meant as
// such: single ones between letters, or between a letter and a digit or a %.
func (r *reader) wildcards() {
	var remarks []remark
	e := newEdit()
	for q := range subQueries(r.q) {
		for leaf := range leaves(q) {
			like, ok := leaf.(*wql.Like)
			if !ok {
				continue
			}
			literal := bracketed(like.Pattern)
			if literal == like.Pattern {
				continue
			}
			c := *like
			c.Pattern = literal
			e.leaves[like] = &c
			remarks = append(remarks, remark{like.Pos, "in " + shown(q, like) + " the underscore stands for any character"})
		}
	}
	r.say(wildcard, remarks, e)
}

// bracketed puts those underscores of a pattern in brackets that are probably meant
// as such.
func bracketed(pattern string) string {
	runes := []rune(pattern)
	at := func(i int) rune {
		if i < 0 || i >= len(runes) {
			return 0
		}
		return runes[i]
	}
	var b strings.Builder
	inSet := false
	for i, c := range runes {
		switch {
		case inSet:
			inSet = c != ']'
		case c == '[':
			inSet = true
		case c == '_' && literal(at(i-1), at(i+1)):
			b.WriteString("[_]")
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

// literal tells whether an underscore between two characters is probably one: it is
// in the middle of a word.
func literal(before, after rune) bool {
	word := func(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) }
	switch {
	case !word(before):
		return false
	case unicode.IsDigit(before) && unicode.IsDigit(after):
		return false
	}
	return word(after) || after == '%' && unicode.IsLetter(before)
}
