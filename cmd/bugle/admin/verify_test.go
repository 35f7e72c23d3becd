package admin

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/offlinetest"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// storedSite is the folder of a site that does not run: a journal of 30 pages in
// two generations, and its keys.
func storedSite(t *testing.T) (data string, f *offlinetest.Folder) {
	t.Helper()
	data = filepath.Join(t.TempDir(), "site")
	shape := offlinetest.Shape{Sealed: []int{12}, Archived: 1, Removed: 1}
	for i := range 30 {
		shape.Pages = append(shape.Pages, 1+i%3)
	}
	f = offlinetest.Make(t, filepath.Join(data, "journal"), shape)
	der, err := x509.MarshalPKCS8PrivateKey(f.Key)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(data, "keys", "head.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return data, f
}

func put(t *testing.T, name string, b []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// keyOf is the key of the folder's checkpoints as people give it.
func keyOf(t *testing.T, f *offlinetest.Folder) string {
	t.Helper()
	key, err := tree.VerifierKey(f.Origin, f.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func verifiedJSON(t *testing.T, r result) (v verified) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		t.Fatalf("%v: %s%s", err, r.stdout, r.stderr)
	}
	return v
}

func TestVerifyOffline(t *testing.T) {
	data, f := storedSite(t)
	_, text := f.CheckpointOf(t, 17)
	monday := put(t, filepath.Join(t.TempDir(), "monday.txt"), text)
	end := f.Heads[30]
	for _, args := range [][]string{
		{"--offline", data},
		{"--offline", filepath.Join(data, "journal")},
		{"--offline", data, "--from", monday, "--key", keyOf(t, f)},
	} {
		r := run{}.bugle(append([]string{"journal", "verify", "-o", "json"}, args...)...)
		v := verifiedJSON(t, r)
		if r.code != 0 || !v.OK || v.Events != end.Event || v.Pages != 30 || v.Head != fmt.Sprintf("%x", end.Hash) || v.Covered != end.Event || v.Matched != max(1, len(args)/3) || v.Event != 0 || r.stderr != "" {
			t.Errorf("%v: %+v, code %d, %s", args, v, r.code, r.stderr)
		}
	}
	r := run{}.bugle("journal", "verify", "--offline", data)
	if r.code != 0 || !strings.Contains(r.stdout, fmt.Sprintf("Events:           %d", end.Event)) {
		t.Errorf("%s%s", r.stdout, r.stderr)
	}
}

func TestVerifyOfflineFindsDamage(t *testing.T) {
	data, f := storedSite(t)
	name := filepath.Join(generation.LiveFolder(f.Dir, 2), "1.blk")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	put(t, name, b)
	r := run{}.bugle("journal", "verify", "--offline", data, "-o", "json")
	v := verifiedJSON(t, r)
	if r.code != 1 || r.err == nil || v.OK || v.Event == 0 || v.File != name || v.Offset == nil || v.Page < 13 || v.Reason == "" || v.Event <= f.Heads[12].Event {
		t.Errorf("%+v, code %d, %v", v, r.code, r.err)
	}
	r = run{}.bugle("journal", "verify", "--offline", data)
	if r.code != 1 || r.stdout != "" || !strings.Contains(r.err.Error(), fmt.Sprintf("damaged at event %d (page %d, %s at offset %d)", v.Event, v.Page, v.File, *v.Offset)) {
		t.Errorf("%d, %s, %v", r.code, r.stdout, r.err)
	}
}

// A tail that nobody was told of is no damage, and is told.
func TestVerifyOfflineTornTail(t *testing.T) {
	data, f := storedSite(t)
	_, text := f.CheckpointOf(t, 29)
	put(t, filepath.Join(f.Dir, "tree", "checkpoint"), text)
	if err := f.WriteMark(f.Heads[29]); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(generation.LiveFolder(f.Dir, 2), "2.blk")
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, info.Size()-3); err != nil {
		t.Fatal(err)
	}
	r := run{}.bugle("journal", "verify", "--offline", data, "-o", "json")
	if v := verifiedJSON(t, r); r.code != 0 || !v.OK || v.Pages != 29 || !strings.Contains(r.stderr, "never ended") {
		t.Errorf("%+v, code %d, %s", v, r.code, r.stderr)
	}
}

func TestVerifyOfflineRefuses(t *testing.T) {
	data, f := storedSite(t)
	other := *f
	other.Origin = "bugle.T01/" + strings.Repeat("0", 32)
	_, text := other.CheckpointOf(t, 3)
	foreign := put(t, filepath.Join(t.TempDir(), "foreign.txt"), text)
	_, text = f.CheckpointOf(t, 3)
	good := put(t, filepath.Join(t.TempDir(), "good.txt"), text)
	bad := put(t, filepath.Join(t.TempDir(), "bad.txt"), bytes.Replace(text, []byte("events"), []byte("event5"), 1))
	alone := filepath.Join(t.TempDir(), "journal")
	f.Copy(t, alone)
	otherKey := *f
	otherKey.Key = append(bytes.Clone(f.Key[:1]), f.Key[1:]...)
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no folder":                   {[]string{"--offline", filepath.Join(data, "no")}, 1, "no journal is there"},
		"a checkpoint of another one": {[]string{"--offline", data, "--from", foreign}, 1, "another journal"},
		"a damaged checkpoint":        {[]string{"--offline", data, "--from", bad}, 1, "signature does not match"},
		"a checkpoint without a key":  {[]string{"--offline", alone, "--from", good}, 2, "needs the site's public key"},
		"no such checkpoint":          {[]string{"--offline", data, "--from", good + ".no"}, 1, "no such file"},
		"no key":                      {[]string{"--offline", data, "--key", "x"}, 2, "not a public key"},
		"an argument":                 {[]string{"x"}, 2, "too many"},
	} {
		r := run{}.bugle(append([]string{"journal", "verify"}, c.args...)...)
		if r.err == nil || r.code != c.code || !strings.Contains(r.err.Error(), c.says) || r.stdout != "" {
			t.Errorf("%s: code %d, %v, %s", name, r.code, r.err, r.stdout)
		}
	}
	// A copy without keys is read; that its checkpoint says nothing is told.
	r := run{}.bugle("journal", "verify", "--offline", alone)
	if r.code != 0 || !strings.Contains(r.stderr, "there is no key") || !strings.Contains(r.stderr, "Nothing that was signed covers events 1 to") {
		t.Errorf("code %d, %s, %v", r.code, r.stderr, r.err)
	}
}

// archiveOf is the pages of a folder as a site gives them away.
func archiveOf(t *testing.T, f *offlinetest.Folder, checkpoint []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := archive.NewWriter(&out, archive.Header{History: f.History})
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range f.Pages {
		if err := w.Add(raw); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(archive.Seal{Checkpoint: checkpoint}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// One archive is checked with no site, and with a key it must be signed.
func TestVerifyArchive(t *testing.T) {
	_, f := storedSite(t)
	_, text := f.CheckpointOf(t, 30)
	dir, whole := t.TempDir(), archiveOf(t, f, text)
	good := put(t, filepath.Join(dir, "good.bga"), whole)
	unsigned := put(t, filepath.Join(dir, "unsigned.bga"), archiveOf(t, f, nil))
	bad := bytes.Clone(whole)
	bad[len(bad)/2] ^= 1
	damaged := put(t, filepath.Join(dir, "damaged.bga"), bad)
	other := newSignedJournal(t, "bugle.P01/00", 9).verifierKey()
	key := keyOf(t, f)
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"good":                 {[]string{good, "--key", key}, 0, fmt.Sprintf("good.bga: events 1 to %d, %d bytes, whole", f.Heads[30].Event, len(whole))},
		"without a key":        {[]string{good}, 0, "there is no key"},
		"for programs":         {[]string{good, "--key", key, "-o", "json"}, 0, `"signed": true`},
		"not looked at":        {[]string{good, "-o", "json"}, 0, `"signed": false`},
		"unsigned":             {[]string{unsigned, "--key", key}, 1, "nobody has signed it"},
		"unsigned, no key":     {[]string{unsigned}, 0, "whole"},
		"another key":          {[]string{good, "--key", other}, 1, "not signed by this key"},
		"damaged":              {[]string{damaged}, 1, "damaged"},
		"no file":              {[]string{good + "x"}, 1, "no such file"},
		"no archive":           {[]string{put(t, filepath.Join(dir, "x"), []byte("hello"))}, 1, "not an archive"},
		"together with --from": {[]string{good, "--from", "x"}, 2, "leave out"},
	} {
		r := run{}.bugle(append([]string{"journal", "verify", "--archive"}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.stdout+r.stderr+fmt.Sprint(r.err), c.says) {
			t.Errorf("%s: code %d, %q, %q, %v; want %d with %q", name, r.code, r.stdout, r.stderr, r.err, c.code, c.says)
		}
	}
}

// givesAway is a site whose pages are those of the folder.
func givesAway(t *testing.T, f *offlinetest.Folder, sent []byte) *fakeSite {
	s := newFakeSite(t, map[string]http.HandlerFunc{
		"GET " + console.PathJournal:    answer(console.JournalReply{Events: f.Heads[len(f.Pages)].Event}),
		"GET " + console.PathArchive:    func(w http.ResponseWriter, _ *http.Request) { w.Write(sent) },
		"GET " + console.PathCheckpoint: answer(console.CheckpointReply{Key: keyOf(t, f)}),
	})
	return s
}

func TestVerifyOnline(t *testing.T) {
	_, f := storedSite(t)
	_, text := f.CheckpointOf(t, 30)
	_, older := f.CheckpointOf(t, 9)
	monday := put(t, filepath.Join(t.TempDir(), "monday.txt"), older)
	s := givesAway(t, f, archiveOf(t, f, text))
	end := f.Heads[30]
	for _, c := range []struct {
		args []string
		told string
		n    int
	}{
		{nil, "what the site itself says", 1},
		{[]string{"--key", keyOf(t, f), "--from", monday}, "", 2},
	} {
		r := run{}.on(s, append([]string{"journal", "verify", "-o", "json"}, c.args...)...)
		v := verifiedJSON(t, r)
		if r.code != 0 || !v.OK || v.Events != end.Event || v.Covered != end.Event || v.Matched != c.n || !strings.Contains(r.stderr, c.told) || c.told == "" && r.stderr != "" {
			t.Errorf("%v: %+v, code %d, %s", c.args, v, r.code, r.stderr)
		}
	}
}

// The site is not believed: pages that differ from a checkpoint, a seal that is
// not of what came, an end before the end.
func TestVerifyOnlineBelievesNothing(t *testing.T) {
	_, f := storedSite(t)
	_, honest := f.CheckpointOf(t, 30)
	_, older := f.CheckpointOf(t, 20)
	monday := put(t, filepath.Join(t.TempDir(), "monday.txt"), older)
	whole := archiveOf(t, f, honest)
	// Another history of as many events, signed with the same key.
	forged := offlinetest.Make(t, filepath.Join(t.TempDir(), "other"), offlinetest.Shape{Pages: f.Shape.Pages, Size: 40, Signed: -1})
	_, text := forged.CheckpointOf(t, 30)
	for name, c := range map[string]struct {
		sent []byte
		says string
	}{
		"other pages":                           {archiveOf(t, forged, text), "not what its checkpoint says"},
		"cut short":                             {whole[:len(whole)/2], "damaged"},
		"not signed":                            {archiveOf(t, f, nil), "has not signed"},
		"no archive":                            {[]byte("hello"), "not an archive"},
		"a bit":                                 {append(append(bytes.Clone(whole[:len(whole)-40]), whole[len(whole)-40]^1), whole[len(whole)-39:]...), "damaged"},
		"less than what was signed on a monday": {shortened(t, f, 15), "not what its checkpoint says"},
	} {
		r := run{}.on(givesAway(t, f, c.sent), "journal", "verify", "--key", keyOf(t, f), "--from", monday)
		if r.code != 1 || r.err == nil || !strings.Contains(r.err.Error(), c.says) {
			t.Errorf("%s: code %d, %v", name, r.code, r.err)
		}
	}
}

// A checkpoint of another journal of the same site says nothing of this one: that is
// told, and not that this one was changed.
func TestVerifyOnlineOtherCheckpoint(t *testing.T) {
	_, f := storedSite(t)
	_, text := f.CheckpointOf(t, 30)
	c, _ := f.CheckpointOf(t, 9)
	c.Origin = fmt.Sprintf("bugle.P01/%x", [16]byte{9})
	other, err := c.Sign(f.Key)
	if err != nil {
		t.Fatal(err)
	}
	foreign := put(t, filepath.Join(t.TempDir(), "foreign.txt"), other)
	r := run{}.on(givesAway(t, f, archiveOf(t, f, text)), "journal", "verify", "--from", foreign)
	if r.code != 1 || !errors.Is(r.err, tree.ErrOrigin) {
		t.Errorf("code %d, %v", r.code, r.err)
	}
}

// shortened is the first n pages, as whole and as signed as all of them.
func shortened(t *testing.T, f *offlinetest.Folder, n int) []byte {
	short := *f
	short.Pages = f.Pages[:n]
	_, text := f.CheckpointOf(t, n)
	return archiveOf(t, &short, text)
}

func TestEventPace(t *testing.T) {
	now := time.Unix(0, 0)
	for _, terminal := range []bool{true, false} {
		var b bytes.Buffer
		p := &eventPace{w: &b, terminal: terminal, what: "verified", now: func() time.Time { return now }, begun: now, drawn: now}
		for i := range uint64(100) {
			now = now.Add(100 * time.Millisecond)
			p.show(i*100_000, 20_000_000)
		}
		p.end()
		p.end()
		lines := strings.Count(b.String(), "\n")
		if terminal && (lines != 1 || strings.Count(b.String(), "\r") != 50) || !terminal && lines != 2 || !strings.Contains(b.String(), "of 20000000 events, 9") || !strings.Contains(b.String(), " left") {
			t.Errorf("terminal %v: %q", terminal, b.String())
		}
		if line := p.line(10, 0, time.Second); line != "verified 10 events, 10/s" {
			t.Error(line)
		}
	}
}
