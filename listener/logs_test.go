package listener

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// collecting is an operation for which devices send logs.
func (p *pki) collecting(devices ...uint32) OpenOperation {
	p.t.Helper()
	u := p.operation(time.Hour, devices...)
	tk, err := u.Signed.Task()
	if err != nil {
		p.t.Fatal(err)
	}
	tk.Kind = kindCollect
	if u.Signed, err = tk.Sign(p.task); err != nil {
		p.t.Fatal(err)
	}
	return u
}

// logsBench serves HTTPS; stored is what was kept.
type logsBench struct {
	*bench
	url string

	mu     sync.Mutex
	stored map[uint32]string
	fail   error
}

func newLogsBench(t *testing.T) *logsBench {
	l := &logsBench{stored: map[uint32]string{}}
	l.bench, l.url, _ = joinBench(t, func(c *Config) { c.StoreLog = l.store })
	return l
}

func (l *logsBench) store(_ context.Context, device uint32, op task.ID, sum [32]byte, size int64, body io.Reader) error {
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	l.stored[device] = fmt.Sprintf("%s %v %d", b, sum == sha256.Sum256(b), size)
	return nil
}

// put sends a body as a device, 0 meaning nobody.
func (l *logsBench) put(device uint32, op, body string, edit func(*http.Request)) (int, string) {
	l.t.Helper()
	config := l.pki.client(max(device, 1))
	config.NextProtos = nil
	if device == 0 {
		config.Certificates = nil
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, ExpectContinueTimeout: patience}}
	req, err := http.NewRequest(http.MethodPut, l.url+wire.LogsPath+op, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set(wire.HeaderSHA256, fmt.Sprintf("%x", sha256.Sum256([]byte(body))))
	if edit != nil {
		edit(req)
	}
	res, err := client.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

func TestLogsAreTaken(t *testing.T) {
	l := newLogsBench(t)
	op, other := l.pki.collecting(1, 2), l.pki.operation(time.Hour, 1)
	l.tell(op, other, Whole{})
	<-l.l.whole
	id := op.id(t).String()
	if code, body := l.put(1, id, "logs", nil); code != http.StatusNoContent || l.stored[1] != "logs true 4" {
		t.Fatalf("%d %s, stored %v", code, body, l.stored)
	}
	for name, c := range map[string]struct {
		device uint32
		op     string
		edit   func(*http.Request)
		want   int
	}{
		"nobody":         {0, id, nil, 401},
		"no target":      {3, id, nil, 403},
		"another kind":   {1, other.id(t).String(), nil, 403},
		"no id":          {1, "x", nil, 404},
		"a path":         {1, id + "/../x", nil, 404},
		"no digest":      {1, id, func(r *http.Request) { r.Header.Del(wire.HeaderSHA256) }, 400},
		"a short digest": {1, id, func(r *http.Request) { r.Header.Set(wire.HeaderSHA256, "ab") }, 400},
		"no length":      {1, id, func(r *http.Request) { r.ContentLength = -1 }, 411},
		"an encoding":    {1, id, func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 411},
		"another method": {1, id, func(r *http.Request) { r.Method = http.MethodPost }, 405},
		"more than is allowed": {1, id, func(r *http.Request) {
			r.ContentLength = wire.MaxLogs + 1
			r.Body = io.NopCloser(new(endless))
			r.Header.Set("Expect", "100-continue")
		}, 413},
	} {
		if code, body := l.put(c.device, c.op, "logs", c.edit); code != c.want {
			t.Errorf("%s: %d %s, want %d", name, code, body, c.want)
		}
	}
	// An operation that the listener does not know (any more) is the site's to judge.
	if code, _ := l.put(2, task.NewID(time.Now()).String(), "late", nil); code != http.StatusNoContent || l.stored[2] != "late true 4" {
		t.Errorf("%d, stored %v", code, l.stored)
	}
}

// endless is a body that has no end.
type endless struct{}

func (*endless) Read(p []byte) (int, error) { return len(p), nil }

func TestLogsThatCannotBeStored(t *testing.T) {
	l := newLogsBench(t)
	op := l.pki.collecting(1)
	l.tell(op, Whole{})
	<-l.l.whole
	id := op.id(t).String()
	for _, c := range []struct {
		err  error
		want int
	}{{errors.New("disk"), 503}, {&JoinRefused{507, "No room", "full"}, 507}} {
		l.mu.Lock()
		l.fail = c.err
		l.mu.Unlock()
		if code, body := l.put(1, id, "logs", nil); code != c.want || strings.Contains(body, "disk") {
			t.Errorf("%v: %d %s", c.err, code, body)
		}
	}
	l.l.table.find(op.id(t)).setFinal(1)
	if code, _ := l.put(1, id, "logs", nil); code != http.StatusForbidden {
		t.Errorf("after its answer: %d", code)
	}
	l.tell(BlockDevice{1})
	l.tell(BlockDevice{9}) // so that the first one has been taken
	if code, _ := l.put(1, id, "logs", nil); code != http.StatusForbidden {
		t.Errorf("blocked: %d", code)
	}
}

func TestLogsElsewhere(t *testing.T) {
	l := &logsBench{}
	l.bench, l.url, _ = joinBench(t, nil)
	l.tell(Whole{})
	if code, body := l.put(1, task.NewID(time.Now()).String(), "logs", nil); code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", code, body)
	}
}

func TestFewUploadsAtOnce(t *testing.T) {
	var u uploads
	for d := uint32(1); d <= maxUploads; d++ {
		if !u.enter(d) {
			t.Fatalf("device %d has no place", d)
		}
	}
	if u.enter(1) || u.enter(99) {
		t.Error("a place too many")
	}
	u.leave(1)
	if !u.enter(99) {
		t.Error("no place after one left")
	}
}

func TestSteadyBody(t *testing.T) {
	b := &steadyBody{io.NopCloser(bytes.NewReader([]byte("abc"))), http.NewResponseController(noDeadline{}), time.Now().Add(time.Hour)}
	if got, err := io.ReadAll(b); err != nil || string(got) != "abc" {
		t.Errorf("%q %v", got, err)
	}
}

type noDeadline struct{ http.ResponseWriter }
