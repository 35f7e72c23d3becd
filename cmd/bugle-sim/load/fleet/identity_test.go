package fleet

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestGolden reads the file as version 1 has always been.
func TestGolden(t *testing.T) {
	golden, err := os.ReadFile("testdata/identities-1")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := read(bytes.NewReader(golden))
	if err != nil {
		t.Fatal(err)
	}
	if ids.Site != "P01" || len(ids.all) != 2 || ids.all[0].Device != 1 || ids.all[1].Device != 2 || len(ids.all[0].ResultKey) != 32 {
		t.Errorf("header %+v, %d agents", ids.header, len(ids.all))
	}
	var b bytes.Buffer
	if err := ids.write(&b); err != nil || !bytes.Equal(b.Bytes(), golden) {
		t.Errorf("written again it is (%v)\n%s", err, b.Bytes())
	}
}

func TestBrokenFiles(t *testing.T) {
	b, err := os.ReadFile("testdata/identities-1")
	if err != nil {
		t.Fatal(err)
	}
	golden := string(b)
	lines := strings.SplitAfter(golden, "\n")
	for name, content := range map[string]string{
		"empty":                   "",
		"no JSON":                 "x\n",
		"another version":         strings.Replace(golden, `"version":1`, `"version":2`, 1),
		"another site":            strings.Replace(golden, `"site":"P01"`, `"site":"P02"`, 1),
		"another device":          strings.Replace(golden, `"device":2`, `"device":3`, 1),
		"half a line":             golden[:len(golden)-40],
		"no key":                  lines[0] + `{"device":1}` + "\n",
		"somebody else's key":     lines[0] + lines[1][:strings.Index(lines[1], `"certificate"`)] + lines[2][strings.Index(lines[2], `"certificate"`):],
		"a line that is too long": lines[0] + strings.Repeat(" ", maxLine+1) + lines[1],
	} {
		if ids, err := read(strings.NewReader(content)); err == nil {
			t.Errorf("%s: has %d agents", name, len(ids.all))
		}
	}
	if ids, err := restore(t.TempDir() + "/none"); err != nil || len(ids.all) != 0 {
		t.Errorf("a file that is not there: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	golden, err := os.ReadFile("testdata/identities-1")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(`{"version":1}` + "\n" + `{"device":1,"key":"AA==","certificate":"AA=="}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ids, err := read(bytes.NewReader(b))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := ids.write(&again); err != nil {
			t.Fatal(err)
		}
		if same, err := read(&again); err != nil || len(same.all) != len(ids.all) {
			t.Errorf("what was read and written cannot be read again: %v", err)
		}
	})
}
