package schema_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/listener/wire/schema"
)

const machine = `{"type":"object","required":["paths"],"additionalProperties":false,"properties":{
	"paths":{"type":"array","minItems":1,"maxItems":3,"uniqueItems":true,"items":{"type":"string","title":"a full path","pattern":"/[^\\n]*","maxLength":10}},
	"mode":{"type":"string","enum":["a","b"]},
	"n":{"type":"integer","minimum":1,"maximum":10},
	"x":{"type":"number","maximum":0.5},
	"on":{"type":"boolean","default":false},
	"in":{"type":"object","properties":{"deep":{"type":"array","items":{"type":"object","properties":{"s":{"type":"string","minLength":2}}}}}}}}`

func value(t testing.TB, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWhatDoesNotHoldAndWhere(t *testing.T) {
	s := schema.Must(machine)
	for text, want := range map[string]string{
		`{"paths":["/a"]}`: "",
		`{"paths":["/a","/b"],"mode":"b","n":10,"x":0.5,"on":true,"in":{"deep":[{"s":"ab"},{}]}}`: "",
		`[]`:                          "is a list, it must be an object",
		`null`:                        "is null, it must be an object",
		`{}`:                          "paths: is missing, and must be given",
		`{"paths":"/a"}`:              `paths: is the text "/a", it must be a list`,
		`{"paths":[]}`:                "paths: has 0 items, 1 to 3 are taken",
		`{"paths":["/a","/a"]}`:       "paths[1]: is the same as [0]",
		`{"paths":["/a",1]}`:          "paths[1]: is the number 1, it must be a text",
		`{"paths":["/a","b"]}`:        `paths[1]: "b" is not a full path`,
		`{"paths":["/a\nb"]}`:         `paths[0]: "/a\nb" is not a full path`,
		`{"paths":["/0123456789"]}`:   "paths[0]: is longer than 10 characters",
		`{"paths":["/äöüäöüäöü"]}`:    "",
		`{"paths":["/a"],"y":1}`:      "y: there is no such parameter; there are in, mode, n, on, paths, x",
		`{"paths":["/a"],"mode":"c"}`: `mode: "c" is not one of a, b`,
		`{"paths":["/a"],"n":0}`:      "n: 0 is less than 1",
		`{"paths":["/a"],"n":11}`:     "n: 11 is more than 10",
		`{"paths":["/a"],"n":1.5}`:    "n: 1.5 is not a whole number",
		`{"paths":["/a"],"n":true}`:   "n: is true, it must be a number",
		`{"paths":["/a"],"x":1}`:      "x: 1 is more than 0.5",
		`{"paths":["/a"],"on":"yes"}`: `on: is the text "yes", it must be true or false`,
		`{"paths":["/a"],"in":{"deep":[{},{"s":"a"}]}}`: "in.deep[1].s: is shorter than 2 characters",
	} {
		err := s.Check(value(t, text))
		if got := fmt.Sprint(err); err == nil && want != "" || err != nil && got != want {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
		if at := (*schema.Error)(nil); err != nil && !errors.As(err, &at) {
			t.Errorf("%T", err)
		}
	}
}

func TestNumbersAsTheyCame(t *testing.T) {
	s := schema.Must(`{"type":"object","properties":{"n":{"type":"integer"}}}`)
	for _, n := range []string{"9007199254740992", "1e3", "-1"} {
		if err := s.Check(map[string]any{"n": json.Number(n)}); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
	for _, n := range []string{"9007199254740994", "1e999", "x", "0.1"} {
		if err := s.Check(map[string]any{"n": json.Number(n)}); err == nil {
			t.Errorf("%s is taken", n)
		}
	}
}

func TestUnboundedTextsAndListsHaveBounds(t *testing.T) {
	s := schema.Must(`{"type":"object","properties":{"s":{"type":"string"},"l":{"type":"array","items":{"type":"boolean"}}}}`)
	if err := s.Check(map[string]any{"s": strings.Repeat("a", schema.MaxString+1)}); err == nil {
		t.Error("a long text is taken")
	}
	if err := s.Check(map[string]any{"l": make([]any, schema.MaxItems+1)}); err == nil {
		t.Error("a long list is taken")
	}
	if err := s.Check(map[string]any{"s": "a\xff"}); err == nil {
		t.Error("a text that is not UTF-8 is taken")
	}
}

func TestBadSchemas(t *testing.T) {
	deep := strings.Repeat(`{"type":"object","properties":{"a":`, 9) + `{"type":"string"}` + strings.Repeat("}}", 9)
	for text, want := range map[string]string{
		``:                             "EOF",
		`{}`:                           "its type must be",
		`{"type":"array"}`:             "its type must be",
		`{"type":"object"}x`:           "something follows",
		`{"type":"object","oneOf":[]}`: "unknown field",
		`{"type":"object","properties":{"a":null}}`:                                                     "a: is null",
		`{"type":"object","properties":{"a":{"type":"text"}}}`:                                          `a: type "text"`,
		`{"type":"object","properties":{"a":{"type":"string","maximum":1}}}`:                            "a: maximum is not for type string",
		`{"type":"object","properties":{"a":{"type":"array"}}}`:                                         "a: items is missing",
		`{"type":"object","properties":{"a":{"type":"array","items":{"type":"string","pattern":"("}}}}`: "a[]: pattern: ",
		`{"type":"object","properties":{"a":{"type":"string","maxLength":-1}}}`:                         "a: a length is below zero",
		`{"type":"object","required":["b"]}`:                                                            `required: there is no property "b"`,
		`{"type":"object","additionalProperties":true}`:                                                 "additionalProperties can only be false",
		deep: "is deeper than 8",
		`{"type":"object","properties":{"a":{"type":"string","pattern":"` + strings.Repeat("a", 513) + `"}}}`: "at most 512",
		strings.Repeat(" ", schema.MaxText+1): "at most 65536",
	} {
		if _, err := schema.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", text, err, want)
		}
	}
}

func TestASchemaReadsWhatItWrites(t *testing.T) {
	b, err := json.Marshal(schema.Must(machine))
	if err != nil {
		t.Fatal(err)
	}
	again, err := schema.Parse(b)
	if err != nil || strings.Join(again.Names(), " ") != "in mode n on paths x" {
		t.Errorf("%v %v", again.Names(), err)
	}
}

func FuzzSchema(f *testing.F) {
	f.Add(machine, `{"paths":["/a"]}`)
	f.Add(`{"type":"object"}`, `{}`)
	f.Add(`{"type":"object","properties":{"a":{"type":"number","minimum":-1e308}}}`, `{"a":1e308}`)
	f.Fuzz(func(t *testing.T, text, params string) {
		s, err := schema.Parse([]byte(text))
		if err != nil {
			return
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		again, err := schema.Parse(b)
		if len(b) <= schema.MaxText && err != nil {
			t.Fatalf("%s is written as %s: %v", text, b, err)
		}
		var v any
		if json.Unmarshal([]byte(params), &v) != nil || err != nil {
			return
		}
		if first, second := s.Check(v), again.Check(v); (first == nil) != (second == nil) {
			t.Errorf("%v and %v", first, second)
		}
	})
}

func ExampleSchema_Check() {
	s := schema.Must(`{"type":"object","required":["packages"],"properties":{
		"packages":{"type":"array","items":{"type":"string","title":"the name of a package","pattern":"[a-z0-9][a-z0-9+.-]*"}}}}`)
	fmt.Println(s.Check(map[string]any{"packages": []any{"bash", "--force"}}))
	// Output: packages[1]: "--force" is not the name of a package
}
