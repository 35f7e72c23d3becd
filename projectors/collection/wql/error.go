package wql

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The limits of a query.
const (
	MaxText    = 32 << 10 // bytes of a query
	MaxDepth   = 64       // parentheses, nots, functions and sub-selects inside each other
	MaxJoins   = 16       // of one select
	MaxList    = 4096     // constants behind in
	MaxColumns = 4096     // of one select list
	MaxName    = 128      // bytes of a name
	MaxPattern = 1024     // bytes of a pattern behind like
)

// An Error says where a query is wrong and why.
type Error struct {
	Pos     Pos    // where, in bytes from 0
	Line    int    // the line of it, from 1
	Column  int    // the character in the line, from 1
	Message string // what is wrong, a plain sentence
}

// Error returns "line 1, column 34: " and the message.
func (e *Error) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// place makes the error of a place in a text.
func place(text string, pos Pos, message string) *Error {
	pos = min(pos, Pos(len(text)))
	before := text[:pos]
	line := strings.LastIndexByte(before, '\n') + 1
	return &Error{
		Pos:     pos,
		Line:    strings.Count(before, "\n") + 1,
		Column:  utf8.RuneCountInString(before[line:]) + 1,
		Message: message,
	}
}
