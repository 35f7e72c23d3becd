package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// A file of pages, see FORMAT.md: a header, and then pages as they are in the
// journal, each behind its length.
const (
	pagesMagic  = "BGP1"
	pagesHeader = 4 + 16 + 8 + 8 + 32
	// maxPage is more than any page has in bytes.
	maxPage = journal.MaxPageBytes + 64<<10 + event.MaxEncoded
)

func pagesHead(history [16]byte, before journal.Head) []byte {
	b := append([]byte(pagesMagic), history[:]...)
	b = binary.BigEndian.AppendUint64(b, before.Event)
	b = binary.BigEndian.AppendUint64(b, before.Pages)
	return append(b, before.Hash[:]...)
}

// A pageReader reads the pages of a file and checks that they follow one
// another.
type pageReader struct {
	r    *bufio.Reader
	head journal.Head
	at   int64 // bytes that were read and are good
}

// newPageReader checks the header of a file of pages.
func newPageReader(r io.Reader, history [16]byte, before journal.Head) (*pageReader, error) {
	p := &pageReader{r: bufio.NewReaderSize(r, 1<<20), head: before, at: pagesHeader}
	got := make([]byte, pagesHeader)
	if _, err := io.ReadFull(p.r, got); err != nil {
		return nil, short(err)
	}
	switch want := pagesHead(history, before); {
	case string(got[:3]) == pagesMagic[:3] && got[3] > pagesMagic[3]:
		return nil, fmt.Errorf("%w: pages of version %c", ErrVersion, got[3])
	case !bytes.Equal(got, want):
		return nil, fmt.Errorf("%w: the header of the pages is not that of this history behind event %d", ErrDamaged, before.Event)
	}
	return p, nil
}

func short(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: the pages are cut short", ErrDamaged)
	}
	return err
}

// next returns the next page, io.EOF behind the last whole one. What does not
// hold together is an error.
func (p *pageReader) next() (*journal.Page, error) {
	var size [4]byte
	if _, err := io.ReadFull(p.r, size[:]); err == io.EOF {
		return nil, io.EOF
	} else if err != nil {
		return nil, short(err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxPage {
		return nil, fmt.Errorf("%w: a page of %d bytes behind event %d", ErrDamaged, n, p.head.Event)
	}
	raw := make([]byte, n)
	if _, err := io.ReadFull(p.r, raw); err != nil {
		return nil, short(err)
	}
	page, err := journal.ParsePage(raw, p.head)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	p.head = p.head.Next(page)
	p.at += int64(4 + n)
	return page, nil
}

// A pageWriter adds pages to a file.
type pageWriter struct {
	f    *os.File
	w    *bufio.Writer
	sum  hash.Hash
	size int64
	head journal.Head
}

// openPages opens a file of pages to add more, and makes it if it is not there.
// The first keep bytes must be good: they belong to a backup that was finished.
// Behind them, what an interrupted run left is kept as far as it is good.
func openPages(name string, history [16]byte, before journal.Head, keep int64) (*pageWriter, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	w := &pageWriter{f: f, sum: sha256.New(), head: before}
	if err := w.resume(history, before, keep); err != nil {
		return nil, errors.Join(fmt.Errorf("go on with %s: %w", name, err), f.Close())
	}
	w.w = bufio.NewWriterSize(f, 1<<20)
	return w, nil
}

func (w *pageWriter) resume(history [16]byte, before journal.Head, keep int64) error {
	r, err := newPageReader(w.f, history, before)
	if err == nil {
		for err == nil {
			_, err = r.next()
		}
		w.head, w.size = r.head, r.at
	}
	if err != io.EOF && !errors.Is(err, ErrDamaged) {
		return err
	}
	if w.size < keep {
		return fmt.Errorf("%w: only %d of %d bytes of pages are good", ErrDamaged, w.size, keep)
	}
	if err := w.f.Truncate(w.size); err != nil {
		return err
	}
	if w.size > 0 {
		if _, err := w.f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := io.Copy(w.sum, w.f)
		return err
	}
	head := pagesHead(history, before)
	w.sum.Write(head)
	w.size = pagesHeader
	_, err = w.f.WriteAt(head, 0)
	if err == nil {
		_, err = w.f.Seek(0, io.SeekEnd)
	}
	return err
}

// add adds the page behind the last one.
func (w *pageWriter) add(raw []byte) error {
	page, err := journal.ParsePage(raw, w.head)
	if err != nil {
		return err
	}
	size := binary.BigEndian.AppendUint32(nil, uint32(len(raw)))
	w.sum.Write(size)
	w.sum.Write(raw)
	if _, err := w.w.Write(size); err != nil {
		return err
	}
	if _, err := w.w.Write(raw); err != nil {
		return err
	}
	w.head = w.head.Next(page)
	w.size += int64(4 + len(raw))
	return nil
}

// close makes what was added durable.
func (w *pageWriter) close() error {
	return errors.Join(w.w.Flush(), w.f.Sync(), w.f.Close())
}

func (w *pageWriter) digest() (d [32]byte) { return [32]byte(w.sum.Sum(nil)) }
