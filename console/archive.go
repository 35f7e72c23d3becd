package console

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// PathArchive is the history itself, page by page, as an archive that vouches for
// itself (package archive): GET ?from= &to= &for= &reason=.
const PathArchive = Base + "/journal/archive"

// MediaArchive is the media type of an archive.
const MediaArchive = "application/vnd.bugle.archive"

// Archives is what a console needs of a [tree.Tree] to give away history.
type Archives interface {
	archive.Tree
	// BuilderBefore returns the tree over the pages before the one that holds
	// the event.
	BuilderBefore(ctx context.Context, event uint64) (*tree.Builder, error)
}

// archiveWrite is how long one write, of at most a frame of an archive, may take.
const archiveWrite = time.Minute

type archiveInput struct {
	From   uint64 `query:"from" minimum:"0" doc:"the first event; default 1; the archive begins with the page that holds it"`
	To     uint64 `query:"to" minimum:"0" doc:"the last event; default the last there is, this call's own included; the archive ends with the page that holds it"`
	For    string `query:"for" enum:"archive,backup" default:"archive" doc:"what the copy is for, which the journal keeps"`
	Reason string `query:"reason" maxLength:"4096" doc:"why, which the journal keeps"`
}

// archiveDoc describes the answer for the OpenAPI document, which is the caller's.
func archiveDoc() map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: "an archive: whole pages that hold the events, sealed with a checkpoint of exactly these; if the connection ends before the seal, what came is good as far as it goes",
		Content:     map[string]*huma.MediaType{MediaArchive: {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
	}}
}

// getArchive streams pages as they are on disk. That it was asked for is in the
// journal before the first byte is given away.
func (c *Console) getArchive(ctx context.Context, in *archiveInput) (*huma.StreamResponse, error) {
	from := max(in.From, 1)
	switch head := c.cfg.Journal.Head().Event; {
	case in.To != 0 && in.To < from:
		return nil, badRequest("The archive cannot be made", "to: event %d is before event %d, the first one that is asked for.", in.To, from)
	case in.To > head || from > head+1:
		return nil, badRequest("The archive cannot be made", "Event %d is not there yet; the journal ends with event %d.", max(in.To, from), head)
	}
	leave, err := c.enterStream()
	if err != nil {
		return nil, err
	}
	a, err := c.prepareArchive(ctx, in, from)
	if err != nil {
		leave()
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer leave()
		ctx, cancel := c.streamContext(hc.Context())
		defer cancel()
		if err := a.send(ctx, hc); err != nil {
			if ctx.Err() == nil {
				c.cfg.Log.Warn("archive broke off", "from", from, "to", a.to, "err", err)
			}
			panic(http.ErrAbortHandler) // the caller must not take what came for the whole
		}
	}}, nil
}

// An archiving is one archive that is given away.
type archiving struct {
	c      *Console
	header archive.Header
	from   uint64
	to     uint64
}

// prepareArchive appends that history is given away, and waits until a checkpoint
// covers all that is.
func (c *Console) prepareArchive(ctx context.Context, in *archiveInput, from uint64) (*archiving, error) {
	to := in.To
	if to == 0 {
		to = c.cfg.Journal.Head().Event
	}
	e := &event.Event{Observed: c.cfg.Now(), Actor: actorOf(ctx), Payload: &event.JournalExported{From: from, To: max(from, to), Format: in.For, Reason: in.Reason}}
	if err := c.cfg.Journal.Append(ctx, e); err != nil {
		return nil, c.fail(ctx, "give away history", err)
	}
	if in.To == 0 {
		to = e.Number
	}
	if err := c.covered(ctx, to); err != nil {
		return nil, err
	}
	before, err := c.cfg.Checkpoints.BuilderBefore(ctx, from)
	if err != nil {
		return nil, c.fail(ctx, "find the beginning of the archive", err)
	}
	_, signed := c.cfg.Checkpoints.Checkpoint()
	history, err := historyOf(signed.Origin)
	if err != nil {
		return nil, c.fail(ctx, "tell the name of the journal", err)
	}
	return &archiving{c, archive.Header{History: history, Before: before.Head(), Peaks: before.Peaks()}, from, to}, nil
}

// historyOf is the journal's identity, with which the origin of its checkpoints
// ends.
func historyOf(origin string) (history [16]byte, err error) {
	b, err := hex.DecodeString(origin[strings.LastIndexByte(origin, '/')+1:])
	if err != nil || len(b) != len(history) {
		return history, fmt.Errorf("origin %q does not end with a history", origin)
	}
	return [16]byte(b), nil
}

// send writes the archive, no faster than the caller takes it.
func (a *archiving) send(ctx context.Context, hc huma.Context) error {
	r, err := a.c.cfg.Journal.Read(ctx, a.from)
	if err != nil {
		return err
	}
	defer r.Close()
	_, w := humago.Unwrap(hc)
	w.Header().Set("Content-Type", MediaArchive)
	out := &boundWriter{w, http.NewResponseController(w)}
	w.WriteHeader(http.StatusOK)
	archived, err := archive.NewWriter(out, a.header)
	if err != nil {
		return err
	}
	if err := a.copy(ctx, archived, r); err != nil {
		return err
	}
	seal, err := archive.SealAt(ctx, a.c.cfg.Checkpoints, archived.Head())
	if err != nil {
		return err
	}
	_, err = archived.Close(seal)
	return err
}

func (a *archiving) copy(ctx context.Context, w *archive.Writer, r journal.Reader) error {
	for w.Head().Event < a.to {
		p, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("the journal ended with event %d: %w", w.Head().Event, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
		if err := w.Add(p.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// A boundWriter bounds how long a write to a caller may take.
type boundWriter struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (b *boundWriter) Write(p []byte) (int, error) {
	if err := b.rc.SetWriteDeadline(time.Now().Add(archiveWrite)); err != nil {
		return 0, fmt.Errorf("bound a write to a stream: %w", err)
	}
	return b.w.Write(p)
}
