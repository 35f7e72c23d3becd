package projectorstest

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/bugle-fleet/bugle/projectors"
)

var update = flag.Bool("update", false, "write golden files of views")

// testGolden compares the rows after all events with those in the file: the
// schema's number, then key and value of each row in hexadecimal.
func (s Suite) testGolden(t *testing.T) {
	view := s.New()
	site := Start(t, view)
	site.Append(s.Events...)
	var dump bytes.Buffer
	check(t, view.Read(func(s *projectors.Snapshot) error { return s.Dump(&dump) }))
	got := fmt.Appendf(nil, "schema %d\n", view.Schema)
	for b := dump.Bytes(); len(b) > 0; {
		var key, value []byte
		key, b = field(b)
		value, b = field(b)
		got = fmt.Appendf(got, "%x %x\n", key, value)
	}
	if *update {
		check(t, os.MkdirAll(filepath.Dir(s.Golden), 0o755))
		check(t, os.WriteFile(s.Golden, got, 0o644))
	}
	want, err := os.ReadFile(s.Golden)
	check(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("rows are not those of %s: other rows need another schema; then run with -update\n%s", s.Golden, got)
	}
}

func field(b []byte) (field, rest []byte) {
	n := binary.BigEndian.Uint32(b)
	return b[4 : 4+n], b[4+n:]
}

// Rows returns the values of a golden file, as seeds for fuzzing: those whose key
// begins with prefix.
func Rows(t testing.TB, golden string, prefix byte) (values [][]byte) {
	t.Helper()
	b, err := os.ReadFile(golden)
	check(t, err)
	for line := range bytes.Lines(b) {
		var key, value []byte
		if n, _ := fmt.Sscanf(string(line), "%x %x", &key, &value); n == 2 && key[0] == prefix {
			values = append(values, value)
		}
	}
	if len(values) == 0 {
		t.Fatalf("no row with prefix %c in %s", prefix, golden)
	}
	return values
}
