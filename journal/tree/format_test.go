package tree

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files that are not there yet")

// The bytes of version 1, for ever: what was written then is read now, and the
// same is written.
func TestGolden(t *testing.T) {
	proof, older, consistency, newer := samples(t)
	dir, _, _ := built(t, 6)
	hashes, err := os.ReadFile(filepath.Join(dir, cacheFile))
	if err != nil {
		t.Fatal(err)
	}
	read := make(map[string][]byte)
	for name, made := range map[string][]byte{
		"proof.v1.txt":       proof,
		"older.v1.txt":       older,
		"newer.v1.txt":       newer,
		"consistency.v1.txt": consistency,
		"hashes.v1.hex":      []byte(hex.Dump(hashes)),
	} {
		kept := filepath.Join("testdata", name)
		if read[name], err = os.ReadFile(kept); err != nil {
			t.Fatal(err)
		}
		// Files of earlier days hold events of versions that are written no more: they
		// are still read. These are the same with events as they are written now.
		file := filepath.Join("testdata", "events3", name)
		if _, err := os.Stat(file); *update && os.IsNotExist(err) {
			if err := os.WriteFile(file, made, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, made) {
			t.Errorf("%s is\n%s\nwritten is\n%s", name, want, made)
		}
	}
	still(t, read)
	for name := range read {
		if read[name], err = os.ReadFile(filepath.Join("testdata", "events2", name)); err != nil {
			t.Fatal(err)
		}
	}
	still(t, read)
}

// still reads proofs and checkpoints of an earlier day.
func still(t *testing.T, read map[string][]byte) {
	t.Helper()
	e, c, err := Check(read["proof.v1.txt"], public(key(1)), origin)
	if err != nil || e.Number != 20 || c.Pages != 13 || e.Key != "key of token-7-1" {
		t.Errorf("%+v, %+v, %v", e, c, err)
	}
	if _, _, err := CheckConsistency(read["older.v1.txt"], read["newer.v1.txt"], read["consistency.v1.txt"], public(key(1)), origin); err != nil {
		t.Error(err)
	}
}
