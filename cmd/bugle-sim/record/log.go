package record

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/agent"
)

// ErrClosed is what an agent's record returns once it or the log is closed.
var ErrClosed = errors.New("write record: it is closed")

// A Log is the file. Its methods, and the records that it gives out, may be used
// by many goroutines.
type Log struct {
	path   string
	gather time.Duration
	file   file  // the writer's once Open has returned
	size   int64 // of what is on disk; the writer's too

	syncs   atomic.Uint64
	work    chan struct{} // one token: a group waits to be written
	stop    chan struct{}
	stopped chan struct{}

	mu      sync.Mutex
	devices map[uint32][]agent.Entry // read, and not yet loaded by their agent
	loaded  map[uint32]bool
	group   *group // gathers
	closed  bool
	err     error // of a write that failed; final
}

// file is what the log needs of [os.File].
type file interface {
	WriteAt(b []byte, offset int64) (int, error)
	Sync() error
	Truncate(size int64) error
	Close() error
}

// A group is what one fsync makes durable.
type group struct {
	buf  []byte // room for the header, then records
	done chan struct{}
	err  error // to be read after done
}

func newGroup() *group {
	return &group{buf: make([]byte, groupHeader, 4<<10), done: make(chan struct{})}
}

func (g *group) empty() bool { return len(g.buf) == groupHeader }

// Open reads the file at path, or makes one, and cuts off what a crash tore. A
// file that is mostly history is written anew. A group is written gather after it
// is first waited for, so that more can join it; 0 is at once. Call Close when
// done.
func Open(path string, gather time.Duration) (*Log, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	c, err := decodeFile(path, b)
	if err != nil {
		return nil, err
	}
	if c.good == 0 || c.changes > 2*len(c.devices)+1024 {
		if c.good, err = rewrite(path, c.devices); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open records: %w", err)
	}
	if err := errors.Join(f.Truncate(int64(c.good)), f.Sync()); err != nil {
		return nil, errors.Join(fmt.Errorf("cut torn group: %w", err), f.Close())
	}
	return start(path, gather, f, int64(c.good), c.devices), nil
}

func start(path string, gather time.Duration, f file, size int64, devices map[uint32][]agent.Entry) *Log {
	l := &Log{path: path, gather: gather, file: f, size: size, devices: devices, loaded: make(map[uint32]bool),
		work: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}), group: newGroup()}
	go l.write()
	return l
}

// rewrite puts a file in the place of the one at path that says the same in one
// record for each device, and returns its size.
func rewrite(path string, devices map[uint32][]agent.Entry) (size int, err error) {
	b := []byte(header)
	for _, device := range slices.Sorted(maps.Keys(devices)) {
		for part := range slices.Chunk(devices[device], maxEntries/4) {
			start := len(b)
			b = append(b, make([]byte, groupHeader)...)
			if b, err = appendChange(b, &change{device, add, part}); err != nil {
				return 0, fmt.Errorf("rewrite records: %w", err)
			}
			sealGroup(b[start:])
		}
	}
	if err := replaceFile(path, b); err != nil {
		return 0, fmt.Errorf("rewrite records %s: %w", path, err)
	}
	return len(b), nil
}

// replaceFile is durable: write, fsync, rename, fsync of the folder.
func replaceFile(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = cmp.Or(err, f.Sync()); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// Syncs returns how many groups have been made durable, each by one fsync.
func (l *Log) Syncs() uint64 { return l.syncs.Load() }

// Close writes what was appended and is not yet on disk, and lets go of the file.
// Agents must have closed their records.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	<-l.stopped
	if err := errors.Join(l.err, l.file.Close()); err != nil {
		return fmt.Errorf("close records %s: %w", l.path, err)
	}
	return nil
}

// append puts a change into the group that gathers, and returns when it is on
// disk if durable is set.
func (l *Log) append(c *change, durable bool) error {
	record, err := appendChange(nil, c)
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	g, full, err := l.join(record)
	if err != nil {
		return err
	}
	if durable || full {
		select {
		case l.work <- struct{}{}:
		default:
		}
	}
	if !durable {
		return nil
	}
	<-g.done
	return g.err
}

// join puts a record into a group; while the one that gathers is full it waits.
func (l *Log) join(record []byte) (g *group, full bool, err error) {
	for {
		l.mu.Lock()
		switch g = l.group; {
		case l.err != nil:
			err = l.err
		case l.closed:
			err = ErrClosed
		case len(g.buf) < groupBytes:
			g.buf = append(g.buf, record...)
		default:
			l.mu.Unlock()
			<-g.done
			continue
		}
		full = len(g.buf) >= groupBytes
		l.mu.Unlock()
		return g, full, err
	}
}

// write writes groups, one after the other, until Close.
func (l *Log) write() {
	defer close(l.stopped)
	for {
		select {
		case <-l.work:
			l.pause()
			l.commit()
		case <-l.stop:
			l.commit()
			return
		}
	}
}

// pause lets a group gather, until Close.
func (l *Log) pause() {
	if l.gather <= 0 {
		return
	}
	t := time.NewTimer(l.gather)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.stop:
	}
}

// commit writes the group that gathers and lets the next one gather meanwhile.
func (l *Log) commit() {
	l.mu.Lock()
	g := l.group
	if g.empty() {
		l.mu.Unlock()
		return
	}
	l.group = newGroup()
	g.err = l.err
	l.mu.Unlock()
	if g.err == nil {
		g.err = l.put(g.buf)
	}
	if g.err != nil {
		l.mu.Lock()
		l.err = g.err
		l.mu.Unlock()
	}
	close(g.done)
}

// put makes one group durable. What a write that fails may have left is cut off,
// or else found torn at the next Open.
func (l *Log) put(b []byte) error {
	sealGroup(b)
	_, err := l.file.WriteAt(b, l.size)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write records %s: %w", l.path, err), l.file.Truncate(l.size))
	}
	l.size += int64(len(b))
	l.syncs.Add(1)
	return nil
}
