package admin

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/journal/offline"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// archive asks the site for the pages that hold events from to to, 0 meaning its
// first and its last one, and says why. The stream checks what comes and ends with
// ctx.
func (c *client) archive(ctx context.Context, from, to uint64, reason string) (*archive.Stream, error) {
	body, err := c.history(ctx, from, to, "archive", reason)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { body.Close() })
	s, err := archive.NewStream(body)
	if err != nil {
		body.Close()
	}
	return s, err
}

// history is the bytes of such an archive. The site writes into its journal what
// the copy is for, archive or backup, and why.
func (c *client) history(ctx context.Context, from, to uint64, purpose, reason string) (io.ReadCloser, error) {
	q := query("from", number(from), "to", number(to), "for", purpose, "reason", reason)
	response, err := c.send(ctx, request{method: http.MethodGet, path: console.PathArchive, query: q})
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// headKey asks the site for the public key of its checkpoints.
func (c *client) headKey(ctx context.Context) (ed25519.PublicKey, error) {
	var reply console.CheckpointReply
	if err := c.get(ctx, console.PathCheckpoint, nil, &reply); err != nil {
		return nil, err
	}
	_, key, err := readVerifierKey(reply.Key, "")
	return key, err
}

// exportArchive writes the pages that hold events from to to, 0 meaning the first
// and the last one, into a file, and reads it back. With a folder they come
// from the journal there, of a site that does not run; else from the site, whose
// journal then says why.
func (s *session) exportArchive(from, to uint64, name, folder, reason string) error {
	var err error
	var key ed25519.PublicKey
	if folder != "" {
		err = s.exportOffline(from, to, name, folder)
	} else if key, err = s.client.headKey(s.ctx); err == nil {
		err = s.exportOnline(from, to, name, reason)
	}
	if err != nil {
		return err
	}
	report, err := verifyArchive(s.ctx, name, key)
	if err != nil {
		return fmt.Errorf("read back what was written: %w", err)
	}
	if len(report.Info.Checkpoint) == 0 {
		s.warn("nobody has signed for exactly these events, so the archive has no checkpoint: its hashes show that it is whole, not whose it is")
	}
	s.sayArchive(name, report.Info, "read back and whole", len(report.Info.Checkpoint) > 0)
	return nil
}

// exportOnline has the file before it asks: the site's history says of each copy
// that was asked for that it was taken.
func (s *session) exportOnline(from, to uint64, name, reason string) error {
	unfinished := name + ".tmp"
	f, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	body, err := s.client.history(s.ctx, from, to, "archive", reason)
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(unfinished))
	}
	defer body.Close()
	_, err = io.Copy(f, body)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(unfinished)
		return fmt.Errorf("write archive %s: %w", name, err)
	}
	return durable.Rename(unfinished, name)
}

// exportOffline makes the archive from the journal in a folder. It has a
// checkpoint if the site's last one is of exactly these pages.
func (s *session) exportOffline(from, to uint64, name, folder string) error {
	j, err := offline.Open(folder, offline.Options{})
	if err != nil {
		return err
	}
	defer j.Close()
	head := j.Head()
	if from, to = max(from, 1), orElse(to, head.Event); from > to || to > head.Event {
		return usage("events %d to %d are not there: the journal has events 1 to %d", from, to, head.Event)
	}
	r, err := j.Read(s.ctx, 1)
	if err != nil {
		return err
	}
	defer r.Close()
	before, first, err := skip(s.ctx, r, from)
	if err != nil {
		return err
	}
	f, err := archive.Create(name, archive.Header{History: j.History(), Before: before.Head(), Peaks: before.Peaks()})
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := addPages(s.ctx, f.Writer, r, first, to); err != nil {
		return err
	}
	seal := archive.Seal{}
	if text, err := readSmall(offline.CheckpointFile(j.Folder())); err == nil {
		if c, err := tree.ParseCheckpoint(text); err == nil && c.Head() == f.Head() {
			seal.Checkpoint = text
		}
	}
	_, err = f.Close(seal)
	return err
}

func orElse(n, otherwise uint64) uint64 {
	if n == 0 {
		return otherwise
	}
	return n
}

// skip reads up to the page that holds an event, and makes the tree before it.
func skip(ctx context.Context, r journal.Reader, event uint64) (*tree.Builder, *journal.Page, error) {
	b := tree.NewBuilder()
	for {
		p, err := r.Next(ctx)
		if err != nil {
			return nil, nil, err
		}
		if p.Last() >= event {
			return b, p, nil
		}
		if err := b.Add(p); err != nil {
			return nil, nil, err
		}
	}
}

func addPages(ctx context.Context, w *archive.Writer, r journal.Reader, p *journal.Page, to uint64) (err error) {
	for {
		if err := w.Add(p.Bytes()); err != nil || p.Last() >= to {
			return err
		}
		if p, err = r.Next(ctx); err != nil {
			return err
		}
	}
}

// verifyArchive checks every byte of an archive, and the signature if there is a
// key.
func verifyArchive(ctx context.Context, name string, key ed25519.PublicKey) (archive.Report, error) {
	r, err := archive.Open(name)
	if err != nil {
		return archive.Report{}, err
	}
	defer r.Close()
	return r.Verify(ctx, key, nil)
}

// sayArchive says what is in a file, in which state that is, and whether somebody
// signed it.
func (s *session) sayArchive(name string, i archive.Info, state string, signed bool) {
	from, to := i.Before.Event+1, i.End.Event
	shown := struct {
		File   string `json:"file"`
		From   uint64 `json:"from"`
		To     uint64 `json:"to"`
		Pages  uint64 `json:"pages"`
		Bytes  int64  `json:"bytes"`
		SHA256 string `json:"sha256"`
		Root   string `json:"root"`
		Signed bool   `json:"signed"`
	}{name, from, to, i.Pages(), i.Size, fmt.Sprintf("%x", i.Digest), i.Root.String(), signed}
	if !s.out.table() {
		s.out.object(shown, []field{{"File", "file", name}, {"From", "from", from}, {"To", "to", to}, {"Pages", "pages", shown.Pages},
			{"Bytes", "bytes", i.Size}, {"SHA-256", "sha256", shown.SHA256}, {"Root", "root", shown.Root}, {"Signed", "signed", shown.Signed}})
		return
	}
	s.out.printf("%s: events %d to %d, %d bytes, %s\n", clean(name), from, to, i.Size, state)
}
