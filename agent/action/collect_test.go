package action

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// untar returns the files of an archive by name.
func untar(t testing.TB, b []byte) map[string]string {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(content)
	}
}

func inTar(path string) string {
	return strings.TrimPrefix(filepath.ToSlash(path[len(filepath.VolumeName(path)):]), "/")
}

func TestLogsAreCollected(t *testing.T) {
	dir := realDir(t)
	write(t, filepath.Join(dir, "logs", "agent.log"), "new")
	write(t, filepath.Join(dir, "logs", "agent-1.log"), "old")
	write(t, filepath.Join(dir, "var", "app.log"), "app")
	write(t, filepath.Join(dir, "var", "secret"), "secret")
	table := newFake(t, runtime.GOOS).table(t, Config{Logs: filepath.Join(dir, "logs"), State: filepath.Join(dir, "state")})
	h := &fakeHost{logFiles: []string{filepath.Join(dir, "var", "*.log")}}
	req := h.request(`{"files":[` + jsonText(filepath.Join(dir, "var", "app.log")) + `]}`)
	req.Operation = task.NewID(time.Now())
	o := table["logs.collect"].Action.Run(context.Background(), req)
	if o.State != task.Succeeded || len(h.uploads) != 1 {
		t.Fatalf("%+v", o)
	}
	u := h.uploads[0]
	if u.operation != req.Operation || u.sum != Digest(sha256.Sum256(u.body)) || !strings.Contains(o.Detail, u.sum.String()) {
		t.Errorf("%s, %d bytes, %s: %s", u.operation, len(u.body), u.sum, o.Detail)
	}
	got := untar(t, u.body)
	for path, want := range map[string]string{"logs/agent.log": "new", "logs/agent-1.log": "old", "var/app.log": "app"} {
		if got[inTar(filepath.Join(dir, path))] != want {
			t.Errorf("%s is %q in %v", path, got[inTar(filepath.Join(dir, path))], got)
		}
	}
	if len(got) != 3 {
		t.Errorf("%d files", len(got))
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "state")); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	for _, bad := range []string{filepath.Join(dir, "var", "secret"), filepath.Join(dir, "var") + "/../var/app.log", "app.log", "-x"} {
		if o := table["logs.collect"].Action.Run(context.Background(), h.request(`{"files":[`+jsonText(bad)+`]}`)); o.State != task.Refused {
			t.Errorf("%s: %+v", bad, o)
		}
	}
	h.err = errors.New("away")
	if o := table["logs.collect"].Action.Run(context.Background(), h.request("")); o.State != task.Failed || o.Detail != "send logs: away" {
		t.Errorf("%+v", o)
	}
}

func TestLinksAreNotCollected(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("making links needs rights on Windows")
	}
	dir := realDir(t)
	write(t, filepath.Join(dir, "secret", "a.log"), "secret")
	write(t, filepath.Join(dir, "var", "b.log"), "b")
	os.Symlink(filepath.Join(dir, "secret", "a.log"), filepath.Join(dir, "var", "a.log"))
	os.Symlink(filepath.Join(dir, "secret"), filepath.Join(dir, "link"))
	makePipe(filepath.Join(dir, "var", "p.log"))
	table := newFake(t, runtime.GOOS).table(t, Config{State: filepath.Join(dir, "state")})
	h := &fakeHost{logFiles: []string{filepath.Join(dir, "*", "*.log")}}
	var names []string
	for _, p := range []string{"var/a.log", "link/a.log", "var/b.log", "var/p.log", "var/none.log"} {
		names = append(names, jsonText(filepath.Join(dir, p)))
	}
	o := table["logs.collect"].Action.Run(context.Background(), h.request(`{"files":[`+strings.Join(names, ",")+`]}`))
	if o.State != task.Succeeded || !strings.HasPrefix(o.Detail, "1 files") || strings.Count(o.Detail, ".log (") != 4 {
		t.Fatalf("%+v", o)
	}
	if got := untar(t, h.uploads[0].body); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestCollectionKeepsItsSize(t *testing.T) {
	dir := realDir(t)
	noise := rand.NewChaCha8([32]byte{1})
	for i := range 5 {
		b := make([]byte, 30<<10)
		noise.Read(b)
		path := filepath.Join(dir, "logs", fmt.Sprintf("%d.log", i))
		write(t, path, string(b))
		at := time.Unix(1_700_000_000+int64(i), 0)
		os.Chtimes(path, at, at)
	}
	table := newFake(t, runtime.GOOS).table(t, Config{Logs: filepath.Join(dir, "logs"), State: filepath.Join(dir, "state")})
	h := &fakeHost{}
	o := table["logs.collect"].Action.Run(context.Background(), h.request(`{"maxBytes":65536}`))
	if o.State != task.Succeeded || len(h.uploads[0].body) > 65536 || !strings.Contains(o.Detail, "left out: 2.log (no room in the archive)") {
		t.Fatalf("%+v, %d bytes", o, len(h.uploads[0].body))
	}
	got := untar(t, h.uploads[0].body)
	if len(got) != 2 || len(got[inTar(filepath.Join(dir, "logs", "4.log"))]) != 30<<10 {
		t.Errorf("%d files", len(got))
	}
	for _, bad := range []string{`{"maxBytes":1}`, `{"maxBytes":100000000}`, `{"files":[` + strings.Repeat(`"/a",`, 32) + `"/a"]}`} {
		if o := table["logs.collect"].Action.Run(context.Background(), h.request(bad)); o.State != task.Refused {
			t.Errorf("%s: %+v", bad, o)
		}
	}
	empty := newFake(t, runtime.GOOS).table(t, Config{Logs: filepath.Join(dir, "none"), State: filepath.Join(dir, "state")})
	if o := do(t, empty, "logs.collect", ""); o.State != task.NotApplicable {
		t.Errorf("%+v", o)
	}
}

func TestVerbose(t *testing.T) {
	table := newFake(t, runtime.GOOS).table(t, Config{})
	h := &fakeHost{}
	for _, c := range [][2]string{{"logs.verbose.on", ""}, {"logs.verbose.on", `{"minutes":5}`}, {"logs.verbose.off", ""}} {
		if o := table[c[0]].Action.Run(context.Background(), h.request(c[1])); o.State != task.Succeeded {
			t.Errorf("%v: %+v", c, o)
		}
	}
	if len(h.verbose) != 3 || h.verbose[0] != time.Hour || h.verbose[1] != 5*time.Minute || h.verbose[2] != 0 {
		t.Errorf("%v", h.verbose)
	}
	for _, bad := range []string{`{"minutes":0}`, `{"minutes":1441}`} {
		if o := do(t, table, "logs.verbose.on", bad); o.State != task.Refused {
			t.Errorf("%s: %+v", bad, o)
		}
	}
}

func TestPolicyOfPeople(t *testing.T) {
	d := newFake(t, runtime.GOOS).table(t, Config{})["policy.user"]
	h := &fakeHost{policy: "applied"}
	for _, p := range []string{"", `{"user":"ann"}`, `{"user":"CORP\\ann"}`} {
		if o := d.Action.Run(context.Background(), h.request(p)); o != (Outcome{State: task.Succeeded, Detail: "applied"}) {
			t.Errorf("%s: %+v", p, o)
		}
	}
	if strings.Join(h.users, ",") != `,ann,CORP\ann` {
		t.Errorf("%q", h.users)
	}
	for _, p := range []string{`{"user":"../ann"}`, `{"user":"a\nb"}`, `{"user":"` + strings.Repeat("a", 257) + `"}`} {
		if o := d.Action.Run(context.Background(), h.request(p)); o.State != task.Refused {
			t.Errorf("%s: %+v", p, o)
		}
	}
}

// A crash while logs are sent must not leave the archive behind: nobody would look
// for it.
func TestArchiveOfLogsHasNoNameWhileItIsSent(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there a file keeps its name while it is open")
	}
	dir := realDir(t)
	write(t, filepath.Join(dir, "logs", "agent.log"), "new")
	state := filepath.Join(dir, "state")
	table := newFake(t, runtime.GOOS).table(t, Config{Logs: filepath.Join(dir, "logs"), State: state})
	var left []os.DirEntry
	h := &watchingHost{fakeHost: &fakeHost{}, onUpload: func() { left, _ = os.ReadDir(state) }}
	req := h.request(`{}`)
	req.Host, req.Operation = h, task.NewID(time.Now())
	if o := table["logs.collect"].Action.Run(context.Background(), req); o.State != task.Succeeded {
		t.Fatalf("%+v", o)
	}
	if len(left) != 0 {
		t.Errorf("%v is left if the agent is killed", left)
	}
}

// A watchingHost tells of an upload.
type watchingHost struct {
	*fakeHost
	onUpload func()
}

func (h *watchingHost) Upload(ctx context.Context, op task.ID, body io.ReaderAt, size int64, sum Digest) error {
	h.onUpload()
	return h.fakeHost.Upload(ctx, op, body, size, sum)
}

// The folder of the agent may be reached by a link, as /var on macOS is one.
func TestOwnLogsBehindALink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a link needs a privilege there")
	}
	dir := realDir(t)
	write(t, filepath.Join(dir, "real", "logs", "agent.log"), "new")
	if err := os.Symlink(filepath.Join(dir, "real"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	table := newFake(t, runtime.GOOS).table(t, Config{Logs: filepath.Join(dir, "link", "logs"), State: filepath.Join(dir, "state")})
	h := &fakeHost{}
	req := h.request(`{}`)
	req.Operation = task.NewID(time.Now())
	if o := table["logs.collect"].Action.Run(context.Background(), req); o.State != task.Succeeded {
		t.Errorf("%+v", o)
	}
}
