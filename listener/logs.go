package listener

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Bounds of what agents send as logs.
const (
	kindCollect = "logs.collect"
	maxUploads  = 16               // at once, one of each device
	uploadTime  = 10 * time.Minute // for one
	uploadRead  = 30 * time.Second // for some bytes of it
)

// uploads counts those under way.
type uploads struct {
	mu    sync.Mutex
	under map[uint32]bool // by device
}

func (u *uploads) enter(device uint32) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.under) >= maxUploads || u.under[device] {
		return false
	}
	if u.under == nil {
		u.under = make(map[uint32]bool)
	}
	u.under[device] = true
	return true
}

func (u *uploads) leave(device uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.under, device)
}

// collects tells whether a device may send logs for an operation; known is false if
// the operation is not in the table, for it may have ended while the agent ran.
func (t *table) collects(id task.ID, device uint32) (ok, known bool) {
	t.mu.Lock()
	op := t.ops[id]
	t.mu.Unlock()
	if op == nil {
		return false, false
	}
	return op.task.Kind == kindCollect && op.targets.Has(device) && !op.isFinal(device), true
}

// takeLogs serves [wire.LogsPath]: 204 says that the body is durable.
func (l *Listener) takeLogs(w http.ResponseWriter, r *http.Request) {
	id, ok := l.deviceOf(w, r)
	if !ok {
		return
	}
	no := l.storeLogs(w, r, id.Device)
	if no == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	l.answerRefused(w, r, no)
}

func (l *Listener) storeLogs(w http.ResponseWriter, r *http.Request, device uint32) *JoinRefused {
	op, sum, no := l.announced(r)
	if no != nil {
		return no
	}
	if l.table.isBlocked(device) {
		return &JoinRefused{http.StatusForbidden, "Forbidden", "the device is blocked"}
	}
	if ok, known := l.table.collects(op, device); known && !ok {
		return &JoinRefused{http.StatusForbidden, "Forbidden", "the operation does not ask this device for logs"}
	}
	if l.cfg.StoreLog == nil {
		return tryLater("logs are not taken at this listener")
	}
	if !l.uploads.enter(device) {
		return tryLater("too many are sending logs")
	}
	defer l.uploads.leave(device)
	control := http.NewResponseController(w)
	control.SetWriteDeadline(time.Now().Add(uploadTime))
	body := &steadyBody{http.MaxBytesReader(w, r.Body, r.ContentLength), control, time.Now().Add(uploadTime)}
	err := l.cfg.StoreLog(r.Context(), device, op, sum, r.ContentLength, body)
	var refused *JoinRefused
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return refused
	}
	l.cfg.Log.Error("logs are not stored", "listener", l.cfg.Name, "device", device, "operation", op, "err", err)
	return tryLater("the logs cannot be stored at the moment")
}

// announced reads what a request says of its body.
func (l *Listener) announced(r *http.Request) (op task.ID, sum [32]byte, no *JoinRefused) {
	if r.Method != http.MethodPut {
		return op, sum, &JoinRefused{http.StatusMethodNotAllowed, "Method not allowed", "logs are sent with PUT"}
	}
	op, err := task.ParseID(strings.TrimPrefix(r.URL.Path, wire.LogsPath))
	if err != nil {
		return op, sum, &JoinRefused{http.StatusNotFound, "Not found", "the path ends with the id of an operation"}
	}
	n, err := hex.Decode(sum[:], []byte(first64(r.Header.Get(wire.HeaderSHA256))))
	switch {
	case err != nil || n != len(sum):
		return op, sum, &JoinRefused{http.StatusBadRequest, "Malformed request", wire.HeaderSHA256 + " is not a SHA-256 of 64 hexadecimal digits"}
	case r.ContentLength < 0 || r.Header.Get("Content-Encoding") != "":
		return op, sum, &JoinRefused{http.StatusLengthRequired, "Length required", "the body has a Content-Length and no encoding"}
	case r.ContentLength > wire.MaxLogs:
		return op, sum, &JoinRefused{http.StatusRequestEntityTooLarge, "Request too large", fmt.Sprintf("logs have at most %d bytes", wire.MaxLogs)}
	}
	return op, sum, nil
}

// first64 returns a text of 64 bytes, and nothing of any other.
func first64(s string) string {
	if len(s) != 64 {
		return ""
	}
	return s
}

// A steadyBody must bring some bytes again and again, and end in time: the server's
// own bound on a body is for small ones.
type steadyBody struct {
	io.ReadCloser
	control *http.ResponseController
	until   time.Time
}

func (b *steadyBody) Read(p []byte) (int, error) {
	deadline := time.Now().Add(uploadRead)
	if deadline.After(b.until) {
		deadline = b.until
	}
	if err := b.control.SetReadDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return b.ReadCloser.Read(p)
}
