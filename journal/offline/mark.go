package offline

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bugle-fleet/bugle/journal"
)

// A Mark is what the file history of a journal's folder says; package
// journal/jetstream writes it.
type Mark struct {
	History [16]byte     // which journal this is
	Head    journal.Head // the end of a prefix that it surely has
}

// ErrMark is wrapped by the error for a file history that is damaged.
var ErrMark = errors.New("file history is damaged")

const (
	markMagic = "BGH1"
	markSize  = 4 + 16 + 8 + 8 + 32 + sha256.Size
)

func readMark(dir string) (Mark, error) {
	b, err := readFile(filepath.Join(dir, "history"), markSize)
	if err != nil {
		return Mark{}, err
	}
	return parseMark(b)
}

func parseMark(b []byte) (m Mark, err error) {
	if len(b) != markSize || string(b[:4]) != markMagic {
		return m, ErrMark
	}
	body := b[:markSize-sha256.Size]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], b[len(body):]) {
		return m, ErrMark
	}
	m.History = [16]byte(body[4:])
	m.Head = journal.Head{Event: binary.BigEndian.Uint64(body[20:]), Pages: binary.BigEndian.Uint64(body[28:]), Hash: [32]byte(body[36:])}
	return m, nil
}

// readFile reads a file of at most limit bytes; of a longer one it returns one
// byte more.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}
