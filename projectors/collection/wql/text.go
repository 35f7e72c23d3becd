package wql

import (
	"unicode/utf8"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// Fold is the one folding that texts are compared by: two texts are equal for WQL
// exactly if their foldings are. See [schema.Fold].
func Fold(s string) string { return schema.Fold(s) }

// SubstringOf returns the characters of a text from the one at from on, which is
// counted from 1, length of them: it is what substring is. What lies before the first
// character or behind the last is empty; so is a length below 0.
func SubstringOf(s string, from, length int64) string {
	if length <= 0 {
		return ""
	}
	if from < 1 {
		// What lies before the text takes part of the length. from+length is not
		// beyond 64 bits, for one is positive and the other is not.
		if length += from - 1; length <= 0 {
			return ""
		}
		from = 1
	}
	return s[runes(s, from-1):][:runes(s[runes(s, from-1):], length)]
}

// runes returns the bytes that the first n characters take.
func runes(s string, n int64) int {
	i := 0
	for ; n > 0 && i < len(s); n-- {
		_, size := utf8.DecodeRuneInString(s[i:])
		i += size
	}
	return i
}
