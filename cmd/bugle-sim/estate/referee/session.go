package referee

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// A session is a client of a database that reads statements on its standard input
// and writes rows on its standard output, and after each batch a line with a mark.
type session struct {
	name    string
	process *exec.Cmd
	in      *bufio.Writer
	close   io.Closer
	out     *bufio.Reader
	errors  *tail
	marks   int
	// batch writes statements and asks for a mark behind them.
	batch func(w *bufio.Writer, statements, mark string) error
}

func startSession(ctx context.Context, name string, batch func(*bufio.Writer, string, string) error, argv ...string) (*session, error) {
	p := exec.CommandContext(ctx, argv[0], argv[1:]...)
	s := &session{name: name, process: p, errors: &tail{}, batch: batch}
	p.Stderr = s.errors
	in, err := p.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	s.in, s.close, s.out = bufio.NewWriterSize(in, 1<<20), in, bufio.NewReaderSize(out, 1<<20)
	return s, nil
}

// run carries statements out, hands on each row, and returns how long all took.
func (s *session) run(statements string, row func(string) error) (time.Duration, error) {
	s.marks++
	mark := fmt.Sprintf("--mark %d", s.marks)
	began := time.Now()
	if err := s.batch(s.in, statements, mark); err != nil {
		return 0, s.failed(err)
	}
	if err := s.in.Flush(); err != nil {
		return 0, s.failed(err)
	}
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			return 0, s.failed(err)
		}
		line = strings.TrimSuffix(line, "\n")
		if line == mark {
			return time.Since(began), nil
		}
		if row != nil {
			if err := row(line); err != nil {
				return 0, s.failed(err)
			}
		}
	}
}

// failed ends the session, and adds what it complained about.
func (s *session) failed(err error) error {
	s.end()
	if text := s.errors.String(); text != "" {
		return fmt.Errorf("run statements of %s: %s", s.name, text)
	}
	return fmt.Errorf("run statements of %s: %w", s.name, err)
}

func (s *session) end() {
	s.close.Close()
	s.process.Wait() // the process says on standard error what was wrong
}

// A tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const maxTail = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-maxTail):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}
