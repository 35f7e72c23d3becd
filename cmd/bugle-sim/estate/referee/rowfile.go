package referee

import (
	"bufio"
	"errors"
	"os"
)

// A rowFile holds rows on their way into a table.
type rowFile struct {
	f    *os.File
	w    *bufio.Writer
	b    []byte // of the row before, to be used again
	rows int
	err  error
}

func newRowFile(dir string) (*rowFile, error) {
	f, err := os.CreateTemp(dir, "rows-")
	if err != nil {
		return nil, err
	}
	return &rowFile{f: f, w: bufio.NewWriterSize(f, 1<<18)}, nil
}

func (f *rowFile) name() string { return f.f.Name() }

// add adds a row; an error comes back from close.
func (f *rowFile) add(row []byte) {
	f.b = append(row, '\n')
	f.rows++
	if _, err := f.w.Write(f.b); f.err == nil {
		f.err = err
	}
}

func (f *rowFile) close() error { return errors.Join(f.err, f.w.Flush(), f.f.Close()) }

// remove may come before close, after an error.
func (f *rowFile) remove() {
	f.f.Close()
	os.Remove(f.f.Name())
}
