package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	cacheFile  = "hashes"
	cacheMagic = "BGTREE1\n"
	cacheFlush = 1 << 20 // bytes that wait in memory at most, besides those of one page
)

// A cache is the file hashes: for each page the number of its last event, and
// the hashes that the tree stores for it. FORMAT.md describes the bytes. Pages
// are appended; the file is cut back to what is signed when it is opened.
type cache struct {
	f       *os.File
	at      int64 // where what waits begins
	waiting []byte
}

func openCache(dir string) (*cache, error) {
	f, err := os.OpenFile(filepath.Join(dir, cacheFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	c := &cache{f: f}
	var magic [len(cacheMagic)]byte
	if _, err := f.ReadAt(magic[:], 0); err != nil || string(magic[:]) != cacheMagic {
		if err := c.cut(0); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if _, err := f.WriteAt([]byte(cacheMagic), 0); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return c, nil
}

// offset is where the row of page n, from 0, begins.
func offset(n uint64) int64 {
	return int64(len(cacheMagic)) + 8*int64(n) + tlog.HashSize*tlog.StoredHashCount(int64(n))
}

// cut drops all but the first n pages.
func (c *cache) cut(n uint64) error {
	c.at, c.waiting = offset(n), c.waiting[:0]
	return c.f.Truncate(c.at)
}

// holds tells whether the file is long enough for n pages.
func (c *cache) holds(n uint64) bool {
	s, err := c.f.Stat()
	return err == nil && s.Size() >= offset(n)
}

// add appends the row of the next page.
func (c *cache) add(last uint64, hashes []tlog.Hash) error {
	c.waiting = binary.BigEndian.AppendUint64(c.waiting, last)
	for i := range hashes {
		c.waiting = append(c.waiting, hashes[i][:]...)
	}
	if len(c.waiting) < cacheFlush {
		return nil
	}
	return c.flush()
}

func (c *cache) flush() error {
	if _, err := c.f.WriteAt(c.waiting, c.at); err != nil {
		return err
	}
	c.at += int64(len(c.waiting))
	c.waiting = c.waiting[:0]
	return nil
}

// sync makes all pages durable.
func (c *cache) sync() error {
	if err := c.flush(); err != nil {
		return err
	}
	return c.f.Sync()
}

// ReadHashes implements [tlog.HashReader] for what was flushed.
func (c *cache) ReadHashes(at []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(at))
	for i, n := range at {
		level, k := tlog.SplitStoredHashIndex(n)
		page := (k+1)<<level - 1 // the page whose row has the hash
		if _, err := c.f.ReadAt(hashes[i][:], int64(len(cacheMagic))+tlog.HashSize*n+8*(page+1)); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCache, err)
		}
	}
	return hashes, nil
}

// frontier reads what it takes to go on behind page n.
func (c *cache) frontier(n uint64) (frontier, error) {
	f := frontier{size: int64(n)}
	var at []int64
	for lo, bit := int64(0), 62; bit >= 0; bit-- {
		if f.size>>bit&1 == 1 {
			at = append(at, tlog.StoredHashIndex(bit, lo>>bit))
			lo += 1 << bit
		}
	}
	var err error
	f.peaks, err = c.ReadHashes(at)
	return f, err
}

// last reads the number of the last event of page n, from 1.
func (c *cache) last(n uint64) (uint64, error) {
	var b [8]byte
	if _, err := c.f.ReadAt(b[:], offset(n-1)); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrCache, err)
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

// page finds the page, from 0, that holds the event, among the first n.
func (c *cache) page(event, n uint64) (uint64, error) {
	var failed error
	i := sort.Search(int(n), func(i int) bool {
		var b [8]byte
		if _, err := c.f.ReadAt(b[:], offset(uint64(i))); err != nil {
			failed = err
		}
		return binary.BigEndian.Uint64(b[:]) >= event
	})
	if failed != nil || uint64(i) == n {
		return 0, errors.Join(ErrCache, failed)
	}
	return uint64(i), nil
}
