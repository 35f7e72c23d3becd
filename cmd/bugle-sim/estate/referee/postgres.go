package referee

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Postgres is the name of PostgreSQL.
const Postgres = "postgres"

// The settings of a cluster that has the machine, and data that can be made again.
var settings = []string{"listen_addresses=", "shared_buffers=2GB", "work_mem=256MB", "maintenance_work_mem=512MB", "effective_cache_size=8GB",
	"max_wal_size=8GB", "wal_level=minimal", "max_wal_senders=0", "fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off",
	"random_page_cost=1.1", "jit=off", "max_parallel_workers_per_gather=2", "log_min_messages=fatal"}

// A cluster is a private PostgreSQL.
type cluster struct {
	dir string
	bin string
	as  []string // what runs a command as the user that owns the cluster
}

// StartPostgres starts a private cluster in a new folder below dir, which the user
// postgres must be able to reach if the caller is root.
func StartPostgres(ctx context.Context, dir string) (*Peer, error) {
	bin, err := findPostgres()
	if err != nil {
		return nil, err
	}
	c := &cluster{bin: bin}
	if c.dir, err = os.MkdirTemp(dir, "pg-"); err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	s, err := startSession(ctx, Postgres, psqlBatch, filepath.Join(bin, "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", c.dir, "-U", "postgres", "-d", "postgres")
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	p := &Peer{Name: Postgres, dir: dir, d: postgres{}, s: s, backend: c}
	if _, err := s.run("set client_min_messages = error;\n", nil); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return p, nil
}

// findPostgres returns the folder of initdb, the newest of several.
func findPostgres() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil { // its other programs lie beside it
			return filepath.Dir(path), nil
		}
	}
	all, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is right
	if len(all) == 0 {
		return "", fmt.Errorf("find postgres: initdb: %w", ErrMissing)
	}
	return filepath.Dir(slices.Max(all)), nil
}

// start makes the cluster. PostgreSQL does not run as root.
func (c *cluster) start(ctx context.Context) error {
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return fmt.Errorf("start postgres: user postgres: %w", ErrMissing)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(c.dir, uid, gid); err != nil {
			return fmt.Errorf("start postgres: %w", err)
		}
		c.as = []string{"runuser", "-u", "postgres", "--"}
	}
	data := filepath.Join(c.dir, "data")
	if err := c.command(ctx, "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--locale=C", "-E", "UTF8", "-N"); err != nil {
		return err
	}
	options := "-k " + c.dir
	for _, s := range settings {
		options += " -c " + s
	}
	return c.command(ctx, "pg_ctl", "-D", data, "-w", "-s", "-l", filepath.Join(c.dir, "log"), "-o", options, "start")
}

func (c *cluster) command(ctx context.Context, name string, args ...string) error {
	argv := append(append(slices.Clone(c.as), filepath.Join(c.bin, name)), args...)
	p := exec.CommandContext(ctx, argv[0], argv[1:]...)
	p.Dir = c.dir
	// A file and not a pipe: the server that pg_ctl starts keeps it open.
	out, err := os.CreateTemp("", "bugle-sim-")
	if err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	defer os.Remove(out.Name())
	defer out.Close()
	p.Stdout, p.Stderr = out, out
	if err := p.Run(); err != nil {
		said, _ := os.ReadFile(out.Name()) // only to say more
		return fmt.Errorf("run %s: %w: %s", name, err, strings.TrimSpace(string(said)))
	}
	return nil
}

// stop also stops a cluster whose start went wrong half way.
func (c *cluster) stop() error {
	data := filepath.Join(c.dir, "data")
	var err error
	if _, started := os.Stat(filepath.Join(data, "postmaster.pid")); started == nil {
		err = c.command(context.Background(), "pg_ctl", "-D", data, "-w", "-s", "-m", "immediate", "stop")
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

func psqlBatch(w *bufio.Writer, statements, mark string) error {
	w.WriteString(statements)
	_, err := w.WriteString("\n\\echo '" + mark + "'\n")
	return err
}

func (c *cluster) form(b []byte, fields []string, columns []column) []byte {
	for i, f := range fields {
		if i > 0 {
			b = append(b, '\t')
		}
		b = appendCopied(b, f, i > 0 && i <= len(columns) && columns[i-1].list)
	}
	return b
}

// take sends the file through the client, for the server may not reach it.
func (c *cluster) take(s *session, table, file string, _ []column) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Fprintf(s.in, "copy %s from stdin;\n", table)
	if _, err := io.Copy(s.in, f); err != nil {
		return s.failed(err)
	}
	_, err = s.run("\\.\n", nil)
	return err
}

var (
	copied = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`)
	within = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
)

// appendCopied appends a field as COPY reads it.
func appendCopied(b []byte, field string, list bool) []byte {
	if field == null {
		return append(b, `\N`...)
	}
	if list {
		values := strings.Split(field, separator)
		for i, v := range values {
			values[i] = `"` + within.Replace(v) + `"`
		}
		field = "{" + strings.Join(values, ",") + "}"
	}
	return append(b, copied.Replace(field)...)
}

func (c *cluster) members(s *session, pair func(number, device int) error) error {
	_, err := s.run("copy (select coll, device from member order by coll, device) to stdout;\n", pairs("\t", pair))
	return err
}

// pairs reads lines of two numbers.
func pairs(separator string, pair func(number, device int) error) func(string) error {
	return func(line string) error {
		a, b, _ := strings.Cut(line, separator)
		number, err := strconv.Atoi(a)
		if err != nil {
			return fmt.Errorf("read members: %w", err)
		}
		device, err := strconv.Atoi(b)
		if err != nil {
			return fmt.Errorf("read members: %w", err)
		}
		return pair(number, device)
	}
}

func (c *cluster) size(s *session) (n int64, err error) {
	_, err = s.run("select pg_total_relation_size('member');\n", func(line string) (err error) {
		n, err = strconv.ParseInt(line, 10, 64)
		return err
	})
	return n, err
}
