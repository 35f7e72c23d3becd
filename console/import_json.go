package console

import (
	"encoding/json"
	"fmt"
	"strings"
)

// A jsonReader reads one JSON value piece by piece. It allocates nothing for what has no
// escapes, which is what makes imports fast; what it takes encoding/json takes, and
// the other way round, but for numbers that do not fit anything.
type jsonReader struct {
	text string
	at   int
}

// A jsonToken is a scalar, or the beginning of an object or array.
type jsonToken struct {
	kind byte   // '{' '[' '"' for text, '0' for a number, 't' 'f' 'n'
	text string // of text and numbers
}

// words are the token for a person.
func (t jsonToken) words() string {
	switch t.kind {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return fmt.Sprintf("%q", clip(t.text))
	case '0':
		return clip(t.text)
	}
	return map[byte]string{'t': "true", 'f': "false", 'n': "null"}[t.kind]
}

func (j *jsonReader) space() {
	for j.at < len(j.text) {
		switch j.text[j.at] {
		case ' ', '\t', '\r', '\n':
			j.at++
		default:
			return
		}
	}
}

// wrong says that what stands here cannot.
func (j *jsonReader) wrong(want string) error {
	if j.at >= len(j.text) {
		return fmt.Errorf("it is not JSON: it ends where %s must be", want)
	}
	return fmt.Errorf("it is not JSON: %q where %s must be, at byte %d", clip(j.text[j.at:min(len(j.text), j.at+8)]), want, j.at+1)
}

// take takes c if it comes next.
func (j *jsonReader) take(c byte) bool {
	if j.space(); j.at < len(j.text) && j.text[j.at] == c {
		j.at++
		return true
	}
	return false
}

// token reads a scalar, or enters an object or array.
func (j *jsonReader) token() (jsonToken, error) {
	j.space()
	if j.at >= len(j.text) {
		return jsonToken{}, j.wrong("a value")
	}
	switch c := j.text[j.at]; {
	case c == '{' || c == '[':
		j.at++
		return jsonToken{kind: c}, nil
	case c == '"':
		s, err := j.string()
		return jsonToken{'"', s}, err
	case c == '-' || c >= '0' && c <= '9':
		return j.number()
	}
	for _, word := range []string{"true", "false", "null"} {
		if strings.HasPrefix(j.text[j.at:], word) {
			j.at += len(word)
			return jsonToken{kind: word[0]}, nil
		}
	}
	return jsonToken{}, j.wrong("a value")
}

// string reads a text; its quote comes next.
func (j *jsonReader) string() (string, error) {
	from := j.at + 1
	for i := from; i < len(j.text); i++ {
		switch c := j.text[i]; {
		case c == '"':
			j.at = i + 1
			return j.text[from:i], nil
		case c == '\\':
			return j.escaped(from)
		case c < ' ':
			j.at = i
			return "", j.wrong("printable text")
		}
	}
	j.at = len(j.text)
	return "", j.wrong("the end of a text")
}

// escaped reads a text that has escapes; from is behind its quote.
func (j *jsonReader) escaped(from int) (s string, err error) {
	for i := from; i < len(j.text); i++ {
		switch j.text[i] {
		case '\\':
			i++
		case '"':
			if err := json.Unmarshal([]byte(j.text[from-1:i+1]), &s); err != nil {
				j.at = from - 1
				return "", j.wrong("a text")
			}
			j.at = i + 1
			return s, nil
		}
	}
	j.at = len(j.text)
	return "", j.wrong("the end of a text")
}

func (j *jsonReader) number() (jsonToken, error) {
	from := j.at
	for j.at < len(j.text) && strings.IndexByte("+-.eE0123456789", j.text[j.at]) >= 0 {
		j.at++
	}
	if text := j.text[from:j.at]; json.Valid([]byte(text)) {
		return jsonToken{'0', text}, nil
	}
	j.at = from
	return jsonToken{}, j.wrong("a number")
}

// members reads the rest of an object that was entered; read reads the value of a
// member.
func (j *jsonReader) members(read func(name string) error) error {
	if j.take('}') {
		return nil
	}
	for {
		if j.space(); j.at >= len(j.text) || j.text[j.at] != '"' {
			return j.wrong("a name")
		}
		name, err := j.string()
		if err != nil {
			return err
		}
		if !j.take(':') {
			return j.wrong("a colon")
		}
		if err := read(name); err != nil {
			return err
		}
		switch {
		case j.take('}'):
			return nil
		case !j.take(','):
			return j.wrong("a comma or }")
		}
	}
}

// elements reads the rest of an array that was entered.
func (j *jsonReader) elements(read func() error) error {
	if j.take(']') {
		return nil
	}
	for {
		if err := read(); err != nil {
			return err
		}
		switch {
		case j.take(']'):
			return nil
		case !j.take(','):
			return j.wrong("a comma or ]")
		}
	}
}
