package advice

import (
	"fmt"
	"strings"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// textOrder speaks of <, <=, > and >= between a text and what looks like a number or
// a version.
func (r *reader) textOrder() {
	var remarks []remark
	e, whole := newEdit(), true
	for q := range subQueries(r.q) {
		for leaf := range leaves(q) {
			compare, ok := leaf.(*wql.Compare)
			if !ok {
				continue
			}
			column, op, constant, ok := constantOf(compare)
			if !ok || op < wql.Less || constant.Of != schema.Text || !isVersion(constant.Text) {
				continue
			}
			remarks = append(remarks, remark{compare.Pos, shown(q, compare) + " compares texts, not numbers"})
			if better := asVersion(column, op, constant.Text, compare.Pos); better != nil {
				e.leaves[compare] = better
			} else {
				whole = false
			}
		}
	}
	if !whole {
		e = nil
	}
	r.say(textOrder, remarks, e)
}

// isVersion tells whether a text is digits, with dots between them or not. One of
// eight digits that looks like a day sorts well as a text.
func isVersion(s string) bool {
	if len(s) == 8 && (strings.HasPrefix(s, "19") || strings.HasPrefix(s, "20")) && !strings.Contains(s, ".") {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || strings.Trim(part, "0123456789") != "" {
			return false
		}
	}
	return true
}

// Bounds of a proposal.
const (
	maxPatterns = 48
	maxVersion  = 64 // bytes of a version
)

// asVersion compares a text with a version by the numbers between its dots: with
// patterns for all that is below. What is longer is above: 7.6 is below 7.6.0. nil
// if it took too many patterns. What does not begin with a digit is neither below
// nor above.
func asVersion(o wql.Operand, op wql.Op, version string, pos wql.Pos) wql.Expr {
	if c, ok := columnOf(o); !ok || c.List || len(version) > maxVersion {
		return nil
	}
	patterns := below(version)
	if op == wql.LessEqual || op == wql.Greater {
		patterns = append(patterns, version)
	}
	if len(patterns) > maxPatterns {
		return nil
	}
	under := make([]wql.Expr, len(patterns))
	for i, p := range patterns {
		under[i] = like(o, p, pos)
	}
	switch op {
	case wql.Less, wql.LessEqual:
		if len(under) == 0 {
			return nil
		}
		return anyOf(under, pos)
	}
	all := []wql.Expr{like(o, "[0-9]%", pos)}
	if len(under) > 0 {
		all = append(all, &wql.Not{Term: anyOf(under, pos), Pos: pos})
	}
	return allOf(all, pos)
}

// like is a condition; a pattern without wildcards is plainly equal.
func like(o wql.Operand, pattern string, pos wql.Pos) wql.Expr {
	if !strings.ContainsAny(pattern, "%_[") {
		return &wql.Compare{Op: wql.Equal, Left: o, Right: wql.Constant{Of: schema.Text, Text: pattern}, Pos: pos}
	}
	return &wql.Like{Operand: o, Pattern: pattern, Pos: pos}
}

func anyOf(terms []wql.Expr, pos wql.Pos) wql.Expr {
	if len(terms) == 1 {
		return terms[0]
	}
	return &wql.Or{Terms: terms, Pos: pos}
}

func allOf(terms []wql.Expr, pos wql.Pos) wql.Expr {
	if len(terms) == 1 {
		return terms[0]
	}
	return &wql.And{Terms: terms, Pos: pos}
}

// below returns patterns for all versions below one.
func below(version string) (all []string) {
	parts := strings.Split(version, ".")
	for i, part := range parts {
		before := strings.Join(parts[:i], ".")
		if i > 0 {
			all = append(all, before)
			before += "."
		}
		for _, p := range numbersBelow(part) {
			all = append(all, before+p, before+p+".%")
		}
	}
	return all
}

// numbersBelow returns patterns for all numbers below one, as they are written
// without zeros before them.
func numbersBelow(number string) (all []string) {
	digits := strings.TrimLeft(number, "0")
	for n := 1; n < len(digits); n++ {
		all = append(all, ofLength(n))
	}
	for i := range len(digits) {
		least := byte('0')
		if i == 0 && len(digits) > 1 {
			least = '1'
		}
		if digits[i] > least {
			all = append(all, digits[:i]+set(least, digits[i]-1)+strings.Repeat("[0-9]", len(digits)-i-1))
		}
	}
	return all
}

// ofLength is a pattern for the numbers of n digits.
func ofLength(n int) string {
	if n == 1 {
		return "[0-9]"
	}
	return "[1-9]" + strings.Repeat("[0-9]", n-1)
}

// set is a pattern for the digits from low to high.
func set(low, high byte) string {
	if low == high {
		return string(low)
	}
	return fmt.Sprintf("[%c-%c]", low, high)
}
