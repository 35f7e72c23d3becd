package console_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/console/collected"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

func TestCollectedLogs(t *testing.T) {
	r := newRig(t)
	r.join("pc-1")
	r.add(1, "pc-1", true)
	op, other := task.NewID(time.Now()), task.NewID(time.Now())
	r.fleet.mu.Lock()
	r.fleet.operations[op] = operation.Operation{ID: op, Kind: "logs.collect"}
	r.fleet.mu.Unlock()
	store, err := collected.Open(t.TempDir(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte("logs"), 50_000)
	if err := store.Put(context.Background(), op, 1, sha256.Sum256(body), int64(len(body)), bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	cfg := r.config()
	cfg.Logs = store
	c, err := console.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(c.Handler())
	defer server.Close()
	get := func(path string) (int, http.Header, []byte) {
		t.Helper()
		req, _ := http.NewRequest("GET", server.URL+path, nil)
		req.Header.Set("Authorization", "Bearer "+r.token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, res.Header, b
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(body))
	status, _, b := get(console.Path(console.PathOperationLogs, op.String()))
	var list console.LogList
	if err := json.Unmarshal(b, &list); status != 200 || err != nil || len(list.Items) != 1 || list.Items[0].Name != "pc-1" || list.Items[0].SHA256 != sum {
		t.Fatalf("%d %s", status, b)
	}
	status, h, b := get(console.Path(console.PathOperationLog, op.String(), "pc-1"))
	if status != 200 || !bytes.Equal(b, body) || h.Get(console.HeaderSHA256) != sum || h.Get("Content-Type") != console.MediaLogs {
		t.Errorf("%d, %d bytes, %v", status, len(b), h)
	}
	for path, want := range map[string]int{
		console.Path(console.PathOperationLogs, other.String()):          404,
		console.Path(console.PathOperationLogs, "x"):                     422,
		console.Path(console.PathOperationLog, other.String(), "pc-1"):   404,
		console.Path(console.PathOperationLog, op.String(), "no-one"):    404,
		console.Path(console.PathOperationLog, op.String(), "../pc-1"):   404,
		console.Path(console.PathOperationLogs, op.String()) + "?x=true": 422,
	} {
		if status, _, b := get(path); status != want {
			t.Errorf("%s: %d %s, want %d", path, status, b, want)
		}
	}
	// A site that keeps none.
	r.do("GET", console.Path(console.PathOperationLogs, op.String()), nil).ok(&list)
	if len(list.Items) != 0 {
		t.Errorf("%+v", list)
	}
}
