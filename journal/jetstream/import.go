package jetstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/lock"
)

// ErrNotEmpty is wrapped by the error of [Import] into a folder that is in use.
var ErrNotEmpty = errors.New("the folder is not empty")

// Import makes a journal with the given history in dir, which must be empty or
// not there. The archives, those of generations 1, 2, … in order, are copied in;
// they are the generations that the live store does not hold. The pages, which
// must follow them, go into the live store. Everything is checked as it goes: what
// does not hold is a [*journal.DamageError]. When Import returns without an error
// the journal is durable and [Open] opens it; else the folder holds what Open
// refuses, and is to be removed.
func Import(ctx context.Context, dir string, history [16]byte, archives []string, pages iter.Seq2[[]byte, error]) error {
	if err := importInto(ctx, dir, history, archives, pages, Options{}.orDefault()); err != nil {
		return fmt.Errorf("import journal into %s: %w", dir, err)
	}
	return nil
}

func importInto(ctx context.Context, dir string, history [16]byte, archives []string, pages iter.Seq2[[]byte, error], opts Options) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	unlock, err := lock.Take(filepath.Join(dir, lockFile))
	if err != nil {
		return err
	}
	defer unlock()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != lockFile {
			return fmt.Errorf("%w: it holds %s", ErrNotEmpty, e.Name())
		}
	}
	if err := durable.Replace(filepath.Join(dir, importingFile), nil); err != nil {
		return err
	}
	if err := opts.step("began"); err != nil {
		return err
	}
	m := &importer{dir: dir, history: history, opts: &opts}
	for _, name := range archives {
		if err := m.archive(ctx, name); err != nil {
			return fmt.Errorf("archive %s: %w", name, err)
		}
		if err := opts.step("took an archive"); err != nil {
			return err
		}
	}
	if err := m.live(ctx, pages); err != nil {
		return err
	}
	if err := opts.step("took the pages"); err != nil {
		return err
	}
	return m.finish()
}

// An importer makes one journal.
type importer struct {
	dir     string
	history [16]byte
	opts    *Options
	list    generation.List
	head    journal.Head

	*embedded
	acks    *nats.Subscription
	size    int64  // of the pages of the open generation
	sent    uint64 // messages of the open generation
	waiting int    // messages that are not acknowledged
	bytes   int    // in them, about
	sizes   []int  // of each of them
}

// archive copies the archive of the next generation.
func (m *importer) archive(ctx context.Context, name string) error {
	g := generation.Generation{Number: uint32(len(m.list) + 1), Before: m.head, Removed: true}
	g.Archive = generation.ArchiveName(g.Number)
	folder := generation.ArchiveFolder(m.dir)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	var err error
	if g.Digest, g.Size, err = copyFile(ctx, name, filepath.Join(folder, g.Archive)); err != nil {
		return err
	}
	r, err := archive.Open(filepath.Join(folder, g.Archive))
	if err != nil {
		return err
	}
	defer r.Close()
	i := r.Info()
	switch {
	case i.History != m.history:
		return fmt.Errorf("%w: its history is %x, not %x", archive.ErrHistory, i.History, m.history)
	case i.Generation != g.Number:
		return fmt.Errorf("it is the archive of generation %d, not of %d", i.Generation, g.Number)
	case i.Before != g.Before:
		return archive.ErrGap
	}
	g.End = i.End
	if err := verifyArchive(ctx, r, &g); err != nil {
		return err
	}
	m.list, m.head = append(m.list, g), g.End
	return nil
}

// copyFile makes a durable copy and returns its SHA-256 and size.
func copyFile(ctx context.Context, from, to string) (digest [32]byte, size uint64, err error) {
	in, err := os.Open(from)
	if err != nil {
		return digest, 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return digest, 0, err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), reader{ctx, in})
	return [32]byte(sum.Sum(nil)), uint64(n), errors.Join(err, out.Sync(), out.Close())
}

// A reader ends with its context.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// live puts pages into the live store.
func (m *importer) live(ctx context.Context, pages iter.Seq2[[]byte, error]) (err error) {
	if m.embedded, err = startServer(m.dir, m.opts, false); err != nil {
		return err
	}
	defer m.stop()
	if m.acks, err = m.conn.SubscribeSync(m.conn.NewInbox()); err != nil {
		return err
	}
	if err := m.next(ctx); err != nil || pages == nil {
		return err
	}
	for raw, err := range pages {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = m.page(ctx, raw)
		}
		if err != nil {
			return err
		}
	}
	return m.drain(ctx, 0)
}

// next begins a generation.
func (m *importer) next(ctx context.Context) error {
	if err := m.drain(ctx, 0); err != nil {
		return err
	}
	if n := len(m.list); n > 0 {
		m.list[n-1].End = m.head
	}
	m.list = append(m.list, generation.Generation{Number: uint32(len(m.list) + 1), Before: m.head})
	m.size, m.sent = 0, 0
	return m.make(ctx, uint32(len(m.list)))
}

// Bounds of what is under way to the embedded server.
const (
	importMessages = 256
	importBytes    = 8 << 20
)

// page checks a page and sends it.
func (m *importer) page(ctx context.Context, raw []byte) error {
	p, err := journal.ParsePage(raw, m.head)
	if err != nil {
		return err
	}
	if m.size >= m.opts.SealBytes {
		if err := m.next(ctx); err != nil {
			return err
		}
	}
	msg := message(uint32(len(m.list)), m.sent, hex.EncodeToString(p.Hash[:]), raw)
	msg.Reply = m.acks.Subject
	if err := m.conn.PublishMsg(msg); err != nil {
		return err
	}
	m.head = m.head.Next(p)
	m.sent++
	m.size += int64(len(raw))
	m.waiting, m.bytes, m.sizes = m.waiting+1, m.bytes+len(raw), append(m.sizes, len(raw))
	if m.waiting >= importMessages || m.bytes >= importBytes {
		return m.drain(ctx, m.waiting/2)
	}
	return nil
}

// drain waits until no more than some messages wait for their acknowledgement.
func (m *importer) drain(ctx context.Context, most int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for m.waiting > most {
		reply, err := m.acks.NextMsgWithContext(ctx)
		if err != nil {
			return errors.Join(fmt.Errorf("wait for the embedded server: %w", err), context.Cause(m.well))
		}
		a, err := readAck(reply.Data)
		want := m.sent - uint64(m.waiting) + 1
		switch {
		case err != nil:
			return err
		case a.Error != nil:
			return fmt.Errorf("the embedded server does not take message %d: %s", want, a.Error.Description)
		case a.Seq != want:
			return fmt.Errorf("message %d was stored as message %d", want, a.Seq)
		}
		m.bytes -= m.sizes[0]
		m.waiting, m.sizes = m.waiting-1, m.sizes[1:]
	}
	return nil
}

// finish makes everything durable, and the folder a journal's.
func (m *importer) finish() error {
	err := filepath.WalkDir(m.dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return durable.SyncFolder(path)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
	if err != nil {
		return err
	}
	if err := generation.Write(m.dir, m.list); err != nil {
		return err
	}
	if err := m.opts.step("wrote the list"); err != nil {
		return err
	}
	if err := writeMark(m.dir, mark{history: m.history, head: m.head}); err != nil {
		return err
	}
	if err := m.opts.step("wrote the mark"); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(m.dir, importingFile)); err != nil {
		return err
	}
	return durable.SyncFolder(m.dir)
}
