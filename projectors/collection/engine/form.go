package engine

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// A formKind is what a form is.
type formKind uint8

const (
	formNo formKind = iota
	formYes
	formNode  // a node: what the device is
	formRow   // a condition on a column of one source's row
	formEach  // a condition on several columns of one source's row
	formNull  // the row is that of an outer join that found none
	formReal  // it is not
	formMixed // a condition on rows of several sources
	formAnd
	formOr
)

// A form is what makes a condition true, without negations: for SQL's three truths,
// "not (a and b)" is true exactly if a is false or b is false, and being false is
// only another thing that can be asked of a condition. So there are no negations
// left, and "some combination of rows" can be moved inwards.
type form struct {
	kind   formKind
	kids   []*form
	node   int32
	cond   *condition
	col    *column
	each   *rowEach
	rows   uint64 // sources with many rows that it asks
	device bool   // it asks what does not depend on those rows
}

var formFalse, formTrue = &form{kind: formNo}, &form{kind: formYes}

// allOf and oneOf are the and and the or of forms.
func allOf(kids ...*form) *form { return joinForms(formAnd, formYes, formNo, kids) }
func oneOf(kids ...*form) *form { return joinForms(formOr, formNo, formYes, kids) }

func joinForms(k, neutral, final formKind, kids []*form) *form {
	f := &form{kind: k}
	for _, x := range kids {
		switch x.kind {
		case neutral:
			continue
		case final:
			return x
		case k:
			f.kids = append(f.kids, x.kids...)
		default:
			f.kids = append(f.kids, x)
		}
		f.rows |= x.rows
		f.device = f.device || x.device
	}
	switch len(f.kids) {
	case 0:
		if k == formAnd {
			return formTrue
		}
		return formFalse
	case 1:
		return f.kids[0]
	}
	return f
}

// mixed tells whether a form needs to see rows of several sources at once, or a row
// and the device.
func (f *form) mixed() bool { return bits.OnesCount64(f.rows) > 1 || f.rows != 0 && f.device }

// conjuncts are the forms that all have to be true.
func (f *form) conjuncts() []*form {
	if f.kind == formAnd {
		return f.kids
	}
	return []*form{f}
}

// kept tells what a form of one source is for a row, from the answers that are kept.
func (f *form) kept(row uint32) bool {
	switch f.kind {
	case formYes, formReal:
		return true
	case formRow:
		return f.cond.batch.words[f.col.at(row)]>>f.cond.bit&1 != 0
	case formEach:
		return f.each.is(row, 0)
	case formAnd:
		for _, k := range f.kids {
			if !k.kept(row) {
				return false
			}
		}
		return true
	case formOr:
		for _, k := range f.kids {
			if k.kept(row) {
				return true
			}
		}
	}
	return false
}

// fresh is kept without kept answers where there are none.
func (f *form) fresh(row uint32, now int64) bool {
	switch f.kind {
	case formYes, formReal:
		return true
	case formRow:
		if f.cond.batch != nil {
			return f.kept(row)
		}
		return f.cond.truth(f.col.at(row), now) == f.cond.want
	case formEach:
		return f.each.is(row, now)
	case formAnd:
		for _, k := range f.kids {
			if !k.fresh(row, now) {
				return false
			}
		}
		return true
	case formOr:
		for _, k := range f.kids {
			if k.fresh(row, now) {
				return true
			}
		}
	}
	return false
}

// ofNull tells what it is for the row of NULLs of an outer join.
func (f *form) ofNull() bool {
	switch f.kind {
	case formYes, formNull:
		return true
	case formRow:
		return f.cond.null == f.cond.want
	case formEach:
		return f.each.is(0, 0)
	case formAnd:
		return !slices.ContainsFunc(f.kids, func(k *form) bool { return !k.ofNull() })
	case formOr:
		return slices.ContainsFunc(f.kids, (*form).ofNull)
	}
	return false
}

// still tells whether the answer for a row stays while the row does.
func (f *form) still() bool {
	switch f.kind {
	case formRow:
		return !f.cond.volatile()
	case formEach:
		return !f.each.volatile
	}
	return !slices.ContainsFunc(f.kids, func(k *form) bool { return !k.still() })
}

// key is the same for equal forms of one source.
func (f *form) key() string {
	switch f.kind {
	case formRow:
		return strconv.FormatUint(f.cond.id, 36)
	case formEach:
		return f.each.key
	case formAnd, formOr:
		keys := make([]string, len(f.kids))
		for i, k := range f.kids {
			keys[i] = k.key()
		}
		slices.Sort(keys)
		return string("&|"[f.kind-formAnd]) + "(" + strings.Join(slices.Compact(keys), ",") + ")"
	}
	return "!" + strconv.Itoa(int(f.kind))
}

// conditions yields those in it.
func (f *form) conditions(yield func(*condition)) {
	if f.kind == formRow {
		yield(f.cond)
	}
	for _, k := range f.kids {
		k.conditions(yield)
	}
}
