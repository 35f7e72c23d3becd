package jetstream

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/durable"
)

// A mark is what the file history says.
type mark struct {
	history [16]byte
	head    journal.Head // a prefix that the journal surely has
}

const (
	markFile  = "history"
	markMagic = "BGH1"
	markSize  = 4 + 16 + 8 + 8 + 32 + 32
)

var errMark = errors.New("file history is damaged")

func (m mark) bytes() []byte {
	b := make([]byte, 0, markSize)
	b = append(b, markMagic...)
	b = append(b, m.history[:]...)
	b = binary.BigEndian.AppendUint64(b, m.head.Event)
	b = binary.BigEndian.AppendUint64(b, m.head.Pages)
	b = append(b, m.head.Hash[:]...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func parseMark(b []byte) (m mark, err error) {
	if len(b) != markSize || string(b[:4]) != markMagic {
		return m, errMark
	}
	body := b[:markSize-sha256.Size]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], b[len(body):]) {
		return m, errMark
	}
	m.history = [16]byte(body[4:])
	m.head = journal.Head{Event: binary.BigEndian.Uint64(body[20:]), Pages: binary.BigEndian.Uint64(body[28:]), Hash: [32]byte(body[36:])}
	return m, nil
}

func readMark(dir string) (mark, error) {
	b, err := os.ReadFile(filepath.Join(dir, markFile))
	if err != nil {
		return mark{}, err
	}
	return parseMark(b)
}

// writeMark replaces the file, durably.
func writeMark(dir string, m mark) error {
	return durable.Replace(filepath.Join(dir, markFile), m.bytes())
}
