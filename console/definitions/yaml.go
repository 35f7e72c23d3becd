package definitions

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxDocument is the longest text that [Parse] takes, in bytes.
const MaxDocument = 4 << 20

// A Place is a place in a text, both from 1.
type Place struct{ Line, Column int }

// Places are where the parts of a document stand, by the paths that an [Error] has.
type Places map[string]Place

// Find returns the place of a part, or of the nearest one around it that is known.
func (p Places) Find(path string) (Place, bool) {
	for path != "" {
		if at, ok := p[path]; ok {
			return at, true
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return Place{}, false
}

// A SyntaxError says where a text is no document.
type SyntaxError struct {
	Place   // zero if it is not known
	Message string
}

func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	if e.Column == 0 {
		return fmt.Sprintf("line %d: %s", e.Line, e.Message)
	}
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// Parse reads definitions from YAML, of which JSON is a part. Several documents
// become one. A name that is not known is an error, and so are aliases. An error
// is a [*SyntaxError].
func Parse(text []byte) (*Document, Places, error) {
	if len(text) > MaxDocument {
		return nil, nil, &SyntaxError{Message: fmt.Sprintf("the text has %d bytes, at most %d are taken", len(text), MaxDocument)}
	}
	r := &reader{places: Places{}}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, syntax(err)
		}
		if len(node.Content) == 1 && node.Content[0].Tag == "!!null" && node.Content[0].Value == "" {
			continue // nothing between two marks
		}
		for _, n := range node.Content {
			r.document(n)
		}
		if r.err != nil {
			return nil, nil, r.err
		}
	}
	return &r.doc, r.places, nil
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(?s)(.*)$`)

// syntax makes an error of the YAML library one of ours.
func syntax(err error) error {
	found := yamlLine.FindStringSubmatch(err.Error())
	line, _ := strconv.Atoi(found[1])
	return &SyntaxError{Place{Line: line}, "it is no YAML: " + found[2]}
}

// A reader turns nodes into a document. The first thing that does not fit is its
// error; what is read after that does not matter.
type reader struct {
	doc    Document
	places Places
	err    error
}

func (r *reader) fail(n *yaml.Node, format string, args ...any) {
	if r.err == nil {
		r.err = &SyntaxError{Place{n.Line, n.Column}, fmt.Sprintf(format, args...)}
	}
}

// A part reads the value of a field; path is where it stands.
type part func(n *yaml.Node, path string)

func (r *reader) document(n *yaml.Node) {
	r.mapping(n, "", "a document", map[string]part{
		"classes": func(n *yaml.Node, path string) {
			r.list(n, path, len(r.doc.Classes), MaxChanges, func(n *yaml.Node, path string) { r.doc.Classes = append(r.doc.Classes, r.class(n, path)) })
		},
		"collections": func(n *yaml.Node, path string) {
			r.list(n, path, len(r.doc.Collections), MaxChanges, func(n *yaml.Node, path string) {
				r.doc.Collections = append(r.doc.Collections, r.collection(n, path))
			})
		},
		"windows": func(n *yaml.Node, path string) {
			r.list(n, path, len(r.doc.Windows), MaxChanges, func(n *yaml.Node, path string) { r.doc.Windows = append(r.doc.Windows, r.window(n, path)) })
		},
	})
}

func (r *reader) collection(n *yaml.Node, path string) (c Collection) {
	names := func(to *[]string, most int) part {
		return func(n *yaml.Node, path string) {
			r.list(n, path, 0, most, func(n *yaml.Node, path string) { *to = append(*to, r.text(n, path)) })
		}
	}
	rename := r.textInto(&c.RenameFrom)
	r.mapping(n, path, "a collection", map[string]part{
		"name": r.textInto(&c.Name), "id": r.textInto(&c.ID), "comment": r.textInto(&c.Comment), "limit": r.textInto(&c.Limit),
		"rename-from": rename, "renameFrom": rename, "schedule": r.textInto(&c.Schedule),
		"direct": names(&c.Direct, MaxDirect), "include": names(&c.Include, MaxChanges), "exclude": names(&c.Exclude, MaxChanges),
		"incremental": func(n *yaml.Node, path string) { c.Incremental = r.bool(n) },
		"queries": func(n *yaml.Node, path string) {
			r.list(n, path, 0, MaxChanges, func(n *yaml.Node, path string) { c.Queries = append(c.Queries, r.query(n, path)) })
		},
		"windows": func(n *yaml.Node, path string) {
			list := []json.RawMessage{}
			r.list(n, path, 0, MaxChanges, func(n *yaml.Node, path string) { list = append(list, r.raw(n)) })
			c.Windows = &list
		},
	}, "name")
	return c
}

func (r *reader) query(n *yaml.Node, path string) (q Query) {
	if n.Kind == yaml.ScalarNode {
		q.WQL = r.text(n, path)
		r.places[path+".wql"] = Place{n.Line, n.Column}
		return q
	}
	r.mapping(n, path, "a query", map[string]part{"name": r.textInto(&q.Name), "wql": r.textInto(&q.WQL)}, "wql")
	return q
}

func (r *reader) class(n *yaml.Node, path string) (c Class) {
	r.mapping(n, path, "a class", map[string]part{
		"name": r.textInto(&c.Name),
		"properties": func(n *yaml.Node, path string) {
			r.list(n, path, 0, MaxChanges, func(n *yaml.Node, path string) { c.Properties = append(c.Properties, r.property(n, path)) })
		},
	}, "name", "properties")
	return c
}

func (r *reader) property(n *yaml.Node, path string) (p Property) {
	r.mapping(n, path, "a property", map[string]part{
		"name": r.textInto(&p.Name), "type": r.textInto(&p.Type),
		"list": func(n *yaml.Node, _ string) { p.List = r.bool(n) },
		"key":  func(n *yaml.Node, _ string) { p.Key = r.bool(n) },
	}, "name", "type")
	return p
}

// window reads a window that stands by itself: it names its collection beside its
// own fields.
func (r *reader) window(n *yaml.Node, path string) (w Windows) {
	if n.Kind != yaml.MappingNode {
		r.fail(n, "a window is a list of fields and their values")
		return w
	}
	own := *n
	own.Content = nil
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := n.Content[i]; key.Value == "collection" {
			w.Collection = r.text(n.Content[i+1], path+".collection")
		} else {
			own.Content = append(own.Content, key, n.Content[i+1])
		}
	}
	if w.Collection == "" {
		r.fail(n, "a window names its collection")
	}
	r.places[path+".windows[0]"] = Place{n.Line, n.Column}
	w.Windows = []json.RawMessage{r.raw(&own)}
	return w
}

// mapping reads the fields of a node, each at most once, and those that it must
// have.
func (r *reader) mapping(n *yaml.Node, path, what string, fields map[string]part, must ...string) {
	if r.err != nil {
		return
	}
	r.places[path] = Place{n.Line, n.Column}
	if n.Kind != yaml.MappingNode {
		r.fail(n, "%s is a list of fields and their values, this is %s", what, kindOf(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content) && r.err == nil; i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read, ok := fields[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || !ok:
			r.fail(key, "%s has no field %s, only %s", what, strconv.Quote(cut(key.Value)), strings.Join(known(fields), ", "))
			return
		case seen[key.Value]:
			r.fail(key, "%s is there twice", key.Value)
			return
		}
		seen[key.Value] = true
		at := join(path, key.Value)
		r.places[at] = Place{value.Line, value.Column}
		read(value, at)
	}
	for _, name := range must {
		if !seen[name] {
			r.fail(n, "%s needs %s", what, name)
		}
	}
}

// known are the names of fields for people: one spelling of each.
func known(fields map[string]part) []string {
	names := sorted(fields)
	return slices.DeleteFunc(names, func(name string) bool { return name == "renameFrom" })
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// list reads the items of a node, which are numbered from first on.
func (r *reader) list(n *yaml.Node, path string, first, most int, item part) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.fail(n, "this is a list, not %s", kindOf(n))
		return
	}
	if first+len(n.Content) > most {
		r.fail(n, "%d items, at most %d are taken", first+len(n.Content), most)
		return
	}
	for i, value := range n.Content {
		if r.err != nil {
			return
		}
		at := fmt.Sprintf("%s[%d]", path, first+i)
		r.places[at] = Place{value.Line, value.Column}
		item(value, at)
	}
}

// text reads a text; numbers and the like count as they are written.
func (r *reader) text(n *yaml.Node, path string) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Tag == "!!binary" {
		r.fail(n, "this is a text, not %s", kindOf(n))
		return ""
	}
	r.places[path] = Place{n.Line, n.Column}
	return n.Value
}

func (r *reader) textInto(to *string) part {
	return func(n *yaml.Node, path string) { *to = r.text(n, path) }
}

func (r *reader) bool(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
		r.fail(n, "this is true or false, not %s", kindOf(n))
		return false
	}
	return strings.EqualFold(n.Value, "true")
}

// maxRawDepth is how deeply a value is nested that goes on as JSON.
const maxRawDepth = 16

// raw is a node as JSON.
func (r *reader) raw(n *yaml.Node) json.RawMessage {
	b, err := json.Marshal(r.value(n, 0))
	if err != nil {
		r.fail(n, "%s", err)
	}
	return b
}

func (r *reader) value(n *yaml.Node, depth int) any {
	if depth > maxRawDepth {
		r.fail(n, "it is nested more than %d deep", maxRawDepth)
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if _, twice := m[key.Value]; twice || key.Kind != yaml.ScalarNode {
				r.fail(key, "%s is there twice, or is no name", strconv.Quote(cut(key.Value)))
			}
			m[key.Value] = r.value(n.Content[i+1], depth+1)
		}
		return m
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			list = append(list, r.value(item, depth+1))
		}
		return list
	case yaml.ScalarNode:
		return r.scalar(n)
	}
	r.fail(n, "this is a value, not %s", kindOf(n))
	return nil
}

func (r *reader) scalar(n *yaml.Node) any {
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return r.bool(n)
	case "!!int":
		if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return i
		}
	}
	return n.Value
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a list of fields and their values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias, which is not taken"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	return strconv.Quote(cut(n.Value))
}

// cut shortens what a message quotes.
func cut(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
