package fleet

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
)

// A helper is another process of this program. It ends when its standard input does;
// what it says to people goes to log.
type helper struct {
	process *load.Process
	in      io.WriteCloser // its standard input
	out     io.ReadCloser  // its standard output
	log     string         // name of the file
}

// startHelper starts a command in the way of start.
func (f *Fleet) startHelper(name string, command []string, start func(*exec.Cmd) (*load.Process, error)) (*helper, error) {
	c := &helper{log: filepath.Join(f.cfg.Dir, name+".log")}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = log
	if c.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	// A pipe of our own: Process waits for the end of cmd while this one still reads.
	var w *os.File
	if c.out, w, err = os.Pipe(); err != nil {
		return nil, errors.Join(err, c.in.Close())
	}
	cmd.Stdout = w
	if c.process, err = start(cmd); err != nil {
		return nil, errors.Join(err, w.Close(), c.out.Close())
	}
	_ = w.Close()
	return c, nil
}
