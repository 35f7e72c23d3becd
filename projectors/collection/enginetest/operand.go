package enginetest

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A scalar is a value that is not NULL: a text, or a number, which is half as much
// again above it if half is set.
type scalar struct {
	text   bool
	s      string
	number int64
	half   bool
}

func (v scalar) folded() string { return wql.Fold(v.s) }

// order is below, at or above 0, as a is to b.
func order(a, b scalar) int {
	if a.text != b.text {
		panic("a text is compared with a number")
	}
	if a.text {
		return strings.Compare(a.folded(), b.folded())
	}
	return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(halves(a), halves(b)))
}

func halves(v scalar) int {
	if v.half {
		return 1
	}
	return 0
}

func number(n int64) []scalar { return []scalar{{number: n}} }
func text(s string) []scalar  { return []scalar{{text: true, s: s}} }

// operand is the values of one: none for NULL, several of a list.
func (r row) operand(o wql.Operand) []scalar {
	switch o := o.(type) {
	case wql.Column:
		return r.column(o)
	case wql.Constant:
		return constant(o)
	case wql.Now:
		return number(r.now.UnixMilli())
	case *wql.Call:
		return r.call(o)
	}
	panic(fmt.Sprintf("operand %T", o))
}

func constant(c wql.Constant) []scalar {
	switch {
	case c.Null:
		return nil
	case c.Of == schema.Text:
		return text(c.Text)
	}
	return []scalar{{number: c.Number, half: c.Round}}
}

func (r row) column(c wql.Column) []scalar {
	cell := r.cells[c.Source]
	switch {
	case cell.null:
		return nil
	case c.Property < 0:
		return number(int64(r.device))
	case c.Property >= len(cell.values):
		return nil
	}
	v := cell.values[c.Property]
	switch {
	case !v.Set:
		return nil
	case c.List:
		var all []scalar
		for _, s := range v.List {
			all = append(all, text(s)...)
		}
		return all
	case c.Of == schema.Text:
		return text(v.Text)
	}
	return number(v.Number)
}

// call is what a function makes of its operands; it is NULL if one of them is.
func (r row) call(c *wql.Call) (result []scalar) {
	args := make([][]scalar, len(c.Args))
	for i, a := range c.Args {
		if args[i] = r.operand(a); len(args[i]) == 0 {
			return nil
		}
	}
	for _, v := range args[0] { // only texts come as lists, and they come first
		result = append(result, apply(c, v, args)...)
	}
	return result
}

func apply(c *wql.Call, first scalar, args [][]scalar) []scalar {
	switch c.Function {
	case wql.Upper:
		return text(strings.ToUpper(first.s))
	case wql.Lower:
		return text(strings.ToLower(first.s))
	case wql.Substring:
		return text(substring(first.s, args[1][0].number, args[2][0].number))
	case wql.DatePart:
		return number(datePart(c.Part, instant(first.number)))
	case wql.DateDiff:
		return number(dateDiff(c.Part, instant(first.number), instant(args[1][0].number)))
	case wql.DateAdd:
		return number(dateAdd(c.Part, first.number, instant(args[1][0].number)).UnixMilli())
	}
	panic(fmt.Sprintf("function %d", c.Function))
}

func instant(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// substring is the characters from a place on, counted from 1; places before the first
// count, but hold nothing.
func substring(s string, from, length int64) string {
	var b strings.Builder
	place := int64(0)
	for _, c := range s {
		if place++; place >= from && place-from < length {
			b.WriteRune(c)
		}
	}
	return b.String()
}
