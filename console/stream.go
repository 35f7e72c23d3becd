package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Bounds of streams.
const (
	maxStreams  = 64               // at the same time
	heartbeat   = 15 * time.Second // between comments on a quiet stream
	streamWrite = 10 * time.Second // for one write to a slow reader
)

// A stream sends server-sent events to one caller.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// newStream answers 200 and begins a stream, to which the server's bound for an
// answer does not apply.
func newStream(hc huma.Context) *stream {
	_, w := humago.Unwrap(hc)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Time{}) // the first write tells if it cannot be set
	w.WriteHeader(http.StatusOK)
	return &stream{w, rc}
}

func (s *stream) send(id, name string, data any) error {
	var b bytes.Buffer
	if id != "" {
		fmt.Fprintf(&b, "id: %s\n", id)
	}
	fmt.Fprintf(&b, "event: %s\ndata: ", name)
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	b.Write(raw)
	b.WriteString("\n\n")
	return s.write(b.Bytes())
}

func (s *stream) comment(text string) error {
	if err := s.write([]byte(": " + text + "\n\n")); err != nil {
		return err
	}
	return s.flush()
}

func (s *stream) write(b []byte) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
		return fmt.Errorf("bound a write to a stream: %w", err)
	}
	_, err := s.w.Write(b)
	return err
}

// flush sends what was written. Then no deadline holds until the next write:
// HTTP/2 ends a stream at its deadline even if nothing is being written.
func (s *stream) flush() error {
	if err := s.rc.Flush(); err != nil {
		return err
	}
	if err := s.rc.SetWriteDeadline(time.Time{}); err != nil {
		return fmt.Errorf("end the bound of a write to a stream: %w", err)
	}
	return nil
}

// enterStream takes one of the places for streams; the caller calls leave.
func (c *Console) enterStream() (leave func(), err error) {
	select {
	case <-c.ending:
		return nil, problem(http.StatusServiceUnavailable, "The console stops", "The server is stopping; try again when it is back.")
	default:
	}
	select {
	case c.streams <- struct{}{}:
		return func() { <-c.streams }, nil
	default:
		return nil, problem(http.StatusServiceUnavailable, "Too many streams",
			"There are %d streams already, which is all that the server serves at once; close one.", maxStreams)
	}
}

// streamContext ends with the call or with the console.
func (c *Console) streamContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-c.ending:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// eventStream describes the answer of a stream for the OpenAPI document.
func eventStream(description string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: description,
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: "string"}}},
	}}
}
