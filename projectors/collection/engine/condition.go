package engine

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A condition asks whether a test of one column's value comes out as wanted: true,
// or false. (Both can fail: then it is unknown.) Equal ones are one, whoever asks.
type condition struct {
	id   uint64
	key  string
	dict *dictionary
	want Truth
	null Truth // what the test is for NULL
	test test

	clock *clock    // of one that asks for the time
	set   *valueSet // of one that asks for what an inner query selects
	uses  int       // plans that have it

	// Of all others: where the answers are.
	batch *batch
	bit   uint8
}

// A test is what a value that is not NULL makes of a condition.
type test func(v scalar, now int64) Truth

// volatile tells whether the answer can change while the value stays.
func (c *condition) volatile() bool { return c.clock != nil || c.set != nil }

// answer implements asked.
func (c *condition) answer(code uint32) bool {
	if c.dict.kind == ofTexts && code != null {
		return c.test(scalar{text: c.dict.texts[code]}, 0) == c.want
	}
	return c.truth(code, 0) == c.want
}

// truth of the test for a code.
func (c *condition) truth(code uint32, now int64) Truth {
	if code == null {
		return c.null
	}
	switch c.dict.kind {
	case ofNumbers:
		return c.test(scalar{number: c.dict.numbers[code]}, now)
	case ofTexts:
		return c.test(scalar{text: c.dict.texts[code]}, now)
	}
	t := False
	for _, v := range c.dict.lists[code] {
		t = t.or(c.test(scalar{text: c.dict.values.texts[v]}, now))
	}
	return t
}

// element answers for a text in lists.
type element struct{ *condition }

func (c element) answer(code uint32) bool {
	return code != null && c.test(scalar{text: c.dict.values.texts[code]}, 0) == c.want
}

// A keyed test is one with the words that make equal ones equal.
type keyed struct {
	test test
	key  string
	null Truth
	flip bool // the key and the test are those of the negation
}

// condition returns one of a dictionary's values, the one that is there or a new one.
// ids numbers new ones.
func (d *dictionary) condition(k keyed, want Truth, ids *uint64) *condition {
	if k.flip {
		want = want.not()
	}
	key := want.String()[:1] + k.key
	if c := d.asked[key]; c != nil {
		return c
	}
	*ids++
	c := &condition{id: *ids, key: key, dict: d, want: want, null: k.null, test: k.test}
	d.asked[key] = c
	return c
}

// settle gives a condition its place among the answers. It is volatile or not by
// now.
func (c *condition) settle() {
	if c.uses++; c.uses > 1 || c.volatile() {
		return
	}
	d := c.dict
	// False for a list is false for all its values.
	c.batch, c.bit = d.answers.add(c, c.want == False)
	if d.kind == ofLists {
		c.batch.inner, _ = d.values.answers.add(element{c}, false)
	}
}

// leave is the opposite of settle.
func (c *condition) leave() {
	if c.uses--; c.uses > 0 {
		return
	}
	delete(c.dict.asked, c.key)
	if c.batch != nil {
		if c.dict.kind == ofLists {
			c.dict.values.answers.drop(c.batch.inner, c.bit)
		}
		c.dict.answers.drop(c.batch, c.bit)
	}
}

// listWord computes bits of a list's word from those of its values.
func (d *dictionary) listWord(b *batch, code uint32, want uint64) uint64 {
	if code == null {
		return ask(b, code, want)
	}
	one, all := uint64(0), ^uint64(0)
	for _, v := range d.lists[code] {
		w := b.inner.words[v]
		one |= w
		all &= w
	}
	return (one&^b.every | all&b.every) & want
}

// compileTest turns a condition with one column in one place into a test. list says
// that the column holds several values. Its negation is not a test of its own if it
// can be helped.
func compileTest(e wql.Expr, list bool, set func(*wql.InQuery) *valueSet) (keyed, *valueSet) {
	switch e := e.(type) {
	case *wql.Compare:
		return compileCompare(e, list), nil
	case *wql.Like:
		p := wql.CompileLike(e.Pattern)
		value, key := compileOperand(e.Operand)
		k := keyed{null: Unknown, key: key + " like " + wql.Fold(e.Pattern)}
		k.test = func(v scalar, now int64) Truth {
			x, ok := value(v, now)
			if !ok {
				return Unknown
			}
			return truthOf(p.Match(x.text))
		}
		if _, plain := e.Operand.(wql.Column); plain {
			k.test = func(v scalar, _ int64) Truth { return truthOf(p.Match(v.text)) }
		}
		return k.negated(e.Not, list), nil
	case *wql.In:
		return compileIn(e).negated(e.Not, list), nil
	case *wql.IsNull:
		value, key := compileOperand(e.Operand)
		k := keyed{null: True, key: key + " is null"}
		k.test = func(v scalar, now int64) Truth {
			_, ok := value(v, now)
			return truthOf(!ok)
		}
		if e.Not {
			k.flip = true
		}
		return k, nil
	case *wql.InQuery:
		value, key := compileOperand(e.Operand)
		s := set(e)
		k := keyed{null: Unknown, key: fmt.Sprintf("%s in set %d", key, s.id)}
		text := e.Operand.Type() == schema.Text
		k.test = func(v scalar, now int64) Truth {
			x, ok := value(v, now)
			if !ok {
				return Unknown
			}
			return s.has(x, text)
		}
		return k.negated(e.Not, list), s
	}
	return keyed{key: fmt.Sprintf("%T", e), null: Unknown, test: func(scalar, int64) Truth { return Unknown }}, nil
}

// negated is k, or its negation if not is set. Of a list it is another test: one
// that some value has to pass.
func (k keyed) negated(not, list bool) keyed {
	switch {
	case !not:
	case !list:
		k.flip = true
	default:
		plain := k.test
		k.key = "not " + k.key
		k.test = func(v scalar, now int64) Truth { return plain(v, now).not() }
	}
	return k
}

func compileCompare(e *wql.Compare, list bool) keyed {
	op := e.Op
	left, lkey := compileOperand(e.Left)
	right, rkey := compileOperand(e.Right)
	if _, swapped := e.Left.(wql.Constant); swapped {
		left, right, lkey, rkey, op = right, left, rkey, lkey, mirrored(op)
	}
	text := e.Left.Type() == schema.Text
	flip := false
	if !list {
		switch op { // the same test as its opposite's
		case wql.NotEqual:
			op, flip = wql.Equal, true
		case wql.GreaterEqual:
			op, flip = wql.Less, true
		case wql.LessEqual:
			op, flip = wql.Greater, true
		}
	}
	k := keyed{null: Unknown, flip: flip, key: lkey + " " + strconv.Itoa(int(op)) + " " + rkey}
	k.test = func(v scalar, now int64) Truth {
		a, ok := left(v, now)
		if !ok {
			return Unknown
		}
		b, ok := right(v, now)
		if !ok {
			return Unknown
		}
		return truthOf(holds(op, order3(a, b, text)))
	}
	if want, ok := right(scalar{}, 0); ok && text && op == wql.Equal && lkey == "x" && isConstant(e) {
		k.test = func(v scalar, _ int64) Truth { return truthOf(v.text == want.text) }
	}
	return k
}

func isConstant(e *wql.Compare) bool {
	_, l := e.Left.(wql.Constant)
	_, r := e.Right.(wql.Constant)
	return l || r
}

// mirrored is the comparison with its sides exchanged.
func mirrored(op wql.Op) wql.Op {
	switch op {
	case wql.Less:
		return wql.Greater
	case wql.LessEqual:
		return wql.GreaterEqual
	case wql.Greater:
		return wql.Less
	case wql.GreaterEqual:
		return wql.LessEqual
	}
	return op
}

func compileIn(e *wql.In) keyed {
	value, key := compileOperand(e.Operand)
	text := e.Operand.Type() == schema.Text
	texts, numbers, hasNull := map[string]bool{}, map[int64]bool{}, false
	var b strings.Builder
	for _, c := range e.List {
		v, ok := constant(c)
		b.WriteString(constantKey(c))
		switch {
		case !ok:
			hasNull = true
		case text:
			texts[v.text] = true
		case !v.half:
			numbers[v.number] = true
		}
	}
	no := False
	if hasNull {
		no = Unknown
	}
	k := keyed{null: Unknown, key: key + " in " + b.String()}
	k.test = func(v scalar, now int64) Truth {
		x, ok := value(v, now)
		if !ok {
			return Unknown
		}
		if text && texts[x.text] || !text && numbers[x.number] {
			return True
		}
		return no
	}
	return k
}

func constantKey(c wql.Constant) string {
	v, ok := constant(c)
	switch {
	case !ok:
		return "null,"
	case c.Of == schema.Text:
		return strconv.Quote(v.text) + ","
	}
	return fmt.Sprintf("%d%t,", v.number, v.half)
}

// A function is the value of an operand, false if it is NULL. v is the column's.
type function func(v scalar, now int64) (scalar, bool)

// compileOperand returns the function and words for it; "x" is the column itself.
func compileOperand(o wql.Operand) (function, string) {
	switch o := o.(type) {
	case wql.Column:
		return func(v scalar, _ int64) (scalar, bool) { return v, true }, "x"
	case wql.Constant:
		c, ok := constant(o)
		return func(scalar, int64) (scalar, bool) { return c, ok }, constantKey(o)
	case wql.Now:
		return func(_ scalar, now int64) (scalar, bool) { return scalar{number: now}, true }, "now"
	case *wql.Call:
		return compileCall(o)
	}
	return func(scalar, int64) (scalar, bool) { return scalar{}, false }, "null"
}

func compileCall(o *wql.Call) (function, string) {
	args := make([]function, len(o.Args))
	key := fmt.Sprintf("%d.%d(", o.Function, o.Part)
	for i, a := range o.Args {
		var k string
		args[i], k = compileOperand(a)
		key += k + ";"
	}
	return func(v scalar, now int64) (scalar, bool) {
		var values [4]scalar
		if len(args) == 0 || len(args) > len(values) {
			return scalar{}, false
		}
		for i, a := range args {
			x, ok := a(v, now)
			if !ok {
				return scalar{}, false
			}
			values[i] = x
		}
		return call(o, values[0], values[1:len(args)]), true
	}, key + ")"
}
