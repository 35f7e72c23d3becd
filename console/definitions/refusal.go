package definitions

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bugle-fleet/bugle/journal/event"
)

// MaxErrors is how many errors of one request are told.
const MaxErrors = 50

// An Error is one thing that does not hold in a request.
type Error struct {
	Path    string `json:"path,omitempty" doc:"what it is about, such as collections[3].queries[0].wql; absent for the whole"`
	Line    int    `json:"line,omitempty" doc:"of a query: the line in its text, from 1"`
	Column  int    `json:"column,omitempty" doc:"of a query: the character in the line, from 1"`
	Message string `json:"message"`
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d, column %d: ", e.Line, e.Column)
	}
	b.WriteString(e.Message)
	return b.String()
}

// A Refusal is why a request is not carried out, at least one error.
type Refusal struct {
	Errors []Error // at most [MaxErrors]
	More   int     // how many more there are
	// Stale says that an IfEvent does not hold: what was to be changed is not what
	// it was when it was read.
	Stale bool
}

func (r *Refusal) Error() string {
	more := len(r.Errors) - 1 + r.More
	if more == 0 {
		return r.Errors[0].Error()
	}
	return fmt.Sprintf("%s (and %d more)", r.Errors[0].Error(), more)
}

// Add tells one more error.
func (r *Refusal) Add(e Error) {
	e.Message = strings.TrimSuffix(e.Message, ".")
	if len(r.Errors) < MaxErrors {
		r.Errors = append(r.Errors, e)
	} else {
		r.More++
	}
}

// checkName tells why a text cannot be the name of a collection.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the collection needs a name")
	case len(name) > event.MaxName:
		return fmt.Errorf("the name has %d bytes, at most %d are taken", len(name), event.MaxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("the name %s has characters that cannot be shown", quoted(cut(name)))
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("the name %s begins or ends with a space", quoted(cut(name)))
	}
	return nil
}
