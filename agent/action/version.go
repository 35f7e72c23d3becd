package action

import "strings"

// compareVersions orders versions as Debian does, which is right for the other
// systems' numbers too: [EPOCH:]UPSTREAM[-REVISION], each part compared in turns of
// text and number. A tilde comes before everything, even the end; letters come
// before other signs.
func compareVersions(a, b string) int {
	ea, ua, ra := versionParts(a)
	eb, ub, rb := versionParts(b)
	if c := comparePart(ea, eb); c != 0 {
		return c
	}
	if c := comparePart(ua, ub); c != 0 {
		return c
	}
	return comparePart(ra, rb)
}

func versionParts(v string) (epoch, upstream, revision string) {
	if at := strings.IndexByte(v, ':'); at >= 0 {
		epoch, v = v[:at], v[at+1:]
	}
	if at := strings.LastIndexByte(v, '-'); at >= 0 {
		return epoch, v[:at], v[at+1:]
	}
	return epoch, v, ""
}

func comparePart(a, b string) int {
	for a != "" || b != "" {
		for a != "" && !digit(a[0]) || b != "" && !digit(b[0]) {
			if wa, wb := weight(a), weight(b); wa != wb {
				return sign(wa - wb)
			}
			a, b = tail(a), tail(b)
		}
		var na, nb string
		na, a = number(a)
		nb, b = number(b)
		if len(na) != len(nb) {
			return sign(len(na) - len(nb))
		}
		if c := strings.Compare(na, nb); c != 0 {
			return c
		}
	}
	return 0
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// weight is the order of the first sign of a text; a digit ends it.
func weight(s string) int {
	switch {
	case s == "" || digit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z':
		return int(s[0])
	}
	return int(s[0]) + 256
}

func tail(s string) string {
	if s == "" || digit(s[0]) {
		return s
	}
	return s[1:]
}

// number cuts the number off the front of s, without leading zeros.
func number(s string) (n, rest string) {
	end := 0
	for end < len(s) && digit(s[end]) {
		end++
	}
	return strings.TrimLeft(s[:end], "0"), s[end:]
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
