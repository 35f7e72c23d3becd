package inbox_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bugle-fleet/bugle/inbox"
	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const site = "LAB"

// A rig is one box, one journal in memory, and the inbox between them. It lives
// in a bubble of synctest and polls, so that "after a while" is exact.
type rig struct {
	t       *testing.T
	dir     string
	journal *journaltest.Memory
	ledger  *inbox.Ledger
	inbox   *inbox.Inbox
	stop    func() error
	cfg     inbox.Config // what differs from the defaults
}

// bubble runs f with a rig whose inbox does not run yet.
func bubble(t *testing.T, f func(r *rig)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, dir: dir, ledger: inbox.NewLedger()}
		r.journal = journaltest.NewMemory(journal.Options{Folds: []journal.Fold{r.ledger}})
		defer func() {
			r.halt()
			if err := r.journal.Close(); err != nil {
				t.Error(err)
			}
		}()
		f(r)
	})
}

// start runs the inbox.
func (r *rig) start() {
	r.t.Helper()
	cfg := r.cfg
	cfg.Dir, cfg.Site, cfg.Journal, cfg.Ledger, cfg.Poll = r.dir, site, r.journal, r.ledger, true
	cfg.ListenerKey, cfg.ResultKey, cfg.Log = listenerKey, resultKey, slog.New(slog.DiscardHandler)
	in, err := inbox.New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx) }()
	r.inbox = in
	r.stop = sync.OnceValue(func() error {
		cancel()
		err := <-ended
		in.Close()
		return err
	})
}

// halt stops the inbox, if it runs.
func (r *rig) halt() {
	r.t.Helper()
	if r.stop == nil {
		return
	}
	if err := r.stop(); err != nil {
		r.t.Errorf("run: %v", err)
	}
	r.stop = nil
}

// reopen is a crash of the whole site between two steps of the inbox, and its
// start.
func (r *rig) reopen() {
	r.t.Helper()
	r.halt()
	r.ledger = inbox.NewLedger()
	j, err := r.journal.Reopen(journal.Options{Folds: []journal.Fold{r.ledger}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.journal = j
}

// rest lets everything that is under way come to its end.
func (r *rig) rest() { rest(10 * time.Second) }

func rest(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// events are all events of the journal.
func (r *rig) events() []*event.Event {
	r.t.Helper()
	ctx := context.Background()
	rd, err := r.journal.Read(ctx, 1)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rd.Close()
	var all []*event.Event
	for {
		p, err := rd.Next(ctx)
		if err != nil {
			return all
		}
		for i := range p.Records {
			e, err := p.Records[i].Event()
			if err != nil {
				r.t.Fatal(err)
			}
			all = append(all, e)
		}
	}
}

// of are the payloads of one type.
func of[P event.Payload](events []*event.Event) (all []P) {
	for _, e := range events {
		if p, ok := e.Payload.(P); ok {
			all = append(all, p)
		}
	}
	return all
}

// files lists a folder of the box, as far down as it goes, without folders.
func (r *rig) files(folder string) []string {
	r.t.Helper()
	var all []string
	root := filepath.Join(r.dir, folder)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, strings.TrimPrefix(path, root+"/"))
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// idle fails unless nothing waits and nothing is claimed.
func (r *rig) idle() {
	r.t.Helper()
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		switch e.Name() {
		case "tmp", "work", "archive", "bad":
		default:
			r.t.Errorf("%s still waits", e.Name())
		}
	}
	work, err := os.ReadDir(filepath.Join(r.dir, "work"))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range work {
		r.t.Errorf("%s is still in work", e.Name())
	}
}

// put writes bytes into the box as a writer would, under any name.
func (r *rig) put(name string, b []byte) {
	r.t.Helper()
	tmp := filepath.Join(r.dir, "tmp", "put")
	for _, err := range []error{os.MkdirAll(filepath.Dir(tmp), 0o700), os.WriteFile(tmp, b, 0o600), os.Rename(tmp, filepath.Join(r.dir, name))} {
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// drop puts a file of listener BGL in epoch 1.
func (r *rig) drop(number uint64, c box.Contents) box.Name {
	r.t.Helper()
	n := box.Name{Listener: "BGL", Epoch: 1, Number: number, Kind: c.Kind()}
	r.put(n.String(), encode(r.t, n, c))
	return n
}

func encode(t *testing.T, n box.Name, c box.Contents) []byte {
	t.Helper()
	f := box.File{Name: n, Site: site, From: at(0), To: at(1), Contents: c}
	b, err := f.Append(nil, private)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var private = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// known are the listeners that the site knows.
var known = []string{"BGL", "BGM"}

func listenerKey(listener string, _ uint32) (ed25519.PublicKey, bool) {
	return private.Public().(ed25519.PublicKey), slices.Contains(known, listener)
}

// resultKey knows the devices up to 1,000,000.
func resultKey(device uint32) ([]byte, bool) {
	key := sha256.Sum256(binary.BigEndian.AppendUint32(nil, device))
	return key[:], device <= 1_000_000
}

func at(second int) time.Time {
	return time.Date(2026, 3, 1, 8, 0, second, 0, time.UTC)
}

var operation = task.ID{1, 2, 3}

// said is a row that the device said.
func said(device uint32, s task.State) box.ResultRow {
	row := box.ResultRow{Result: task.Result{Operation: operation, Device: device, Attempt: 1, State: s, At: at(0)}}
	key, _ := resultKey(device)
	row.MAC = row.Result.MAC(key)
	return row
}

func results(rows ...box.ResultRow) *box.Results { return &box.Results{Rows: rows} }

// online is a presence report of n devices.
func online(full bool, n int) *box.Presence {
	c := &box.Presence{Full: full}
	for i := range n {
		c.Entries = append(c.Entries, box.PresenceEntry{Device: uint32(i + 1), Online: true, Carrier: 1, Since: at(i)})
	}
	return c
}

// inboxFolders makes the folders of the box, for tests that fill it before the
// inbox runs.
func (r *rig) inboxFolders() {
	r.t.Helper()
	b, err := box.Open(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	b.Close()
}
