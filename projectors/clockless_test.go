package projectors_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A fold knows its events and nothing else: these are refused in the packages of
// views, with everything below them.
var refusedImports = []string{"os", "net", "math/rand", "crypto/rand", "syscall", "io/ioutil", "runtime", "unsafe"}

var refusedOfTime = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// noFolds are the packages among the views that fold nothing.
var noFolds = []string{"projectorstest", "collection/engine", "collection/enginetest", "collection/evaluator"}

// impure returns what a file has that a fold must not have.
func impure(fset *token.FileSet, f *ast.File) (found []string) {
	clock := ""
	for _, i := range f.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		for _, refused := range refusedImports {
			if path == refused || strings.HasPrefix(path, refused+"/") {
				found = append(found, fmt.Sprintf("%s: import of %s", fset.Position(i.Pos()), path))
			}
		}
		if path == "time" {
			clock = "time"
			if i.Name != nil {
				clock = i.Name.Name
			}
			if clock == "." {
				found = append(found, fmt.Sprintf("%s: all of time", fset.Position(i.Pos())))
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && clock != "" && x.Name == clock && slices.Contains(refusedOfTime, n.Sel.Name) {
				found = append(found, fmt.Sprintf("%s: time.%s", fset.Position(n.Pos()), n.Sel.Name))
			}
			if n.Sel.Name == "NewID" || n.Sel.Name == "NewRandomID" {
				found = append(found, fmt.Sprintf("%s: %s is random", fset.Position(n.Pos()), n.Sel.Name))
			}
		case *ast.GoStmt:
			found = append(found, fmt.Sprintf("%s: a goroutine", fset.Position(n.Pos())))
		}
		return true
	})
	return found
}

// TestFoldsAreClockless reads the syntax trees of all view packages.
func TestFoldsAreClockless(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(noFolds, filepath.ToSlash(path)):
			return fs.SkipDir
		case d.IsDir() || filepath.Dir(path) == "." || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files++
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		for _, what := range impure(fset, f) {
			t.Error(what)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 4 {
		t.Errorf("only %d files were read", files)
	}
}

func TestImpureIsFound(t *testing.T) {
	for source, want := range map[string]int{
		`import "time"; var x = time.Unix(0, 0)`:      0,
		`import "time"; var x = time.Now()`:           1,
		`import clock "time"; var x = clock.Since(y)`: 1,
		`import . "os"`:              1,
		`import "math/rand/v2"`:      1,
		`import . "time"`:            1,
		`import "net/netip"`:         1,
		`import "network"`:           0,
		`func f() { go f() }`:        1,
		`var x = task.NewRandomID()`: 1,
		`import ("os"; "time"); var x = time.NewTicker(1)`: 2,
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "x.go", "package x\n"+source, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := impure(fset, f); len(got) != want {
			t.Errorf("%s: found %q", source, got)
		}
	}
}
