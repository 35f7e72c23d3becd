package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Bounds of a schema and of what it describes.
const (
	MaxText    = 64 << 10 // bytes of a schema in JSON
	MaxDepth   = 8        // of a schema, and so of what it describes
	MaxString  = 4 << 10  // characters of a string that has no maxLength
	MaxItems   = 1000     // of an array that has no maxItems
	maxPattern = 512      // bytes of a pattern
)

// A Schema says what a value may be. [Parse] or [Must] makes one that checks; it
// is not changed afterwards and may be used by many goroutines.
type Schema struct {
	Type        string             `json:"type"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Enum        []string           `json:"enum,omitempty"`
	Properties  map[string]*Schema `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Additional  *bool              `json:"additionalProperties,omitempty"`
	Items       *Schema            `json:"items,omitempty"`
	MinItems    int                `json:"minItems,omitempty"`
	MaxItems    *int               `json:"maxItems,omitempty"`
	Unique      bool               `json:"uniqueItems,omitempty"`
	MinLength   int                `json:"minLength,omitempty"`
	MaxLength   *int               `json:"maxLength,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	Minimum     *float64           `json:"minimum,omitempty"`
	Maximum     *float64           `json:"maximum,omitempty"`
	Default     any                `json:"default,omitempty"`
	Examples    []any              `json:"examples,omitempty"`

	pattern *regexp.Regexp
}

// Parse reads a schema in JSON. It must describe an object.
func Parse(text []byte) (*Schema, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("read schema: %d bytes, at most %d are taken", len(text), MaxText)
	}
	s := new(Schema)
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(s); err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("read schema: something follows it")
	}
	if s.Type != "object" {
		return nil, errors.New("read schema: parameters are an object, so its type must be")
	}
	if err := s.compile("", 1); err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	return s, nil
}

// Must is [Parse] for schemas that are part of a program: it panics if there is
// anything wrong.
func Must(text string) *Schema {
	s, err := Parse([]byte(text))
	if err != nil {
		panic(err)
	}
	return s
}

// keywords are those of one type only.
var keywords = map[string][]string{
	"object":  {"properties", "required", "additionalProperties"},
	"array":   {"items", "minItems", "maxItems", "uniqueItems"},
	"string":  {"enum", "minLength", "maxLength", "pattern"},
	"integer": {"minimum", "maximum"},
	"number":  {"minimum", "maximum"},
	"boolean": nil,
}

func (s *Schema) used() map[string]bool {
	return map[string]bool{
		"properties": s.Properties != nil, "required": s.Required != nil, "additionalProperties": s.Additional != nil,
		"items": s.Items != nil, "minItems": s.MinItems != 0, "maxItems": s.MaxItems != nil, "uniqueItems": s.Unique,
		"enum": s.Enum != nil, "minLength": s.MinLength != 0, "maxLength": s.MaxLength != nil, "pattern": s.Pattern != "",
		"minimum": s.Minimum != nil, "maximum": s.Maximum != nil,
	}
}

// compile checks the schema at a place in the whole, and what is in it.
func (s *Schema) compile(at string, depth int) error {
	own, known := keywords[s.Type]
	switch {
	case depth > MaxDepth:
		return place(at, "is deeper than %d", MaxDepth)
	case !known:
		return place(at, "type %q is not object, array, string, integer, number or boolean", s.Type)
	}
	used := s.used()
	for _, word := range slices.Sorted(maps.Keys(used)) {
		if used[word] && !slices.Contains(own, word) {
			return place(at, "%s is not for type %s", word, s.Type)
		}
	}
	if err := s.bounds(at); err != nil {
		return err
	}
	return s.parts(at, depth)
}

func (s *Schema) bounds(at string) error {
	switch {
	case s.MinItems < 0 || s.MinLength < 0 || negative(s.MaxItems) || negative(s.MaxLength):
		return place(at, "a length is below zero")
	case len(s.Pattern) > maxPattern:
		return place(at, "the pattern has %d bytes, at most %d are taken", len(s.Pattern), maxPattern)
	case s.Additional != nil && *s.Additional:
		return place(at, "additionalProperties can only be false")
	case s.Pattern == "":
		return nil
	}
	var err error
	if s.pattern, err = regexp.Compile(`^(?:` + s.Pattern + `)$`); err != nil {
		return place(at, "pattern: %v", err)
	}
	return nil
}

func negative(n *int) bool { return n != nil && *n < 0 }

func (s *Schema) parts(at string, depth int) error {
	for _, name := range s.Required {
		if s.Properties[name] == nil {
			return place(at, "required: there is no property %q", clip(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		if p == nil {
			return place(join(at, name), "is null")
		}
		if err := p.compile(join(at, name), depth+1); err != nil {
			return err
		}
	}
	if s.Type == "array" && s.Items == nil {
		return place(at, "items is missing")
	}
	if s.Items != nil {
		return s.Items.compile(at+"[]", depth+1)
	}
	return nil
}

// Names returns the names of the properties, in order.
func (s *Schema) Names() []string { return slices.Sorted(maps.Keys(s.Properties)) }

func join(at, name string) string {
	name = clip(name)
	if at == "" {
		return name
	}
	return at + "." + name
}

// An Error is what does not hold of a value, or of a schema.
type Error struct {
	At     string // where, such as paths[2]; empty for the whole
	Reason string // what does not hold, as the rest of a sentence
}

func (e *Error) Error() string {
	if e.At == "" {
		return e.Reason
	}
	return e.At + ": " + e.Reason
}

func place(at, format string, args ...any) error { return &Error{at, fmt.Sprintf(format, args...)} }

// clip shortens what somebody else sent.
func clip(s string) string {
	const max = 64
	if len(s) <= max {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:max], "") + "…"
}
