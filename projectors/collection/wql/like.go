package wql

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Pattern is that of a like, ready to match. It may be used by several at a time.
type Pattern struct {
	first, last *piece   // what the text begins and ends with; nil: anything
	middle      []*piece // what lies between them, in this order
	whole       bool     // first is all of it: no %
	least       int      // bytes that a text has at least
}

// A piece is what stands between two %.
type piece struct {
	text  string    // if it is a plain text
	elems []element // else
	// Of a piece in the middle, bit i of small[c] tells whether element i takes the
	// character c of ASCII: the piece is looked for in all places at once. Of one with
	// more than 8 elements these are the bits of words in large.
	small *[utf8.RuneSelf]uint8
	large []uint64
	words int
}

// An element takes one character.
type element struct {
	any bool // _
	set *set // [a-f], or nil
	r   rune // else: this one, folded
}

// A set is what stands in brackets.
type set struct {
	not    bool
	ranges [][2]rune
	ascii  [2]uint64 // bit c: the set takes character c of ASCII
}

// CompileLike reads a pattern. It folds it; Parse has refused those that are wrong,
// and a bracket that nothing closes, if there is one all the same, stands for itself.
func CompileLike(pattern string) *Pattern {
	var pieces []*piece
	now := &piece{}
	for i := 0; i < len(pattern); {
		c, n := utf8.DecodeRuneInString(pattern[i:])
		i += n
		switch c {
		case '%':
			pieces = append(pieces, now)
			now = &piece{}
		case '_':
			now.elems = append(now.elems, element{any: true})
		case '[':
			s, n := readSet(pattern[i:])
			i += n
			if s == nil {
				now.elems = append(now.elems, element{r: '['})
				continue
			}
			now.elems = append(now.elems, element{set: s})
		default:
			c, _ = utf8.DecodeRuneInString(Fold(string(c)))
			now.elems = append(now.elems, element{r: c})
		}
	}
	return assemble(append(pieces, now))
}

// assemble makes the pattern of the pieces between its %.
func assemble(pieces []*piece) *Pattern {
	p := &Pattern{whole: len(pieces) == 1}
	for i, s := range pieces {
		if len(s.elems) == 0 && !p.whole {
			continue
		}
		p.least += s.finish(i > 0 && i < len(pieces)-1)
		switch i {
		case 0:
			p.first = s
		case len(pieces) - 1:
			p.last = s
		default:
			p.middle = append(p.middle, s)
		}
	}
	return p
}

// finish prepares a piece and returns the bytes that it takes at least.
func (s *piece) finish(middle bool) (least int) {
	var b strings.Builder
	plain := true
	for _, e := range s.elems {
		if e.any || e.set != nil {
			plain = false
			least++
			continue
		}
		b.WriteRune(e.r)
		least += utf8.RuneLen(e.r)
	}
	if plain {
		s.text, s.elems = b.String(), nil
		return least
	}
	if middle {
		s.index()
	}
	return least
}

// index makes the bits of a piece.
func (s *piece) index() {
	if len(s.elems) <= 8 {
		s.small = new([utf8.RuneSelf]uint8)
	} else {
		s.words = (len(s.elems) + 63) / 64
		s.large = make([]uint64, utf8.RuneSelf*s.words)
	}
	for i := range s.elems {
		for c := range rune(utf8.RuneSelf) {
			switch {
			case !s.elems[i].takes(c):
			case s.small != nil:
				s.small[c] |= 1 << i
			default:
				s.large[int(c)*s.words+i/64] |= 1 << (i % 64)
			}
		}
	}
}

// readSet reads what stands behind a bracket; nil if no bracket closes it.
func readSet(pattern string) (*set, int) {
	shut := strings.IndexByte(pattern, ']')
	if shut < 0 {
		return nil, 0
	}
	in := pattern[:shut]
	s := &set{}
	in, s.not = strings.CutPrefix(in, "^")
	for rs := []rune(in); len(rs) > 0; {
		if len(rs) >= 3 && rs[1] == '-' {
			s.ranges = append(s.ranges, [2]rune{rs[0], rs[2]})
			rs = rs[3:]
			continue
		}
		s.ranges = append(s.ranges, [2]rune{rs[0], rs[0]})
		rs = rs[1:]
	}
	for c := range rune(utf8.RuneSelf) {
		if s.holds(c) != s.not {
			s.ascii[c/64] |= 1 << (c % 64)
		}
	}
	return s, shut + 1
}

// checkPattern says what is wrong with a pattern, "" if nothing is.
func checkPattern(pattern string) string {
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '[' {
			continue
		}
		s, n := readSet(pattern[i+1:])
		if s == nil {
			return "the bracket in the pattern is not closed: write [[] for a bracket"
		}
		if len(s.ranges) == 0 {
			return fmt.Sprintf("the set %s in the pattern has no characters", pattern[i:i+1+n])
		}
		for _, r := range s.ranges {
			if r[0] > r[1] {
				return fmt.Sprintf("the range %c-%c in the pattern goes backwards", r[0], r[1])
			}
		}
		i += n
	}
	return ""
}

// holds tells whether a character, or the same one in another case, is in a set.
func (s *set) holds(c rune) bool {
	f := c
	for {
		for _, r := range s.ranges {
			if r[0] <= f && f <= r[1] {
				return true
			}
		}
		if f = unicode.SimpleFold(f); f == c {
			return false
		}
	}
}

func (e *element) takes(c rune) bool {
	switch {
	case e.any:
		return true
	case e.set == nil:
		return c == e.r
	case c < utf8.RuneSelf:
		return e.set.ascii[c/64]>>(c%64)&1 != 0
	}
	return e.set.holds(c) != e.set.not
}

// Match tells whether a text that was folded with [Fold] matches as a whole. The time
// it takes grows with the length of the text, times that of the pattern by 64.
func (p *Pattern) Match(folded string) bool {
	if len(folded) < p.least {
		return false
	}
	if p.first != nil {
		n := p.first.prefix(folded)
		if n < 0 {
			return false
		}
		folded = folded[n:]
		if p.whole {
			return folded == ""
		}
	}
	if p.last != nil {
		n := p.last.suffix(folded)
		if n < 0 {
			return false
		}
		folded = folded[:len(folded)-n]
	}
	// The first place of each is the best one: it leaves most to the others.
	for _, s := range p.middle {
		n := s.search(folded)
		if n < 0 {
			return false
		}
		folded = folded[n:]
	}
	return true
}

// prefix returns how many bytes at the beginning of a text a piece takes, -1 if it is
// not there.
func (s *piece) prefix(t string) int {
	if s.elems == nil {
		if strings.HasPrefix(t, s.text) {
			return len(s.text)
		}
		return -1
	}
	at := 0
	for i := range s.elems {
		c, n := utf8.DecodeRuneInString(t[at:])
		if n == 0 || !s.elems[i].takes(c) {
			return -1
		}
		at += n
	}
	return at
}

// suffix is prefix at the end of a text.
func (s *piece) suffix(t string) int {
	if s.elems == nil {
		if strings.HasSuffix(t, s.text) {
			return len(s.text)
		}
		return -1
	}
	at := len(t)
	for i := len(s.elems) - 1; i >= 0; i-- {
		c, n := utf8.DecodeLastRuneInString(t[:at])
		if n == 0 || !s.elems[i].takes(c) {
			return -1
		}
		at -= n
	}
	return len(t) - at
}

// search returns where the first place of a piece in a text ends, -1 if it is nowhere.
func (s *piece) search(t string) int {
	if s.elems == nil {
		if i := strings.Index(t, s.text); i >= 0 {
			return i + len(s.text)
		}
		return -1
	}
	if s.small != nil {
		return s.searchSmall(t)
	}
	return s.searchLarge(t)
}

// searchSmall keeps in bit i whether elements 0 to i take the characters up to this
// one.
func (s *piece) searchSmall(t string) int {
	found := uint8(1) << (len(s.elems) - 1)
	var at uint8
	for i := 0; i < len(t); {
		at = at<<1 | 1
		if c := t[i]; c < utf8.RuneSelf {
			at &= s.small[c]
			i++
		} else {
			r, n := utf8.DecodeRuneInString(t[i:])
			at &= uint8(s.bits(r, 0))
			i += n
		}
		if at&found != 0 {
			return i
		}
	}
	return -1
}

// searchLarge does the same in words.
func (s *piece) searchLarge(t string) int {
	at := make([]uint64, s.words)
	last := len(s.elems) - 1
	for i := 0; i < len(t); {
		c, n := utf8.DecodeRuneInString(t[i:])
		i += n
		carry := uint64(1)
		for w := range s.words {
			moved := at[w]<<1 | carry
			carry = at[w] >> 63
			if c < utf8.RuneSelf {
				at[w] = moved & s.large[int(c)*s.words+w]
			} else {
				at[w] = moved & s.bits(c, w)
			}
		}
		if at[last/64]>>(last%64)&1 != 0 {
			return i
		}
	}
	return -1
}

// bits tells which of 64 elements take a character.
func (s *piece) bits(c rune, word int) uint64 {
	var m uint64
	for i := word * 64; i < min(len(s.elems), word*64+64); i++ {
		if s.elems[i].takes(c) {
			m |= 1 << (i - word*64)
		}
	}
	return m
}
