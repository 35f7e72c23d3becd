//go:build unix

package inbox_test

import (
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A hostile entry is one that a careless or an evil writer leaves in the box.
type hostile struct {
	what   string
	reason string // a part of what is said of it
	make   func(r *rig, name box.Name)
}

// bytesOf makes an entry whose bytes are a good file's, changed.
func bytesOf(change func(b []byte) []byte) func(*rig, box.Name) {
	return func(r *rig, n box.Name) {
		r.put(n.String(), change(encode(r.t, n, results(said(1, task.Running)))))
	}
}

// named makes an entry with a good file's bytes and another name.
func named(name string) func(*rig, box.Name) {
	return func(r *rig, n box.Name) { r.put(name, encode(r.t, n, results(said(1, task.Running)))) }
}

func hostiles() []hostile {
	// Each is made in tmp and comes in by a rename, as writers do it: an inbox that
	// runs sees it whole or not at all.
	made := func(do func(path string) error) func(*rig, box.Name) {
		return func(r *rig, n box.Name) {
			tmp := filepath.Join(r.dir, "tmp", "made")
			for _, err := range []error{do(tmp), os.Rename(tmp, filepath.Join(r.dir, n.String()))} {
				if err != nil {
					r.t.Fatal(err)
				}
			}
		}
	}
	must := func(r *rig, err error) {
		if err != nil {
			r.t.Fatal(err)
		}
	}
	return []hostile{
		{"a folder", "not a regular file", made(func(path string) error { return os.MkdirAll(path+"/inside", 0o700) })},
		{"a pipe", "not a regular file", made(func(path string) error { return syscall.Mkfifo(path, 0o600) })},
		{"a link to a file", "not a regular file", made(func(path string) error { return os.Symlink("/etc/hostname", path) })},
		{"a link to nothing", "not a regular file", made(func(path string) error { return os.Symlink("nowhere", path) })},
		{"a link to a folder", "not a regular file", made(func(path string) error { return os.Symlink("..", path) })},
		{"a socket", "not a regular file", made(func(path string) error { return syscall.Mknod(path, syscall.S_IFSOCK|0o600, 0) })},
		{"a huge file", "too large", made(func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40))
		})},
		{"a second name of a file", "2 names", func(r *rig, n box.Name) {
			b := encode(r.t, n, results(said(1, task.Running)))
			made(func(path string) error {
				return errors.Join(os.WriteFile(path, b, 0o600), os.Link(path, path+"."+n.String()))
			})(r, n)
		}},
		{"an empty file", "empty", bytesOf(func([]byte) []byte { return nil })},
		{"text", "does not begin like a box file", bytesOf(func([]byte) []byte { return []byte("hello") })},
		{"a file cut in its header", "cut short", bytesOf(func(b []byte) []byte { return b[:50] })},
		{"a file cut in its payload", "header says", bytesOf(func(b []byte) []byte { return b[:len(b)-10] })},
		{"a file cut by a byte", "header says", bytesOf(func(b []byte) []byte { return b[:len(b)-1] })},
		{"a file with more behind it", "header says", bytesOf(func(b []byte) []byte { return append(b, 0) })},
		{"a flipped bit in the payload", "checksum", bytesOf(func(b []byte) []byte { b[100] ^= 4; return b })},
		{"a flipped bit in the signature", "signature", bytesOf(func(b []byte) []byte { b[len(b)-1] ^= 1; return b })},
		{"a later version", "later version", bytesOf(func(b []byte) []byte { b[5] = 3; return b })},
		{"another's signature", "signature", func(r *rig, n box.Name) {
			other := ed25519.NewKeyFromSeed([]byte(strings.Repeat("x", ed25519.SeedSize)))
			f := box.File{Name: n, Site: site, From: at(0), To: at(1), Contents: results(said(1, task.Running))}
			b, err := f.Append(nil, other)
			must(r, err)
			r.put(n.String(), b)
		}},
		{"another site", "of site", func(r *rig, n box.Name) {
			f := box.File{Name: n, Site: "ELSEWHERE", From: at(0), To: at(1), Contents: results(said(1, task.Running))}
			b, err := f.Append(nil, private)
			must(r, err)
			r.put(n.String(), b)
		}},
		{"another number in the header", "says of itself", func(r *rig, n box.Name) {
			m := n
			m.Number++
			r.put(n.String(), encode(r.t, m, results(said(1, task.Running))))
		}},
		{"an unknown listener", "not known", func(r *rig, n box.Name) {
			n.Listener = "STRANGER"
			bytesOf(func(b []byte) []byte { return b })(r, n)
		}},
		{"a small letter", "not the name", named("bgl-00000001-00000000000000000900.BTS")},
		{"a short number", "not the name", named("BGL-00000001-900.BTS")},
		{"number 0", "number 0", named("BGL-00000001-00000000000000000000.BTS")},
		{"another extension", "not the name", named("BGL-00000001-00000000000000000900.EXE")},
		{"a hidden file", "not the name", named(".hidden")},
		{"a name of 255 bytes", "not the name", named(strings.Repeat("n", 255))},
		{"a name with a line feed", "not the name", named("a\nb")},
		{"a name that is no UTF-8", "not the name", named("\xff\xfe.BTS")},
		{"a name like a reason", "not the name", named("X.reason")},
		{"a name with a number of its own", "not the name", named("BGL-00000001-00000000000000000900.BTS~2")},
	}
}

// TestPL5_HostileFiles puts one hostile entry after the other into the box, and
// a good file behind each.
func TestPL5_HostileFiles(t *testing.T) {
	bubble(t, func(r *rig) {
		r.start()
		for i, h := range hostiles() {
			name := box.Name{Listener: "BGL", Epoch: uint32(i + 1), Number: 1, Kind: box.BTS}
			h.make(r, name)
			good := name
			good.Number = 2
			r.put(good.String(), encode(t, good, results(said(uint32(i+1), task.Running))))
			r.rest()
			events := r.events()
			aside := of[*event.FileQuarantined](events)
			if len(aside) != i+1 {
				t.Fatalf("%s: %d quarantine events, want %d", h.what, len(aside), i+1)
			}
			if last := aside[i]; !strings.Contains(last.Reason, h.reason) {
				t.Errorf("%s: reason %q, want one with %q", h.what, last.Reason, h.reason)
			}
			if rows := of[*event.ResultsReported](events); len(rows) != i+1 || rows[i].Rows[0].Device != uint32(i+1) {
				t.Errorf("%s: the next file was not taken", h.what)
			}
			r.idle()
		}
		bad, err := r.inbox.Bad()
		if err != nil || len(bad) != len(hostiles()) {
			t.Fatalf("%d bad files, %v, want %d", len(bad), err, len(hostiles()))
		}
		for _, b := range bad {
			if b.Reason == "" || len(b.Name) > box.MaxBadName {
				t.Errorf("bad file %q with reason %q", b.Name, b.Reason)
			}
		}
	})
}

// TestPL5_AllAtOnce is the same without a pause.
func TestPL5_AllAtOnce(t *testing.T) {
	bubble(t, func(r *rig) {
		r.inboxFolders()
		for i, h := range hostiles() {
			h.make(r, box.Name{Listener: "BGL", Epoch: uint32(i + 1), Number: 1, Kind: box.BTS})
		}
		good := r.drop(1, online(true, 1))
		r.start()
		r.rest()
		r.idle()
		// One of them has the name of another one and so replaced it on its way in.
		if n := len(of[*event.FileQuarantined](r.events())); n != len(hostiles()) {
			t.Errorf("%d quarantine events, want %d", n, len(hostiles()))
		}
		if n := len(of[*event.PresenceSnapshot](r.events())); n != 1 {
			t.Errorf("%s was not taken", good)
		}
	})
}
