package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// compact is v as JSON in one line, empty for nothing.
func compact(v any) string {
	if m, ok := v.(map[string]any); v == nil || ok && len(m) == 0 {
		return ""
	}
	return strings.TrimSuffix(encoded(v, "", ""), "\n")
}

// indented is v as JSON for people, as an element of a list.
func indented(v any) string { return strings.TrimSuffix(encoded(v, "  ", "  "), "\n") }

// encoded is v as JSON and a line end. Control characters that JSON need not
// escape, and a terminal may obey, are escaped too.
func encoded(v any, prefix, indent string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent(prefix, indent)
	if err := e.Encode(v); err != nil {
		return fmt.Sprintln(v)
	}
	text := b.String()
	if strings.IndexFunc(text, isHighControl) < 0 {
		return text
	}
	var escaped strings.Builder
	for _, r := range text {
		if isHighControl(r) {
			fmt.Fprintf(&escaped, "\\u%04x", r)
		} else {
			escaped.WriteRune(r)
		}
	}
	return escaped.String()
}

func isHighControl(r rune) bool { return r >= 0x7f && r <= 0x9f }

// scalar is a value of JSON that came without a type: whole numbers as such,
// what is not a scalar as JSON.
func scalar(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		return v.String()
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
		return v
	case string, bool:
		return v
	}
	return compact(v)
}

func sentenceCase(s string) string {
	r := []rune(s)
	if len(r) > 0 {
		r[0] = unicode.ToUpper(r[0])
	}
	return string(r)
}

// cut shortens s to n characters.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

const (
	maxBrief = 100 // characters of what an event says in a table
	maxValue = 40  // of one value of it
)

// brief is what an event says in a line: its scalars by name, its lists by
// length. What is for machines (keys, hashes) is left out.
func brief(e console.Event) string {
	m, ok := e.Payload.(map[string]any)
	if !ok {
		return cut(compact(e.Payload), maxBrief)
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if text := briefly(m[name]); text != "" {
			parts = append(parts, name+"="+text)
		}
	}
	return cut(strings.Join(parts, " "), maxBrief)
}

func briefly(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []any:
		return "[" + inBrief(v) + "]"
	case map[string]any:
		for _, name := range []string{"count", "kind"} {
			if value, ok := v[name]; ok {
				return fmt.Sprint(scalar(value))
			}
		}
		return "{…}"
	}
	text := fmt.Sprint(scalar(v))
	if isHash(text) || text == (task.ID{}).String() {
		return ""
	}
	return cut(text, maxValue)
}

// inBrief is a list by its length, or if its items have states by how many are
// in each.
func inBrief(items []any) string {
	states := map[string]int{}
	for _, item := range items {
		m, _ := item.(map[string]any)
		if s, ok := m["state"].(string); ok {
			states[s]++
		}
	}
	if len(states) == 0 {
		return fmt.Sprint(len(items))
	}
	var parts []string
	for _, s := range slices.Sorted(maps.Keys(states)) {
		parts = append(parts, fmt.Sprintf("%s %d", s, states[s]))
	}
	return strings.Join(parts, ", ")
}

func isHash(s string) bool {
	return len(s) >= 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// countOf is n with the word for it.
func countOf[N int | uint32](n N, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
