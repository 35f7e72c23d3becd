package engine

import (
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// ofNumber is a condition on a ResourceID: the device's number, or NULL if an outer
// join found no row.
func (c *compiler) ofNumber(e wql.Expr, k wql.Column, want Truth) (*form, error) {
	o := &c.sources[k.Source]
	if isNull, ok := e.(*wql.IsNull); ok && isColumn(isNull.Operand) {
		missing := (want == True) != isNull.Not
		switch {
		case !o.outer:
			return boolForm(!missing), nil
		case o.many && missing:
			return &form{kind: formNull, rows: 1 << k.Source}, nil
		case o.many:
			return &form{kind: formReal, rows: 1 << k.Source}, nil
		case missing:
			return c.nodeForm(c.p.not(o.here)), nil
		}
		return c.nodeForm(o.here), nil
	}
	id, err := c.numberNode(e, want)
	if err != nil {
		return nil, err
	}
	f := c.nodeForm(id)
	switch {
	case !o.outer:
		return f, nil
	case o.many:
		return allOf(f, &form{kind: formReal, rows: 1 << k.Source}), nil
	}
	return allOf(f, c.nodeForm(o.here)), nil
}

func isColumn(o wql.Operand) bool {
	_, ok := o.(wql.Column)
	return ok
}

func boolForm(is bool) *form {
	if is {
		return formTrue
	}
	return formFalse
}

// numberNode is a condition on the number of a device that is there.
func (c *compiler) numberNode(e wql.Expr, want Truth) (int32, error) {
	if q, ok := e.(*wql.InQuery); ok && ofDevice(q.Operand) {
		id, err := c.p.query(q.Query)
		if err != nil {
			return no, err
		}
		if (want == True) == q.Not {
			id = c.p.not(id)
		}
		return id, nil
	}
	k, set := compileTest(e, false, c.p.set)
	if k.flip {
		want = want.not()
	}
	if some, ok := numbersOf(e); ok {
		id := c.p.add(node{kind: nodeDirect, marks: marksOf(some)}, "number "+k.key)
		if want == False {
			id = c.p.not(id)
		}
		return id, nil
	}
	cond := &condition{want: want, test: k.test, set: set}
	return c.p.add(node{kind: nodeNumber, cond: cond}, fmt.Sprintf("number %d %s", want, k.key)), nil
}

// numbersOf returns the devices that a test on the number names, if it does.
func numbersOf(e wql.Expr) (*roaring.Bitmap, bool) {
	set := roaring.New()
	add := func(k wql.Constant) bool {
		if !k.Null && !k.Round && k.Number >= 0 && k.Number <= 1<<32-1 {
			set.Add(uint32(k.Number))
		}
		return !k.Null
	}
	switch e := e.(type) {
	case *wql.In:
		if !isColumn(e.Operand) {
			return nil, false
		}
		for _, k := range e.List {
			if !add(k) {
				return nil, false
			}
		}
		return set, true
	case *wql.Compare:
		if e.Op != wql.Equal && e.Op != wql.NotEqual {
			return nil, false
		}
		l, r := e.Left, e.Right
		if isColumn(r) {
			l, r = r, l
		}
		k, ok := r.(wql.Constant)
		return set, ok && isColumn(l) && add(k)
	}
	return nil, false
}
