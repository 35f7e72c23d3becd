package durable_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/bugle-fleet/bugle/journal/durable"
)

func TestReplace(t *testing.T) {
	name := filepath.Join(t.TempDir(), "state")
	for _, want := range []string{"one", "a longer one", ""} {
		if err := os.WriteFile(name+".tmp", []byte("left by a crash"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := durable.Replace(name, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("the file holds %q, %v, want %q", got, err, want)
		}
		if info, err := os.Stat(name); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("others may read what only the owner may: %v, %v", info.Mode(), err)
		}
		if _, err := os.Stat(name + ".tmp"); !os.IsNotExist(err) {
			t.Errorf("the file aside is still there: %v", err)
		}
	}
}

// What cannot be replaced stays as it was.
func TestReplaceFails(t *testing.T) {
	name := filepath.Join(t.TempDir(), "state")
	if err := os.MkdirAll(filepath.Join(name, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.Replace(name, []byte("x")); err == nil {
		t.Error("a folder with something in it was replaced by a file")
	}
	if _, err := os.Stat(name + ".tmp"); !os.IsNotExist(err) {
		t.Errorf("the file aside was left: %v", err)
	}
	if _, err := os.Stat(filepath.Join(name, "in the way")); err != nil {
		t.Error(err)
	}
	if err := durable.Replace(filepath.Join(t.TempDir(), "none", "state"), nil); err == nil {
		t.Error("a file was made in a folder that is not there")
	}
}

func Example() {
	dir, _ := os.MkdirTemp("", "durable")
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "CURRENT")
	if err := durable.Replace(name, []byte("00000007\n")); err != nil {
		fmt.Println(err)
	}
	b, _ := os.ReadFile(name)
	fmt.Print(string(b))
	// Output: 00000007
}
