package console

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Every status message that the code says is in the catalogue, with the severity
// that the code gives it as far as that can be read from the source; none is there
// twice; and none that is there is unknown to the code.
func TestCatalogueOfMessages(t *testing.T) {
	said := sources(t)
	if len(said) < 20 {
		t.Fatalf("only %d numbers are found in the code: %v", len(said), said)
	}
	before := uint32(0)
	for _, m := range Messages() {
		if m.Message <= before || m.Component == "" || m.Meaning == "" || m.Advice == "" {
			t.Errorf("message %d stands behind %d: %+v", m.Message, before, m)
		}
		before = m.Message
		severity, ok := said[m.Message]
		if !ok {
			t.Errorf("nobody says message %d", m.Message)
		}
		if severity != "" && severity != m.Severity {
			t.Errorf("message %d is said as %s, the catalogue says %s", m.Message, severity, m.Severity)
		}
		delete(said, m.Message)
	}
	for number := range said {
		t.Errorf("message %d is not in the catalogue", number)
	}
	if m, ok := ExplainMessage(3001); !ok || m.Component != "listener" {
		t.Errorf("3001 is %+v", m)
	}
	if _, ok := ExplainMessage(9999); ok {
		t.Error("9999 is explained")
	}
}

// named are constants that hold the number of a message.
var named = regexp.MustCompile(`^(msg[A-Z]|Message[A-Z]|journalDamaged$|logsRemoved$|flapMessage$)`)

// severityWords are how the code names severities.
var severityWords = map[string]string{"info": "info", "warning": "warning", "failure": "error", "Info": "info", "Warning": "warning", "Error": "error"}

// sources returns the numbers of messages in the code of this module, each with
// its severity if a table says it.
func sources(t *testing.T) map[uint32]string {
	said := map[uint32]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != ".."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || path == "../console/messages.go":
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil {
			s := source{path, map[string]uint32{}, said}
			s.constants(f)
			ast.Inspect(f, s.look(t))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return said
}

type source struct {
	path  string
	names map[string]uint32
	said  map[uint32]string
}

func (s *source) constants(f *ast.File) {
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != len(v.Names) {
			return true
		}
		for i, name := range v.Names {
			if number, ok := literal(v.Values[i]); ok && named.MatchString(name.Name) {
				s.names[name.Name] = number
				s.said[number] += ""
			}
		}
		return true
	})
}

// look finds tables of numbers with their severities, and numbers that are written
// where a name must be.
func (s *source) look(t *testing.T) func(ast.Node) bool {
	return func(n ast.Node) bool {
		c, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		if kind := lastName(c.Type); kind == "SiteMessage" || kind == "StatusMessage" {
			for _, e := range c.Elts {
				kv, ok := e.(*ast.KeyValueExpr)
				if !ok || lastName(kv.Key) != "Message" {
					continue
				}
				if _, number := literal(kv.Value); number {
					t.Errorf("%s: a message has a number instead of a name", s.path)
				}
			}
		}
		if len(c.Elts) == 2 { // {1101, event.Error}
			number, ok := literal(c.Elts[0])
			if severity := severityWords[lastName(c.Elts[1])]; ok && severity != "" && number > 999 {
				s.said[number] = severity
			}
		}
		for _, e := range c.Elts { // msgFull: warning
			if kv, ok := e.(*ast.KeyValueExpr); ok {
				number, known := s.names[lastName(kv.Key)]
				if severity := severityWords[lastName(kv.Value)]; known && severity != "" {
					s.said[number] = severity
				}
			}
		}
		return true
	}
}

func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

func literal(e ast.Expr) (uint32, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.INT {
		return 0, false
	}
	n, err := strconv.ParseUint(l.Value, 10, 32)
	return uint32(n), err == nil && n > 0
}
