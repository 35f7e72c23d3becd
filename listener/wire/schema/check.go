package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Check returns nil if v, a value as package encoding/json decodes it, is what s
// says, else an [*Error] about the first thing that is not.
func (s *Schema) Check(v any) error { return s.check("", v) }

func (s *Schema) check(at string, v any) error {
	switch s.Type {
	case "object":
		return s.object(at, v)
	case "array":
		return s.array(at, v)
	case "string":
		return s.text(at, v)
	case "integer", "number":
		return s.number(at, v)
	}
	if _, ok := v.(bool); !ok {
		return wrong(at, "true or false", v)
	}
	return nil
}

func (s *Schema) object(at string, v any) error {
	fields, ok := v.(map[string]any)
	if !ok {
		return wrong(at, "an object", v)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		p := s.Properties[name]
		if p == nil {
			return place(join(at, name), "there is no such parameter; %s", s.list())
		}
		if err := p.check(join(at, name), fields[name]); err != nil {
			return err
		}
	}
	for _, name := range s.Required {
		if _, ok := fields[name]; !ok {
			return place(join(at, name), "is missing, and must be given")
		}
	}
	return nil
}

func (s *Schema) list() string {
	if len(s.Properties) == 0 {
		return "there are none"
	}
	return "there are " + strings.Join(s.Names(), ", ")
}

func (s *Schema) array(at string, v any) error {
	items, ok := v.([]any)
	if !ok {
		return wrong(at, "a list", v)
	}
	most := MaxItems
	if s.MaxItems != nil {
		most = *s.MaxItems
	}
	if len(items) < s.MinItems || len(items) > most {
		return place(at, "has %d items, %d to %d are taken", len(items), s.MinItems, most)
	}
	seen := make(map[string]int)
	for i, item := range items {
		here := at + "[" + strconv.Itoa(i) + "]"
		if err := s.Items.check(here, item); err != nil {
			return err
		}
		if !s.Unique {
			continue
		}
		key, err := json.Marshal(item)
		if err != nil {
			return place(here, "cannot be written as JSON")
		}
		if first, twice := seen[string(key)]; twice {
			return place(here, "is the same as [%d]", first)
		}
		seen[string(key)] = i
	}
	return nil
}

func (s *Schema) text(at string, v any) error {
	text, ok := v.(string)
	if !ok {
		return wrong(at, "a text", v)
	}
	most := MaxString
	if s.MaxLength != nil {
		most = *s.MaxLength
	}
	switch n := utf8.RuneCountInString(text); {
	case !utf8.ValidString(text):
		return place(at, "is not UTF-8")
	case n < s.MinLength:
		return place(at, "is shorter than %d characters", s.MinLength)
	case n > most:
		return place(at, "is longer than %d characters", most)
	case s.Enum != nil && !slices.Contains(s.Enum, text):
		return place(at, "%q is not one of %s", clip(text), strings.Join(s.Enum, ", "))
	case s.pattern != nil && !s.pattern.MatchString(text):
		return place(at, "%q is not %s", clip(text), s.form())
	}
	return nil
}

// form is what a text must be like, for people.
func (s *Schema) form() string {
	if s.Title != "" {
		return s.Title
	}
	return "of the form " + s.Pattern
}

// exact is the largest integer that JSON numbers hold exactly everywhere.
const exact = 1 << 53

func (s *Schema) number(at string, v any) error {
	n, ok := v.(float64)
	if j, is := v.(json.Number); is {
		var err error
		n, err = j.Float64()
		ok = err == nil
	}
	switch {
	case !ok || math.IsNaN(n) || math.IsInf(n, 0):
		return wrong(at, "a number", v)
	case s.Type == "integer" && (n != math.Trunc(n) || math.Abs(n) > exact):
		return place(at, "%s is not a whole number", plain(v))
	case s.Minimum != nil && n < *s.Minimum:
		return place(at, "%s is less than %s", plain(v), plain(*s.Minimum))
	case s.Maximum != nil && n > *s.Maximum:
		return place(at, "%s is more than %s", plain(v), plain(*s.Maximum))
	}
	return nil
}

// plain is a number as people write it.
func plain(v any) string {
	if n, ok := v.(float64); ok && math.Abs(n) < 1e15 {
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

func wrong(at, want string, v any) error {
	var is string
	switch v := v.(type) {
	case nil:
		is = "null"
	case bool:
		is = strconv.FormatBool(v)
	case string:
		is = "the text " + strconv.Quote(clip(v))
	case float64, json.Number:
		is = "the number " + plain(v)
	case []any:
		is = "a list"
	case map[string]any:
		is = "an object"
	default:
		is = fmt.Sprintf("a %T", v)
	}
	return place(at, "is %s, it must be %s", is, want)
}
