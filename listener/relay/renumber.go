package relay

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
)

// The stable numbers of the status messages of component "relay", which a
// forwarder says in files of its own.
const (
	MessageAside      uint32 = 3101 // an error: a file is put aside
	MessageRenumbered uint32 = 3102 // a warning: files got new numbers
)

const component = "relay"

// ErrBehind is wrapped by the error of [Forwarder.Run] that says: the site has
// other files with the numbers of these. The counter is behind what was written,
// as after a restore of an older copy of the listener. Under another epoch, and
// after [Forwarder.Renumber], the files can go on.
var ErrBehind = errors.New("the counter of the listener's files is behind what the site has")

// offer notes that the site may have seen a file from now on.
func (f *Forwarder) offer(n box.Name) {
	if n.Epoch == f.cfg.Epoch && n.Listener == f.cfg.Listener {
		f.offered[n.Kind] = max(f.offered[n.Kind], n.Number)
	}
}

// fresh tells whether the site cannot have seen a file.
func (f *Forwarder) fresh(n box.Name) bool {
	return n.Epoch == f.cfg.Epoch && n.Listener == f.cfg.Listener && n.Number > f.offered[n.Kind]
}

// merge makes fewer files of those that were never sent, where they have become
// many: each file costs the site about as much as a hundred results.
func (f *Forwarder) merge() {
	for kind := box.BTS; kind <= box.DDR; kind++ {
		last := f.spool.Last(kind)
		if last < max(f.offered[kind], f.merged[kind])+crowd || kind == box.BOS {
			continue
		}
		if err := f.mergeKind(kind); err != nil {
			f.cfg.Log.Warn("files that wait cannot be merged", "listener", f.cfg.Listener, "kind", kind, "error", err)
			f.merged[kind] = last // the next attempt when there are many more
		}
	}
}

func (f *Forwarder) mergeKind(kind box.Kind) error {
	f.counting.Lock()
	defer f.counting.Unlock()
	files, bytes, err := f.spool.Merge(kind, f.offered[kind]+1)
	f.count.Add(-int64(files))
	f.used.Add(-bytes)
	f.merged[kind] = f.spool.Last(kind)
	return err
}

// message says something of the listener, in a file.
func (f *Forwarder) message(number uint32, severity uint8, text string) error {
	now := time.Now()
	return f.drop(&box.Status{Records: []box.StatusRecord{{Type: box.Message, At: now, Component: component, Number: number,
		Severity: severity, Text: text[:min(len(text), maxText)]}}}, now, now)
}

const maxText = 4096 // bytes of a message's text

// Renumber writes the files of earlier epochs that wait anew, in their order, as
// files of this one, and says so in a status message. One that cannot be read, or
// has another key's signature, stays as it is. Nothing may be dropped or sent at
// the time; after an error, or a crash, it is called again.
func (f *Forwarder) Renumber() error {
	names, err := f.earlier()
	if err != nil {
		return fmt.Errorf("renumber files: %w", err)
	}
	moved := 0
	for _, n := range names {
		again, err := f.renumber(n)
		if err != nil {
			return fmt.Errorf("renumber %s: %w", n, err)
		}
		if again {
			moved++
		}
	}
	if moved == 0 {
		return nil
	}
	return f.message(MessageRenumbered, 2, fmt.Sprintf("the site had other files with the numbers of this listener, whose folder may be an older copy: "+
		"%d files that waited got new numbers in epoch %d, and may say again what the site knows", moved, f.cfg.Epoch))
}

// earlier are the files of earlier epochs that wait, in claim order.
func (f *Forwarder) earlier() (names []box.Name, err error) {
	entries, err := os.ReadDir(f.cfg.Dir)
	for _, e := range entries {
		if n, err := box.ParseName(e.Name()); err == nil && n.Listener == f.cfg.Listener && n.Epoch < f.cfg.Epoch && e.Type().IsRegular() {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, box.Name.Compare)
	return names, err
}

func (f *Forwarder) renumber(n box.Name) (moved bool, err error) {
	path := filepath.Join(f.cfg.Dir, n.String())
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	own := f.cfg.Key.Public().(ed25519.PublicKey)
	file, err := box.Decode(b, func(string, uint32) (ed25519.PublicKey, bool) { return own, true })
	if err != nil || len(file.Bad) > 0 {
		f.cfg.Log.Warn("a file keeps its number, for it cannot be read", "listener", f.cfg.Listener, "file", n, "error", err)
		return false, nil
	}
	if err := f.drop(file.Contents, file.From, file.To); err != nil {
		return false, err
	}
	if err := os.Remove(path); err != nil {
		return false, err
	}
	f.used.Add(-int64(len(b)))
	f.count.Add(-1)
	return true, nil
}
