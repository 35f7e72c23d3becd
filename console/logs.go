package console

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bugle-fleet/bugle/console/collected"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Paths of what devices sent for an operation of kind logs.collect.
const (
	PathOperationLogs = Base + "/operations/{id}/logs"          // GET → [LogList]
	PathOperationLog  = Base + "/operations/{id}/logs/{device}" // GET, by number → the file
)

// MediaLogs is the media type of what a device sent.
const MediaLogs = "application/gzip"

// HeaderSHA256 is on the answer of [PathOperationLog]: the SHA-256 of the file, as the
// device said it.
const HeaderSHA256 = "Bugle-SHA256"

// Logs is what a console needs of a [collected.Store].
type Logs interface {
	List(op task.ID) []collected.File
	// Open's error wraps [collected.ErrNone] if there is nothing.
	Open(op task.ID, device uint32) (*os.File, collected.File, error)
}

// LogFile is what one device sent.
type LogFile struct {
	Device uint32    `json:"device"`
	Name   string    `json:"name"`
	Bytes  int64     `json:"bytes"`
	SHA256 string    `json:"sha256"`
	At     time.Time `json:"at" doc:"when it came"`
}

// LogList is what is kept of an operation; files go when others need their room.
type LogList struct {
	Items []LogFile `json:"items"`
}

type logsInput struct {
	ID string `path:"id" maxLength:"64"`
}

type logInput struct {
	ID     string `path:"id" maxLength:"64"`
	Device string `path:"device" maxLength:"256" doc:"by number, id or name"`
}

// logDoc describes the answer for the OpenAPI document, which is the caller's.
func logDoc() map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: "a tar.gz as the device sent it",
		Content:     map[string]*huma.MediaType{MediaLogs: {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
	}}
}

func (c *Console) listLogs(ctx context.Context, in *logsInput) (*out[LogList], error) {
	id, err := parseOperation(in.ID)
	if err != nil {
		return nil, err
	}
	if _, ok, err := c.now().operations.Get(id); err != nil || !ok {
		return nil, c.orMissing(ctx, err, in.ID)
	}
	list := LogList{Items: []LogFile{}}
	if c.cfg.Logs == nil {
		return answer(list)
	}
	for _, f := range c.cfg.Logs.List(id) {
		d, _, err := c.cfg.Devices.Get(f.Device)
		if err != nil {
			return nil, c.failView(ctx, "list logs", err)
		}
		list.Items = append(list.Items, LogFile{f.Device, d.Name, f.Size, hex.EncodeToString(f.SHA256[:]), f.At})
	}
	return answer(list)
}

func (c *Console) orMissing(ctx context.Context, err error, id string) error {
	if err != nil {
		return c.failView(ctx, "look for an operation", err)
	}
	return notFound("There is no operation %q; bugle ops list shows what there is.", clip(id))
}

func (c *Console) getLog(ctx context.Context, in *logInput) (*huma.StreamResponse, error) {
	id, err := parseOperation(in.ID)
	if err != nil {
		return nil, err
	}
	d, err := c.now().findDevice(in.Device)
	if err != nil {
		return nil, c.failView(ctx, "look for a device", err)
	}
	none := notFound("Device %q sent no logs for this operation, or they had to make room for newer ones.", clip(in.Device))
	if c.cfg.Logs == nil {
		return nil, none
	}
	file, about, err := c.cfg.Logs.Open(id, d.Number)
	switch {
	case errors.Is(err, collected.ErrNone):
		return nil, none
	case err != nil:
		return nil, c.fail(ctx, "read logs", err)
	}
	leave, err := c.enterStream()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer leave()
		defer file.Close()
		c.sendLog(hc, file, &about)
	}}, nil
}

// sendLog writes the file, no faster than the caller takes it.
func (c *Console) sendLog(hc huma.Context, file io.Reader, about *collected.File) {
	ctx, cancel := c.streamContext(hc.Context())
	defer cancel()
	_, w := humago.Unwrap(hc)
	w.Header().Set("Content-Type", MediaLogs)
	w.Header().Set("Content-Length", strconv.FormatInt(about.Size, 10))
	w.Header().Set("Content-Disposition", `attachment; filename="`+about.Operation.String()+"-"+strconv.FormatUint(uint64(about.Device), 10)+`.tar.gz"`)
	w.Header().Set(HeaderSHA256, hex.EncodeToString(about.SHA256[:]))
	w.WriteHeader(http.StatusOK)
	out := &boundWriter{w, http.NewResponseController(w)}
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, err := file.Read(buf)
		if n > 0 {
			if _, err := out.Write(buf[:n]); err != nil {
				break
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			c.cfg.Log.Error("logs cannot be read", "operation", about.Operation, "device", about.Device, "err", err)
			break
		}
	}
	panic(http.ErrAbortHandler) // the caller must not take what came for the whole
}
