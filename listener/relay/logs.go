package relay

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Bounds of the logs that listeners hand on.
const (
	logUploads = 16               // at once, of all listeners
	logTime    = 10 * time.Minute // for one
	logRead    = 30 * time.Second // for some bytes of it
)

// headerDevice has the number of the device that the logs are of.
const headerDevice = "Bugle-Device"

// StoreLog is for listener.Config: what a device collected goes to the site as it
// comes, and nothing of it is kept here. While the site is away the device is to
// come again.
func (c *Client) StoreLog(ctx context.Context, device uint32, operation task.ID, sum [32]byte, size int64, body io.Reader) error {
	if c.isAway() {
		return ErrAway
	}
	ctx, cancel := context.WithTimeout(ctx, logTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, c.url+logsPath+operation.String(), body)
	if err != nil {
		return err
	}
	if r.ContentLength = size; size == 0 {
		r.Body = http.NoBody
	}
	r.Header.Set("Content-Type", "application/octet-stream")
	r.Header.Set(wire.HeaderSHA256, hex.EncodeToString(sum[:]))
	r.Header.Set(headerDevice, strconv.FormatUint(uint64(device), 10))
	// Whether this works says nothing of the site: the body is somebody else's.
	resp, err := c.http.Load().Do(r)
	if err != nil {
		return fmt.Errorf("hand on logs of device %d: %w", device, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return nil
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxJSON))
	if err != nil {
		return fmt.Errorf("hand on logs of device %d: %w", device, err)
	}
	return refusal(resp.StatusCode, answer)
}

// takeLogs serves [logsPath]: 204 says that the body is durable.
func (s *Server) takeLogs(w http.ResponseWriter, r *http.Request) {
	name, _, err := s.admit(r)
	if err == nil {
		err = s.storeLogs(w, r, name)
	}
	if err != nil {
		s.problem(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) storeLogs(w http.ResponseWriter, r *http.Request, name string) error {
	device, op, sum, err := announcedLogs(r)
	switch {
	case err != nil:
		return err
	case !s.cfg.SpeaksFor(name, device):
		return errScope
	}
	select {
	case s.logs <- struct{}{}:
		defer func() { <-s.logs }()
	default: // waiting here, with a body in the way, would hold up what else comes on the connection
		w.Header().Set("Retry-After", "5")
		return refuse(http.StatusServiceUnavailable, "Try again later", "too many are sending logs")
	}
	control, until := http.NewResponseController(w), time.Now().Add(logTime)
	control.SetWriteDeadline(until)
	body := &steadyBody{http.MaxBytesReader(w, r.Body, r.ContentLength), control, until}
	return s.cfg.StoreLog(r.Context(), device, op, sum, r.ContentLength, body)
}

// announcedLogs reads what a request says of its body.
func announcedLogs(r *http.Request) (device uint32, op task.ID, sum [32]byte, err error) {
	malformed := func(what string) error { return refuse(http.StatusBadRequest, "Malformed request", what) }
	if op, err = task.ParseID(r.PathValue("operation")); err != nil {
		return 0, op, sum, malformed("the path does not end with the id of an operation")
	}
	n, err := strconv.ParseUint(r.Header.Get(headerDevice), 10, 32)
	if err != nil || n == 0 {
		return 0, op, sum, malformed(headerDevice + " is not the number of a device")
	}
	digest, err := hex.DecodeString(r.Header.Get(wire.HeaderSHA256))
	if err != nil || len(digest) != len(sum) {
		return 0, op, sum, malformed(wire.HeaderSHA256 + " is not a SHA-256 of 64 hexadecimal digits")
	}
	switch {
	case r.ContentLength < 0 || r.Header.Get("Content-Encoding") != "":
		return 0, op, sum, refuse(http.StatusLengthRequired, "Length required", "the body has a Content-Length and no encoding")
	case r.ContentLength > wire.MaxLogs:
		return 0, op, sum, refuse(http.StatusRequestEntityTooLarge, "Request too large", fmt.Sprintf("logs have at most %d bytes", wire.MaxLogs))
	}
	return uint32(n), op, [32]byte(digest), nil
}

// A steadyBody must bring some bytes again and again, and end in time: the bound of
// the port that serves this is for small ones.
type steadyBody struct {
	io.ReadCloser
	control *http.ResponseController
	until   time.Time
}

func (b *steadyBody) Read(p []byte) (int, error) {
	deadline := time.Now().Add(logRead)
	if deadline.After(b.until) {
		deadline = b.until
	}
	if err := b.control.SetReadDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return b.ReadCloser.Read(p)
}
