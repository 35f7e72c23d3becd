package relay

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

func TestLogs(t *testing.T) {
	s := newSite(t)
	east, op := s.listener("EAST01"), task.NewRandomID()
	store := func(c *Client, device uint32, body string) error {
		return c.StoreLog(t.Context(), device, op, sha256.Sum256([]byte(body)), int64(len(body)), strings.NewReader(body))
	}
	long := strings.Repeat("all is well\n", 1<<18)
	if err := errors.Join(store(east, 1, long), store(east, 2, ""), store(s.listener("WEST01"), 3, "west")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.logs, []string{long, "", "west"}) {
		t.Errorf("%d bodies are kept", len(s.logs))
	}
	for what, c := range map[string]struct {
		err  error
		want int
	}{
		"a device that it may not speak for": {store(east, 1000, "x"), http.StatusForbidden},
		"a stranger":                         {store(s.client(nil, time.Time{}), 1, "x"), http.StatusForbidden},
		"another body":                       {east.StoreLog(t.Context(), 1, op, [32]byte{1}, 1, strings.NewReader("x")), http.StatusBadRequest},
		"no device":                          {store(east, 0, "x"), http.StatusBadRequest},
		"more than is allowed":               {east.StoreLog(t.Context(), 1, op, [32]byte{}, wire.MaxLogs+1, endless{}), http.StatusRequestEntityTooLarge},
	} {
		if status(c.err) != c.want {
			t.Errorf("%s: %v, want %d", what, c.err, c.want)
		}
	}
	if len(s.logs) != 3 {
		t.Errorf("%d bodies are kept", len(s.logs))
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// While the site cannot keep logs the device is to come again; that a device's body
// breaks off says nothing of the site.
func TestLogsCannotBeKept(t *testing.T) {
	s := newSite(t)
	east, op := s.listener("EAST01"), task.NewRandomID()
	if err := east.StoreLog(t.Context(), 1, op, [32]byte{}, 9, iotest.ErrReader(errors.New("gone"))); err == nil {
		t.Error("a broken body is kept")
	}
	s.mu.Lock()
	s.broken = errors.New("no room")
	s.mu.Unlock()
	if err := east.StoreLog(t.Context(), 1, op, [32]byte{}, 1, strings.NewReader("x")); status(err) != http.StatusServiceUnavailable {
		t.Errorf("no room: %v", err)
	}
	for range logUploads {
		s.server.logs <- struct{}{}
	}
	if err := east.StoreLog(t.Context(), 1, op, [32]byte{}, 1, strings.NewReader("x")); status(err) != http.StatusServiceUnavailable {
		t.Errorf("too many at once: %v", err)
	}
	if b, err := east.Beacon([16]byte{1}); b == nil || err != nil {
		t.Errorf("the site counts as away: %v", err)
	}
	s.http.Close()
	var no *listener.JoinRefused
	if err := east.StoreLog(t.Context(), 1, op, [32]byte{}, 1, strings.NewReader("x")); err == nil || errors.As(err, &no) {
		t.Errorf("without the site: %v", err)
	}
}

func TestMalformedLogs(t *testing.T) {
	s := newSite(t)
	east, op, sum := s.listener("EAST01"), task.NewRandomID().String(), fmt.Sprintf("%x", sha256.Sum256(nil))
	for _, r := range []struct {
		op, device, sum, encoding string
		body                      io.Reader
		want                      int
	}{
		{op, "1", sum, "", nil, 204},
		{"x", "1", sum, "", nil, 400},
		{op, "", sum, "", nil, 400},
		{op, "-1", sum, "", nil, 400},
		{op, "4294967296", sum, "", nil, 400},
		{op, "1", "ab", "", nil, 400},
		{op, "1", sum, "gzip", nil, 411},
		{op, "1", sum, "", io.MultiReader(bytes.NewReader(nil)), 411}, // of an unknown length
		{op + "/x", "1", sum, "", nil, 404},
	} {
		q, err := http.NewRequest(http.MethodPut, s.http.URL+logsPath+r.op, r.body)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set(headerDevice, r.device)
		q.Header.Set(wire.HeaderSHA256, r.sum)
		if r.encoding != "" {
			q.Header.Set("Content-Encoding", r.encoding)
		}
		resp, err := east.http.Load().Do(q)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != r.want {
			t.Errorf("%+v: %d", r, resp.StatusCode)
		}
	}
}
