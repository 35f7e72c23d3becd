package peer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
)

// logFile is the server's log in the peer's folder.
const logFile = "server.log"

// startOwn starts this program as a server. It says its address on its standard output
// once it listens, and ends when its standard input does.
func startOwn(name string) func(context.Context, Config) (started, error) {
	return func(ctx context.Context, c Config) (s started, err error) {
		self, err := os.Executable()
		if err != nil {
			return s, fmt.Errorf("find own program: %w", err)
		}
		cmd := exec.Command(self, commandName, name, "--dir", c.Dir)
		if s.in, err = cmd.StdinPipe(); err != nil {
			return s, fmt.Errorf("start %s: %w", name, err)
		}
		var says *os.File
		if s.out, says, err = os.Pipe(); err != nil {
			return s, fmt.Errorf("start %s: %w", name, err)
		}
		cmd.Stdout = says
		s.process, err = begin(cmd, c)
		_ = says.Close()
		if err != nil {
			return s, err
		}
		if s.address, err = firstLine(ctx, s.out); err != nil {
			return s, fmt.Errorf("wait for address of %s: %w", name, err)
		}
		return s, nil
	}
}

// begin starts a server with its log.
func begin(cmd *exec.Cmd, c Config) (*load.Process, error) {
	log, err := os.OpenFile(filepath.Join(c.Dir, logFile), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make log of server: %w", err)
	}
	defer log.Close()
	cmd.Stderr = log
	if err := shareFiles(); err != nil {
		return nil, err
	}
	return load.StartOn(cmd, c.CPU)
}

// firstLine reads a line until ctx ends.
func firstLine(ctx context.Context, from *os.File) (string, error) {
	stop := context.AfterFunc(ctx, func() { _ = from.Close() })
	defer stop()
	line, err := bufio.NewReaderSize(from, 256).ReadString('\n')
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err == io.EOF:
		return "", errors.New("the server ended")
	case err != nil:
		return "", err
	}
	return line[:len(line)-1], nil
}

// A serverError is an error with what the server logged last.
type serverError struct {
	err  error
	said string
}

func (e *serverError) Error() string { return fmt.Sprintf("%v (server: %s)", e.err, e.said) }
func (e *serverError) Unwrap() error { return e.err }

// fault adds to an error what the server logged last.
func (t *target) fault(err error) error {
	if s := new(serverError); errors.As(err, &s) {
		return err
	}
	said := lastLine(filepath.Join(t.cfg.Dir, logFile))
	if t.process != nil {
		select {
		case <-t.process.Ended():
			err = fmt.Errorf("%w; the server has ended", err)
		default:
		}
	}
	if said == "" {
		return err
	}
	return &serverError{err, said}
}

// lastLine is the last line of a log, or empty.
func lastLine(name string) string {
	const enough = 1024
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err != nil || size == 0 {
		return ""
	} else if _, err := f.Seek(max(0, size-enough), io.SeekStart); err != nil {
		return ""
	}
	b, err := io.ReadAll(io.LimitReader(f, enough))
	if err != nil {
		return ""
	}
	b = bytes.TrimSpace(b)
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}
