package powerloss

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A hand does what a script says: words, ended by semicolons.
type hand interface {
	mkdir(name string) error
	write(name, text string, offset int64) error // makes the file if need be
	truncate(name string, size int64) error
	sync(name string) error
	rename(old, name string) error
	link(old, name string) error
	remove(name string) error
}

// perform runs a script. A sync of "/" is one of the root.
func perform(h hand, script string) error {
	for line := range strings.SplitSeq(script, ";") {
		w := append(strings.Fields(line), "", "")
		var err error
		switch w[0] {
		case "mkdir":
			err = h.mkdir(w[1])
		case "write":
			err = h.write(w[1], w[2], 0)
		case "add":
			at := int64(0)
			if _, err := fmt.Sscan(w[3], &at); err != nil {
				return err
			}
			err = h.write(w[1], w[2], at)
		case "cut":
			err = h.truncate(w[1], int64(len(w[2])))
		case "sync":
			err = h.sync(w[1])
		case "mv":
			err = h.rename(w[1], w[2])
		case "ln":
			err = h.link(w[1], w[2])
		case "rm":
			err = h.remove(w[1])
		default:
			err = errors.New("no such word")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return nil
}

// sequences are what programs do, and all that a power cut may leave. A file is
// NAME=CONTENT, with . for a zero byte; a folder is NAME/.
var sequences = []struct {
	name, script    string
	ordered, strict string // separated by |, "none" is an empty disk
}{
	{"nothing synced", "write a new",
		"none|a=|a=...|a=new", "none|a=|a=...|a=new"},
	{"file synced", "write a new; sync a",
		"a=new", "none|a=new"},
	{"folder synced, not the file", "write a new; sync /",
		"a=|a=...|a=new", "a=|a=...|a=new"},
	{"both synced", "write a new; sync a; sync /",
		"a=new", "a=new"},
	{"written over", "write a old; sync a; sync /; write a new",
		"a=old|a=new", "a=old|a=new"},
	{"written twice", "write a 1; sync a; sync /; write a 2; write a 3",
		"a=1|a=2|a=3", "a=1|a=2|a=3"},
	{"appended", "write a old; sync a; sync /; add a new 3",
		"a=old|a=old...|a=oldnew", "a=old|a=old...|a=oldnew"},
	{"shortened", "write a old; sync a; sync /; cut a x",
		"a=o|a=old|a=o..", "a=o|a=old|a=o.."},
	{"shortened and synced", "write a old; sync /; cut a x; sync a",
		"a=o", "a=o"},
	{"replaced with nothing synced", "write a old; sync a; sync /; write t new; mv t a",
		"a=old|a=old t=|a=old t=...|a=old t=new|a=|a=...|a=new",
		"a=old|a=old t=|a=old t=...|a=old t=new|a=|a=...|a=new"},
	{"replaced, file synced", "write a old; sync a; sync /; write t new; sync t; mv t a",
		"a=old t=new|a=new", "a=old|a=old t=new|a=new"},
	{"replaced durably", "write a old; sync a; sync /; write t new; sync t; mv t a; sync /",
		"a=new", "a=new"},
	{"replaced, synced after the rename", "write a old; sync a; sync /; write t new; mv t a; sync a",
		"a=new", "a=old|a=old t=new|a=new"},
	{"removed", "write a old; sync a; sync /; rm a",
		"none|a=old", "none|a=old"},
	{"removed durably", "write a old; sync a; sync /; rm a; sync /",
		"none", "none"},
	{"removed and made again", "write a old; sync a; sync /; rm a; write a new; sync a",
		"a=new", "none|a=old|a=new"},
	{"file in a new folder", "mkdir d; write d/a new; sync d/a; sync d",
		"d/ d/a=new", "none|d/ d/a=new"},
	{"file in a new folder, all synced", "mkdir d; write d/a new; sync d/a; sync d; sync /",
		"d/ d/a=new", "d/ d/a=new"},
	{"moved, target synced", "mkdir d; write a new; sync a; sync /; mv a d/a; sync d",
		"d/ d/a=new", "d/ d/a=new"},
	{"moved, source synced", "mkdir d; write a new; sync a; sync /; mv a d/a; sync /",
		"d/ d/a=new", "d/ d/a=new"},
	{"moved", "mkdir d; write a new; sync a; sync /; mv a d/a",
		"d/ a=new|d/ d/a=new", "d/ a=new|d/ d/a=new"},
	{"moved into a folder that may be lost", "write a new; sync a; sync /; mkdir d; mv a d/a; sync d",
		"d/ d/a=new", "a=new|d/ d/a=new"},
	{"made beside, moved in", "mkdir t; mkdir b; sync /; write t/a new; sync t/a; mv t/a b/a; sync b",
		"b/ t/ b/a=new", "b/ t/ b/a=new"},
	{"linked, one name removed", "write a new; sync a; sync /; ln a b; rm a",
		"a=new|a=new b=new|b=new", "none|a=new|a=new b=new|b=new"},
	{"another file synced", "write a new; write b 1; sync b; sync /; add b 2 1; sync b",
		"a= b=12|a=... b=12|a=new b=12", "a= b=12|a=... b=12|a=new b=12"},
	{"two files, the second synced", "write a 1; write b 2; sync b",
		"a= b=2|a=. b=2|a=1 b=2", "none|a=|a=.|a=1|b=2|a= b=2|a=. b=2|a=1 b=2"},
}

// wanted is the outcomes of a sequence in a mode.
func wanted(outcomes string) []string {
	all := strings.Split(strings.ReplaceAll(outcomes, "none", ""), "|")
	slices.Sort(all)
	return all
}

// TestSequences cuts the power after each sequence with many seeds: what must be
// kept is always there, and everything that may be lost is lost at some time.
func TestSequences(t *testing.T) {
	for _, s := range sequences {
		for mode, want := range map[Mode]string{Ordered: s.ordered, Strict: s.strict} {
			seen := map[string]bool{}
			for seed := range uint64(400) {
				d := New(Options{Mode: mode, Seed: seed})
				if err := perform(direct{d}, s.script); err != nil {
					t.Fatalf("%s: %v", s.name, err)
				}
				d.Stop()
				d.Cut()
				seen[d.dump()] = true
				d.Cut()
				if !seen[d.dump()] {
					t.Fatalf("%s: a second cut has changed something", s.name)
				}
			}
			if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, wanted(want)) {
				t.Errorf("%s, %s:\n%s\nleaves %q\n want  %q", s.name, mode, s.script, got, wanted(want))
			}
		}
	}
}

// TestKilled kills the program only: everything is there.
func TestKilled(t *testing.T) {
	d := New(Options{Mode: Strict})
	if err := perform(direct{d}, "mkdir d; write d/a new; mv d/a b; write c x; rm c"); err != nil {
		t.Fatal(err)
	}
	d.Stop()
	d.Resume()
	if got := d.dump(); got != "d/ b=new" {
		t.Errorf("left is %q", got)
	}
}

// TestTornBlocks writes blocks in place and looks for each of the ways in which
// they may be torn.
func TestTornBlocks(t *testing.T) {
	old, now := strings.Repeat("o", 4*pageSize), strings.Repeat("n", 4*pageSize)
	seen := map[string]bool{}
	for seed := range uint64(200) {
		d := New(Options{Seed: seed})
		h := direct{d}
		if err := errors.Join(h.write("a", old, 0), h.sync("a"), h.write("a", now[:2*pageSize], 0), h.write("a", now[2*pageSize:], 2*pageSize)); err != nil {
			t.Fatal(err)
		}
		d.Stop()
		r := d.Cut()
		if len(r.Files) != 1 || r.Files[0].Path != "a" || r.Files[0].Steps != 2 {
			t.Fatalf("reported is %v", r)
		}
		text := d.text("a")
		switch {
		case text == old:
			seen["lost"] = true
		case text == now:
			seen["kept"] = true
		case text == now[:2*pageSize]+old[2*pageSize:]:
			seen["first"] = true
		case text[pageSize-512:pageSize] != text[pageSize-1024:pageSize-512]:
			seen["512"] = true
		case text[:pageSize] == old[:pageSize] && text[3*pageSize:] == now[3*pageSize:]:
			seen["out of order"] = true
		}
	}
	if len(seen) != 5 {
		t.Errorf("only these were seen: %v", seen)
	}
}

// TestSteps bounds what can be undone.
func TestSteps(t *testing.T) {
	d := New(Options{})
	h := direct{d}
	if err := perform(h, "write a x; sync /"); err != nil {
		t.Fatal(err)
	}
	for range 3 * maxSteps {
		if err := h.write("a", "x", 0); err != nil {
			t.Fatal(err)
		}
	}
	d.Stop()
	if r := d.Cut(); len(r.Files) != 1 || r.Files[0].Steps > maxSteps || r.Files[0].Steps < maxSteps/2 {
		t.Errorf("reported is %v", r)
	}
}

// direct works on the model itself.
type direct struct{ d *Disk }

func (h direct) find(name string) (folder uint64, base string, n *inode) {
	at := h.d.root
	if name == "/" {
		return 0, "", at
	}
	parts := strings.Split(name, "/")
	for _, p := range parts[:len(parts)-1] {
		at = at.entries[p]
	}
	base = parts[len(parts)-1]
	return at.number, base, at.entries[base]
}

func (h direct) mkdir(name string) error {
	folder, base, _ := h.find(name)
	_, err := h.d.create(folder, base, fs.ModeDir|0o700, true)
	return err
}

func (h direct) write(name, text string, offset int64) error {
	folder, base, _ := h.find(name)
	n, err := h.d.create(folder, base, 0o600, false)
	if err != nil {
		return err
	}
	return h.d.write(n.number, []byte(text), offset)
}

func (h direct) truncate(name string, size int64) error {
	_, _, n := h.find(name)
	return h.d.truncate(n.number, size)
}

func (h direct) sync(name string) error {
	_, _, n := h.find(name)
	if n.isFolder() {
		return h.d.syncFolder(n.number)
	}
	return h.d.sync(n.number)
}

func (h direct) rename(old, name string) error {
	from, a, _ := h.find(old)
	to, b, _ := h.find(name)
	return h.d.move(from, a, to, b, true)
}

func (h direct) link(old, name string) error {
	_, _, n := h.find(old)
	to, b, _ := h.find(name)
	_, err := h.d.link(n.number, to, b)
	return err
}

func (h direct) remove(name string) error {
	folder, base, n := h.find(name)
	return h.d.remove(folder, base, n.isFolder())
}

// text is the content of a file.
func (d *Disk) text(name string) string {
	_, _, n := direct{d}.find(name)
	b := make([]byte, n.data.size)
	return string(b[:n.data.read(b, 0)])
}

// dump is everything on the disk.
func (d *Disk) dump() string {
	var all []string
	for _, n := range d.inodes {
		if n != d.root && n.isFolder() {
			all = append(all, n.path()+"/")
		}
		for name, c := range n.entries {
			if !c.isFolder() {
				all = append(all, n.pathOf(name)+"="+strings.ReplaceAll(d.text(n.pathOf(name)), "\x00", "."))
			}
		}
	}
	slices.SortFunc(all, func(a, b string) int {
		return cmpDump(a, b)
	})
	return strings.Join(all, " ")
}

// cmpDump puts folders first.
func cmpDump(a, b string) int {
	x, y := strings.HasSuffix(a, "/"), strings.HasSuffix(b, "/")
	if x != y {
		if x {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}

// TestRefused asks for what cannot be.
func TestRefused(t *testing.T) {
	d := New(Options{})
	h := direct{d}
	if err := perform(h, "mkdir d; write d/a x; write b y; mkdir e"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		got  error
		want syscall.Errno
	}{
		{"remove a folder that is not empty", h.remove("d"), syscall.ENOTEMPTY},
		{"remove a folder as a file", d.remove(rootNumber, "e", false), syscall.EISDIR},
		{"remove a file as a folder", d.remove(rootNumber, "b", true), syscall.ENOTDIR},
		{"make what is there", h.mkdir("d"), syscall.EEXIST},
		{"rename what is not there", h.rename("x", "y"), syscall.ENOENT},
		{"rename over a folder that is not empty", h.rename("e", "d"), syscall.ENOTEMPTY},
		{"rename a file over a folder", h.rename("b", "e"), syscall.EEXIST},
		{"rename over what must not be there", d.move(rootNumber, "b", rootNumber, "e", false), syscall.EEXIST},
		{"link over what is there", h.link("b", "d/a"), syscall.EEXIST},
		{"link a folder", h.link("d", "f"), syscall.EPERM},
		{"write a folder", d.write(rootNumber, []byte("x"), 0), syscall.EISDIR},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	if got := d.dump(); got != "d/ e/ b=y d/a=x" {
		t.Errorf("left is %q", got)
	}
}
