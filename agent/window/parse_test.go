package window

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The golden file has every form; it is read as it was, for ever.
func TestGolden(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "windows.json"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(again) + "\n"; got != string(b) {
		t.Error(cmp.Diff(string(b), got))
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		`{`: "not an array of windows",
		`[{"name":"a","start":"2026-11-28T01:00","minutes":60,"colour":"red"}]`:                                                    `window 1: not a window: json: unknown field "colour"`,
		`[{"name":"a","start":"2026-11-28","minutes":60}]`:                                                                         `start "2026-11-28": it is a date and a time`,
		`[{"name":"a","start":"2026-11-28T01:00Z","minutes":60}]`:                                                                  `with no zone`,
		`[{"name":"a","start":"2026-11-28T01:00","minutes":4}]`:                                                                    `"a": minutes 4: 5 to 44640 are taken`,
		`[{"name":"a","start":"2026-11-28T01:00","minutes":44641}]`:                                                                `minutes 44641`,
		`[{"name":"","start":"2026-11-28T01:00","minutes":60}]`:                                                                    `name of 0 bytes`,
		`[{"name":"a","kind":"update","start":"2026-11-28T01:00","minutes":60}]`:                                                   `kind "update": it is general, updates or task-sequences`,
		`[{"name":"a","start":"2026-11-28T01:00","minutes":60,"every":{"unit":"year"}}]`:                                           `unit "year"`,
		`[{"name":"a","start":"2026-11-28T01:00","minutes":60,"every":{"unit":"day","n":0}}]`:                                      `n 0: 1 to 366`,
		`[{"name":"a","start":"2026-11-28T01:00","minutes":60,"every":{"unit":"week","on":["Sat"]}}]`:                              `weekday "Sat": it is one of mon`,
		`[{"name":"a","start":"2026-11-28T01:00","minutes":60,"every":{"unit":"day","on":["sat"]}}]`:                               `on: only weeks have it`,
		`[{"name":"a","start":"2026-11-28T01:00","minutes":60,"every":{"unit":"month"}}]`:                                          `nth "": it is first`,
		`[{"name":"a","start":"2026-11-28T01:00","minutes":60,"every":{"unit":"month","day":32}}]`:                                 `day 32: 1 to 31`,
		`[{"name":"a","start":"2026-11-28T01:00","minutes":60,"every":{"unit":"month","day":1.5}}]`:                                `day 1.5`,
		`[{"name":"a","start":"2026-11-28T01:00","minutes":60,"every":{"unit":"month","day":"first"}}]`:                            `day: it is a number`,
		`[{"name":"a","start":"2026-11-28T01:00","minutes":60,"every":{"unit":"month","day":1,"offset":2}}]`:                       `offset: only months by weekday`,
		`[{"name":"a","start":"2026-02-28T01:00","minutes":60,"every":{"unit":"month","n":12,"day":30}}]`:                          `day 30: none of its months has one`,
		`[{"name":"a","start":"2026-01-28T01:00","minutes":60,"every":{"unit":"month","nth":"last","weekday":"mon","offset":28}}]`: `offset 28: 0 to 27`,
		`[` + strings.Repeat(`1,`, MaxWindows) + `1]`:                                                                              "257 of them, at most 256",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v, want %s", text, err, want)
		}
	}
}

// Whoever reads what a later version wrote skips what it does not know.
func TestUnknownFieldsAreSkippedByReaders(t *testing.T) {
	var l List
	if err := json.Unmarshal([]byte(`[{"name":"a","start":"2026-11-28T01:00","minutes":60,"colour":"red"}]`), &l); err != nil || len(l) != 1 || !l[0].Enabled {
		t.Errorf("%+v, %v", l, err)
	}
	if err := json.Unmarshal([]byte(`[{"name":"a","start":"2026-11-28T01:00","minutes":1}]`), &l); err == nil {
		t.Error("a window of a minute was taken")
	}
}

// Whatever is taken is valid, and is written as what is read again as the same.
func FuzzParse(f *testing.F) {
	b, err := os.ReadFile(filepath.Join("testdata", "windows.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`[{"name":"a","start":"2026-11-28T01:00","minutes":60,"every":{"unit":"once"}}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Parse(b)
		if err != nil {
			return
		}
		for i := range l {
			if err := l[i].Check(); err != nil {
				t.Fatalf("taken, and not valid: %v", err)
			}
			if _, ok := l[i].openAfter(dayOf(l[i].Start)); !ok {
				t.Fatalf("%s never opens", l[i].Name)
			}
		}
		out, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		out2, err := json.Marshal(again)
		if err != nil || !bytes.Equal(out, out2) {
			t.Fatalf("%s\n%s\n%v", out, out2, err)
		}
	})
}
