package referee

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// DuckDB is the name of DuckDB.
const DuckDB = "duckdb"

//go:embed duckdb.js
var script string

// A memory is a DuckDB in a process of node.
type memory struct{ dir string }

// StartDuckDB starts one. modules is the folder in which "npm install
// @duckdb/node-api" was run; files go to a new folder below dir.
func StartDuckDB(ctx context.Context, dir, modules string) (*Peer, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("find duckdb: node: %w", ErrMissing)
	}
	if modules, err = filepath.Abs(modules); err != nil {
		return nil, fmt.Errorf("find duckdb: %w", err)
	}
	if _, err := os.Stat(filepath.Join(modules, "node_modules", "@duckdb", "node-api")); err != nil {
		return nil, fmt.Errorf("find duckdb: module @duckdb/node-api in %s: %w", modules, ErrMissing)
	}
	m := &memory{}
	if m.dir, err = os.MkdirTemp(dir, "duckdb-"); err != nil {
		return nil, fmt.Errorf("start duckdb: %w", err)
	}
	// Modules are looked up from the folder of the script.
	if err := os.Symlink(filepath.Join(modules, "node_modules"), filepath.Join(m.dir, "node_modules")); err != nil {
		return nil, errors.Join(fmt.Errorf("start duckdb: %w", err), m.stop())
	}
	file := filepath.Join(m.dir, "duckdb.js")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("start duckdb: %w", err), m.stop())
	}
	s, err := startSession(ctx, DuckDB, duckBatch, node, file)
	if err != nil {
		return nil, errors.Join(err, m.stop())
	}
	return &Peer{Name: DuckDB, dir: dir, d: duckdb{}, s: s, backend: m}, nil
}

func duckBatch(w *bufio.Writer, statements, mark string) error {
	return json.NewEncoder(w).Encode(map[string]string{"statements": statements, "mark": mark})
}

func (m *memory) stop() error { return os.RemoveAll(m.dir) }

// form quotes every field, but not NULL.
func (m *memory) form(b []byte, fields []string, _ []column) []byte {
	for i, field := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		if field == null {
			b = append(b, `\N`...)
			continue
		}
		b = append(b, '"')
		b = append(b, strings.ReplaceAll(field, `"`, `""`)...)
		b = append(b, '"')
	}
	return b
}

func (m *memory) take(s *session, table, file string, columns []column) error {
	fields := 1 + len(columns)
	var types, list []string
	for i := range fields {
		types = append(types, fmt.Sprintf("'c%d': 'VARCHAR'", i))
		list = append(list, fmt.Sprintf("c%d", i))
		if i > 0 && columns[i-1].list {
			list[i] = fmt.Sprintf("string_split(c%d, chr(31))", i)
		}
	}
	_, err := s.run(fmt.Sprintf("insert into %s select %s from read_csv(%s, header = false, auto_detect = false, delim = ',', quote = '\"', escape = '\"', nullstr = '\\N', allow_quoted_nulls = false, columns = {%s});\n",
		table, strings.Join(list, ", "), literal(file), strings.Join(types, ", ")), nil)
	return err
}

func (m *memory) members(s *session, pair func(number, device int) error) error {
	file := filepath.Join(m.dir, "members.csv")
	if _, err := s.run(fmt.Sprintf("copy (select coll, device from member order by coll, device) to %s (header false);\n", literal(file)), nil); err != nil {
		return err
	}
	defer os.Remove(file)
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("read members: %w", err)
	}
	defer f.Close()
	read := pairs(",", pair)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if err := read(lines.Text()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// size is the estimate of the database's own view of memory: blocks of the table.
func (m *memory) size(s *session) (n int64, err error) {
	_, err = s.run("select sum(memory_usage_bytes)::bigint from duckdb_memory();\n", func(line string) (err error) {
		n, err = strconv.ParseInt(line, 10, 64)
		return err
	})
	return n, err
}
