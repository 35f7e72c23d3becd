package wql

import "github.com/bugle-fleet/bugle/projectors/collection/schema"

// A Query is a query that was parsed and checked: all its names are known, all its
// types agree. Nobody changes it.
type Query struct {
	Text     string   // as it was written
	Sources  []Source // the class behind from, then the joined ones in order
	Columns  []Column // of the select list; nil means all of the first source
	Distinct bool
	Where    Expr // nil: no condition

	Clock bool     // it asks for the time, so its answer may change by itself
	Uses  []string // ids of the collections that it names, in upper case, sorted, each once
}

// A Source is a class that a query reads. The first is that behind from.
type Source struct {
	Class      *schema.Class // nil if Collection is set
	Collection string        // SMS_CM_RES_COLL_<id>: the id; its only column is ResourceID
	Alias      string        // as the query names it
	Outer      bool          // left outer join: no row is a row of NULLs
	// On of a joined source: an equation of ResourceID with an earlier source's is
	// On == nil; further conditions of a join stand in On.
	On  Expr
	Pos Pos
}

// A Pos is a place in the text of a query, in bytes from 0.
type Pos int

// An Expr is a condition: true, false or unknown for a row of the joined sources.
type Expr interface{ Position() Pos }

// And is true if all are. It has at least two.
type And struct {
	Terms []Expr
	Pos   Pos
}

// Or is true if one is. It has at least two.
type Or struct {
	Terms []Expr
	Pos   Pos
}

// Not is true if Term is false.
type Not struct {
	Term Expr
	Pos  Pos
}

// An Op is a comparison.
type Op uint8

// The comparisons.
const (
	Equal Op = iota + 1
	NotEqual
	Less
	LessEqual
	Greater
	GreaterEqual
)

// Compare compares two operands of the same type; text without regard to case. If
// one is a list, some value of it must compare so.
type Compare struct {
	Op          Op
	Left, Right Operand
	Pos         Pos
}

// Like matches a text with a pattern.
type Like struct {
	Operand Operand
	Pattern string // as written: % _ [a-f] [^set]
	Not     bool
	Pos     Pos
}

// In tells whether a list of constants holds the operand.
type In struct {
	Operand Operand
	List    []Constant
	Not     bool
	Pos     Pos
}

// InQuery tells whether a query's only column holds the operand's value. If the
// operand is a ResourceID, so is the column: then it asks whether the device is among
// those that the query selects.
type InQuery struct {
	Operand Operand
	Query   *Query
	Not     bool
	Pos     Pos
}

// IsNull tells whether there is no value. It is never unknown.
type IsNull struct {
	Operand Operand
	Not     bool
	Pos     Pos
}

// Position implements Expr.
func (e *And) Position() Pos     { return e.Pos }
func (e *Or) Position() Pos      { return e.Pos }
func (e *Not) Position() Pos     { return e.Pos }
func (e *Compare) Position() Pos { return e.Pos }
func (e *Like) Position() Pos    { return e.Pos }
func (e *In) Position() Pos      { return e.Pos }
func (e *InQuery) Position() Pos { return e.Pos }
func (e *IsNull) Position() Pos  { return e.Pos }

// An Operand is a value of a row: [Column], [Constant], [Call], [Now].
type Operand interface {
	Type() schema.Type
	Position() Pos
}

// A Column is a property of a source. ResourceID has Property -1 and is a number.
type Column struct {
	Source   int // index into the query's Sources
	Property int // index into the class's Properties, or -1 for ResourceID
	List     bool
	Of       schema.Type
	Pos      Pos
}

// A Constant is a value that was written down, turned into the type of what it is
// compared with.
type Constant struct {
	Of     schema.Type
	Text   string // of Text
	Number int64  // of Number and Bool; of Date Unix milliseconds
	// Round tells of a number that was written with a fraction: Number is the one
	// below it. "< 2.5" is "<= 2", "= 2.5" is never true.
	Round bool
	Null  bool // no value; never of a query that Parse returns, which refuses it
	Pos   Pos
}

// Now is GetDate(), the time of the evaluation, a Date.
type Now struct{ Pos Pos }

// A Function is one of those that WQL has.
type Function uint8

// The functions.
const (
	Upper     Function = iota + 1 // text
	Lower                         // text
	Substring                     // text, from (counted from 1), length
	DatePart                      // part, date: a number
	DateDiff                      // part, date, date: how many boundaries of the part lie between
	DateAdd                       // part, number, date
)

// A Part is a part of a date.
type Part uint8

// The parts, with the names that DateDiff takes for them.
const (
	Year        Part = iota + 1 // year yy yyyy
	Quarter                     // quarter qq q
	Month                       // month mm m
	DayOfYear                   // dayofyear dy y
	Day                         // day dd d
	Week                        // week wk ww: begins on Sunday
	Weekday                     // weekday dw: Sunday is 1
	Hour                        // hour hh
	Minute                      // minute mi n
	Second                      // second ss s
	Millisecond                 // millisecond ms
)

// A Call is a function of operands.
type Call struct {
	Function Function
	Part     Part // of DatePart, DateDiff and DateAdd
	Args     []Operand
	Pos      Pos
}

// Type implements Operand.
func (c Column) Type() schema.Type   { return c.Of }
func (c Constant) Type() schema.Type { return c.Of }
func (Now) Type() schema.Type        { return schema.Date }

// Type of a call is that of what it returns.
func (c *Call) Type() schema.Type {
	switch c.Function {
	case Upper, Lower, Substring:
		return schema.Text
	case DateAdd:
		return schema.Date
	}
	return schema.Number
}

// Position implements Operand.
func (c Column) Position() Pos   { return c.Pos }
func (c Constant) Position() Pos { return c.Pos }
func (n Now) Position() Pos      { return n.Pos }
func (c *Call) Position() Pos    { return c.Pos }
