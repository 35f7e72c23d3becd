package jetstream

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bugle-fleet/bugle/journal"
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

// writeMark replaces the file: write, fsync, rename, fsync the folder.
func writeMark(dir string, m mark) error {
	name := filepath.Join(dir, markFile)
	f, err := os.OpenFile(name+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(m.bytes())
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return err
	}
	return syncDir(dir)
}

// identify checks the journal that ends at head against its mark, gives a new
// one a name, and makes the mark durable.
func (s *store) identify(ctx context.Context, m mark, head journal.Head) error {
	switch {
	case m.history == [16]byte{}:
		if head.Event > 0 {
			return &journal.DamageError{Event: 1, Page: 1, Reason: "there are events, but the file history is gone"}
		}
		rand.Read(m.history[:])
	case head.Pages < m.head.Pages:
		return &journal.DamageError{Event: head.Event + 1, Page: head.Pages + 1,
			Reason: fmt.Sprintf("the journal ends here, but it had %d events", m.head.Event)}
	case m.head.Pages > 0:
		raws, err := s.Load(ctx, m.head.Pages, m.head.Pages)
		if err != nil {
			return err
		}
		if journal.HashPage(raws[0]) != m.head.Hash {
			return &journal.DamageError{Event: m.head.Event, Page: m.head.Pages, Reason: "this is another history than it was"}
		}
	}
	m.head = head
	if err := writeMark(s.dir, m); err != nil {
		return err
	}
	s.mark, s.marked = m, true
	return nil
}
