package definitions

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Print writes a document as YAML that [Parse] reads: what is empty is left out.
func Print(d *Document) []byte {
	top := &yaml.Node{Kind: yaml.MappingNode}
	if len(d.Classes) > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range d.Classes {
			list.Content = append(list.Content, classNode(&d.Classes[i]))
		}
		put(top, "classes", list)
	}
	if len(d.Collections) > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range d.Collections {
			list.Content = append(list.Content, collectionNode(&d.Collections[i]))
		}
		put(top, "collections", list)
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, of := range d.Windows {
		for _, raw := range of.Windows {
			n := rawNode(raw)
			if n.Kind != yaml.MappingNode {
				continue // it is no window
			}
			own := &yaml.Node{Kind: yaml.MappingNode}
			put(own, "collection", textNode(of.Collection))
			own.Content = append(own.Content, n.Content...)
			list.Content = append(list.Content, own)
		}
	}
	if len(list.Content) > 0 {
		put(top, "windows", list)
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	e.Encode(top) // nodes of texts: nothing fails
	e.Close()
	return b.Bytes()
}

func put(n *yaml.Node, name string, value *yaml.Node) {
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, value)
}

func collectionNode(c *Collection) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	text := func(name, value string) {
		if value != "" {
			put(n, name, textNode(value))
		}
	}
	texts := func(name string, values []string) {
		if len(values) > 0 {
			list := &yaml.Node{Kind: yaml.SequenceNode}
			for _, v := range values {
				list.Content = append(list.Content, textNode(v))
			}
			put(n, name, list)
		}
	}
	put(n, "name", textNode(c.Name))
	text("id", c.ID)
	text("rename-from", c.RenameFrom)
	text("comment", c.Comment)
	text("limit", c.Limit)
	texts("direct", c.Direct)
	if len(c.Queries) > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, q := range c.Queries {
			rule := &yaml.Node{Kind: yaml.MappingNode}
			if q.Name != "" {
				put(rule, "name", textNode(q.Name))
			}
			put(rule, "wql", textNode(q.WQL))
			list.Content = append(list.Content, rule)
		}
		put(n, "queries", list)
	}
	texts("include", c.Include)
	texts("exclude", c.Exclude)
	text("schedule", c.Schedule)
	if c.Incremental {
		put(n, "incremental", boolNode(true))
	}
	if c.Windows != nil {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, raw := range *c.Windows {
			list.Content = append(list.Content, rawNode(raw))
		}
		put(n, "windows", list)
	}
	return n
}

func classNode(c *Class) *yaml.Node {
	n, list := &yaml.Node{Kind: yaml.MappingNode}, &yaml.Node{Kind: yaml.SequenceNode}
	for _, p := range c.Properties {
		property := &yaml.Node{Kind: yaml.MappingNode}
		put(property, "name", textNode(p.Name))
		put(property, "type", textNode(p.Type))
		if p.List {
			put(property, "list", boolNode(true))
		}
		if p.Key {
			put(property, "key", boolNode(true))
		}
		list.Content = append(list.Content, property)
	}
	put(n, "name", textNode(c.Name))
	put(n, "properties", list)
	return n
}

func boolNode(is bool) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(is)}
}

// textNode is a text, over several lines if it has some.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	switch {
	case strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' && r != '\n' || r == utf8.RuneError || r == 0x85 || r == 0x2028 || r == 0x2029
	}):
		n.Style = yaml.DoubleQuotedStyle
	case strings.Contains(s, "\n"):
		n.Style = yaml.LiteralStyle
	}
	return n
}

// rawNode is a value of JSON.
func rawNode(raw json.RawMessage) *yaml.Node {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
	}
	return valueNode(v)
}

func valueNode(v any) *yaml.Node {
	switch v := v.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			n.Content = append(n.Content, textNode(name), valueNode(v[name]))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, item := range v {
			n.Content = append(n.Content, valueNode(item))
		}
		return n
	case string:
		return textNode(v)
	case bool:
		return boolNode(v)
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: v.String()}
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
}
