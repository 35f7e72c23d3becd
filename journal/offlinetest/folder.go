package offlinetest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// A Shape is what a journal is to look like. The zero value of each field but
// Pages has a meaning.
type Shape struct {
	Pages    []int // how many events each page has
	PerFile  int   // pages in a file of messages; 0 means 10
	Sealed   []int // after so many pages each a generation was sealed
	Archived int   // so many of those have an archive
	Removed  int   // so many of those are not in the live store any more
	Signed   int   // pages that the checkpoint covers; 0 means all, less than 0 that there is none
	Marked   int   // pages that the file history tells of; 0 means all, less than 0 none
	Notes    []int // pages whose last event is a checkpoint of all pages before
	Size     int   // of an event's text in bytes; 0 means some 20
}

// A Folder is a journal's folder, and all that is in it.
type Folder struct {
	Dir         string
	History     [16]byte
	Origin      string
	Key         ed25519.PrivateKey
	Pages       [][]byte
	Heads       []journal.Head // Heads[i] is the end of the first i pages
	Generations generation.List
	Shape       Shape
}

// Public is the key of its checkpoints.
func (f *Folder) Public() ed25519.PublicKey { return f.Key.Public().(ed25519.PublicKey) }

// Begin is when the first event was accepted, in Unix nanoseconds.
const Begin = 1_700_000_000_000_000_000

// Make makes a journal in dir. The same shape gives the same bytes.
func Make(t testing.TB, dir string, shape Shape) *Folder {
	t.Helper()
	if shape.PerFile == 0 {
		shape.PerFile = 10
	}
	f := &Folder{Dir: dir, History: [16]byte{0xb0, 15: 0x0b}, Key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)), Shape: shape}
	f.Origin = fmt.Sprintf("bugle.T01/%x", f.History)
	f.fill(t)
	f.split(t)
	must(t, f.WriteMark(f.Heads[covered(shape.Marked, len(f.Pages))]))
	must(t, os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600))
	if shape.Signed >= 0 {
		f.sign(t, covered(shape.Signed, len(f.Pages)))
	}
	return f
}

func covered(n, all int) int {
	if n == 0 {
		return all
	}
	return max(n, 0)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fill makes the pages.
func (f *Folder) fill(t testing.TB) {
	t.Helper()
	built := tree.NewBuilder()
	f.Heads = []journal.Head{{}}
	accepted := int64(Begin)
	for i, count := range f.Shape.Pages {
		var b journal.PageBuilder
		head := f.Heads[i]
		for k := range count {
			body := Body(t, head.Event+uint64(k)+1, f.Shape.Size)
			if k == count-1 && slices.Contains(f.Shape.Notes, i+1) {
				body = f.note(t, built)
			}
			b.Add(body)
		}
		s := b.Seal(head, accepted)
		must(t, built.Add(s.Page()))
		accepted += 1_000_000
		f.Pages, f.Heads = append(f.Pages, s.Bytes()), append(f.Heads, s.Head)
	}
}

// Body is event n.
func Body(t testing.TB, n uint64, size int) []byte {
	t.Helper()
	text := fmt.Sprintf("file-%012d.BTS", n)
	if len(text) < size {
		text += strings.Repeat(".", size-len(text))
	}
	b, err := (&event.Event{Payload: &event.FileRequeued{Name: text}}).Append(nil)
	must(t, err)
	return b
}

// note is an event with a signed checkpoint of what was built.
func (f *Folder) note(t testing.TB, b *tree.Builder) []byte {
	t.Helper()
	c, text := f.Checkpoint(t, b)
	body, err := (&event.Event{Payload: &event.CheckpointSigned{Events: c.Events, Text: text}}).Append(nil)
	must(t, err)
	return body
}

// Checkpoint signs a checkpoint of what was built.
func (f *Folder) Checkpoint(t testing.TB, b *tree.Builder) (tree.Checkpoint, []byte) {
	t.Helper()
	h := b.Head()
	c := tree.Checkpoint{Origin: f.Origin, Pages: h.Pages, Root: b.Root(), Events: h.Event, Chain: h.Hash, Signed: time.Unix(1_700_000_100, 0).UTC()}
	text, err := c.Sign(f.Key)
	must(t, err)
	return c, text
}

// CheckpointOf signs a checkpoint of the first n pages.
func (f *Folder) CheckpointOf(t testing.TB, n int) (tree.Checkpoint, []byte) {
	t.Helper()
	return f.Checkpoint(t, f.built(t, n))
}

func (f *Folder) built(t testing.TB, n int) *tree.Builder {
	t.Helper()
	b := tree.NewBuilder()
	for i := range n {
		p, err := journal.ParsePage(f.Pages[i], f.Heads[i])
		must(t, err)
		must(t, b.Add(p))
	}
	return b
}

// split writes the generations.
func (f *Folder) split(t testing.TB) {
	t.Helper()
	from := 0
	for i := 0; i <= len(f.Shape.Sealed); i++ {
		to := len(f.Pages)
		g := generation.Generation{Number: uint32(i + 1), Before: f.Heads[from]}
		if i < len(f.Shape.Sealed) {
			to = f.Shape.Sealed[i]
			g.End = f.Heads[to]
		}
		if i < f.Shape.Archived {
			f.archive(t, &g, from, to)
		}
		if g.Removed = i < f.Shape.Removed; !g.Removed {
			must(t, WriteFiles(generation.LiveFolder(f.Dir, g.Number), f.Shape.PerFile, f.Pages[from:to]))
		}
		f.Generations = append(f.Generations, g)
		from = to
	}
	must(t, generation.Write(f.Dir, f.Generations))
}

func (f *Folder) archive(t testing.TB, g *generation.Generation, from, to int) {
	t.Helper()
	must(t, os.MkdirAll(generation.ArchiveFolder(f.Dir), 0o700))
	before := f.built(t, from)
	a, err := archive.Create(filepath.Join(generation.ArchiveFolder(f.Dir), generation.ArchiveName(g.Number)),
		archive.Header{History: f.History, Generation: g.Number, Before: g.Before, Peaks: before.Peaks()})
	must(t, err)
	for _, raw := range f.Pages[from:to] {
		must(t, a.Add(raw))
	}
	c, text := f.CheckpointOf(t, to)
	info, err := a.Close(archive.Seal{Root: c.Root, Checkpoint: text})
	must(t, err)
	g.Archive, g.Size, g.Digest = generation.ArchiveName(g.Number), uint64(info.Size), info.Digest
}

// WriteMark writes the file history.
func (f *Folder) WriteMark(h journal.Head) error {
	b := append([]byte("BGH1"), f.History[:]...)
	b = binary.BigEndian.AppendUint64(b, h.Event)
	b = binary.BigEndian.AppendUint64(b, h.Pages)
	b = append(b, h.Hash[:]...)
	sum := sha256.Sum256(b)
	return os.WriteFile(filepath.Join(f.Dir, "history"), append(b, sum[:]...), 0o600)
}

// sign makes the folder tree, as a site does.
func (f *Folder) sign(t testing.TB, n int) {
	t.Helper()
	tr, err := tree.Open(filepath.Join(f.Dir, "tree"), tree.Options{Journal: pages{f, n}, Origin: f.Origin, Key: f.Key,
		Now: func() time.Time { return time.Unix(1_700_000_100, 0) }})
	must(t, err)
	must(t, tr.Run(context.Background()))
	must(t, tr.Close())
}

// pages is the first n pages as a journal that is closed when they were read.
type pages struct {
	f *Folder
	n int
}

func (p pages) Head() journal.Head { return p.f.Heads[p.n] }

func (p pages) Read(_ context.Context, from uint64) (journal.Reader, error) {
	i := 0
	for i < p.n && p.f.Heads[i+1].Event < from {
		i++
	}
	return &pageReader{p, i, io.EOF}, nil
}

func (p pages) Follow(ctx context.Context, from uint64) (journal.Reader, error) {
	r, err := p.Read(ctx, from)
	r.(*pageReader).end = journal.ErrClosed
	return r, err
}

type pageReader struct {
	pages
	i   int
	end error
}

func (r *pageReader) Next(context.Context) (*journal.Page, error) {
	if r.i == r.n {
		return nil, r.end
	}
	r.i++
	return journal.ParsePage(r.f.Pages[r.i-1], r.f.Heads[r.i-1])
}

func (r *pageReader) Close() error { return nil }

// Copy copies the folder to another place.
func (f *Folder) Copy(t testing.TB, dir string) *Folder {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(dir), 0o700))
	if err := os.CopyFS(dir, os.DirFS(f.Dir)); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	c := *f
	c.Dir = dir
	return &c
}
