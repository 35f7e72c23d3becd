package powerloss

import (
	"io/fs"
	"maps"
	"slices"
	"syscall"
	"time"
)

// A change is one change of names, with what undoes it.
type change struct {
	entries []entry
	kept    bool // for sure, if the folders are
}

// An entry is what one name in one folder was and became; nil is no such name.
type entry struct {
	folder        *inode
	name          string
	before, after *inode
}

type place struct {
	folder *inode
	name   string
}

func (e *entry) place() place { return place{e.folder, e.name} }

// rename makes the names what the entries say and remembers how they were.
func (d *Disk) rename(entries ...entry) *change {
	c := &change{entries: entries}
	for i := range entries {
		e := &entries[i]
		e.before = e.folder.entries[e.name]
		e.set(e.after)
		e.folder.modified = time.Now()
	}
	d.names = append(d.names, c)
	return c
}

func (e *entry) set(n *inode) {
	if old := e.folder.entries[e.name]; old != nil {
		old.links--
	}
	if n == nil {
		delete(e.folder.entries, e.name)
		return
	}
	n.links++
	n.parent, n.name = e.folder, e.name
	e.folder.entries[e.name] = n
}

// folder returns the folder of that number.
func (d *Disk) folder(number uint64) (*inode, error) {
	n := d.inodes[number]
	switch {
	case n == nil:
		return nil, syscall.ENOENT
	case !n.isFolder():
		return nil, syscall.ENOTDIR
	}
	return n, nil
}

// child returns a folder and what has the name in it.
func (d *Disk) child(folder uint64, name string) (parent, n *inode, err error) {
	if parent, err = d.folder(folder); err != nil {
		return nil, nil, err
	}
	if n = parent.entries[name]; n == nil {
		return parent, nil, syscall.ENOENT
	}
	return parent, n, nil
}

func (d *Disk) pathIn(folder uint64, name string) func() string {
	return func() string {
		if n := d.inodes[folder]; n != nil {
			return n.pathOf(name)
		}
		return name
	}
}

func (d *Disk) pathOf(number uint64) func() string {
	return func() string {
		if n := d.inodes[number]; n != nil {
			return n.path()
		}
		return ""
	}
}

// create makes a file or folder, or returns the file that is there unless it
// must be new.
func (d *Disk) create(folder uint64, name string, mode fs.FileMode, exclusive bool) (n *inode, err error) {
	if err := d.look(func() error {
		_, n, _ = d.child(folder, name)
		return nil
	}); err != nil || n != nil {
		if n != nil && (exclusive || n.isFolder() || mode.IsDir()) {
			return nil, syscall.EEXIST
		}
		return n, err
	}
	err = d.do(Create, d.pathIn(folder, name), func() error {
		parent, err := d.folder(folder)
		if err != nil {
			return err
		}
		n = d.newInode(mode)
		c := d.rename(entry{folder: parent, name: name, after: n})
		if n.isFolder() {
			n.made = c
		}
		return nil
	})
	return n, err
}

// remove takes a name away, of a folder if folders says so, else of a file.
func (d *Disk) remove(folder uint64, name string, folders bool) error {
	return d.do(Remove, d.pathIn(folder, name), func() error {
		parent, n, err := d.child(folder, name)
		switch {
		case err != nil:
			return err
		case n.isFolder() && !folders:
			return syscall.EISDIR
		case !n.isFolder() && folders:
			return syscall.ENOTDIR
		case len(n.entries) > 0:
			return syscall.ENOTEMPTY
		}
		d.rename(entry{folder: parent, name: name})
		return nil
	})
}

// move renames. What has the new name is replaced, unless it must not be there.
func (d *Disk) move(from uint64, old string, to uint64, name string, replace bool) error {
	return d.do(Rename, d.pathIn(to, name), func() error {
		source, n, err := d.child(from, old)
		if err != nil {
			return err
		}
		target, err := d.folder(to)
		if err != nil {
			return err
		}
		switch there := target.entries[name]; {
		case there == nil:
		case there == n:
			return nil
		case !replace:
			return syscall.EEXIST
		case there.isFolder() != n.isFolder():
			return syscall.EEXIST
		case len(there.entries) > 0:
			return syscall.ENOTEMPTY
		}
		d.rename(entry{folder: source, name: old}, entry{folder: target, name: name, after: n})
		n.parent, n.name = target, name
		return nil
	})
}

// link gives a file one more name.
func (d *Disk) link(number, folder uint64, name string) (n *inode, err error) {
	err = d.do(Link, d.pathIn(folder, name), func() error {
		parent, there, err := d.child(folder, name)
		if there != nil {
			return syscall.EEXIST
		}
		if parent == nil {
			return err
		}
		if n = d.inodes[number]; n == nil || n.isFolder() {
			return syscall.EPERM
		}
		d.rename(entry{folder: parent, name: name, after: n})
		return nil
	})
	return n, err
}

// list returns the names in a folder, in order, and what has them.
func (d *Disk) list(number uint64) (names []string, nodes []*inode, err error) {
	err = d.look(func() error {
		n, err := d.folder(number)
		if err != nil {
			return err
		}
		names = slices.Sorted(maps.Keys(n.entries))
		for _, name := range names {
			nodes = append(nodes, n.entries[name])
		}
		return nil
	})
	return names, nodes, err
}

// syncFolder keeps the names in a folder.
func (d *Disk) syncFolder(number uint64) error {
	return d.do(SyncFolder, d.pathOf(number), func() error {
		n, err := d.folder(number)
		if err != nil {
			return err
		}
		if d.mode == Ordered {
			d.keepUpTo(func(e *entry) bool { return e.folder == n || e.before == n || e.after == n })
		} else {
			d.keepIn(n)
		}
		return nil
	})
}

// keepUpTo keeps all changes up to the last one that concerns somebody.
func (d *Disk) keepUpTo(concerns func(*entry) bool) {
	for i := len(d.names) - 1; i >= 0; i-- {
		for j := range d.names[i].entries {
			if concerns(&d.names[i].entries[j]) {
				for _, c := range d.names[:i+1] {
					c.kept = true
				}
				d.settle()
				return
			}
		}
	}
}

// keepIn keeps the changes of names in a folder, and those before them of the
// same names, wherever these are.
func (d *Disk) keepIn(folder *inode) {
	needed := map[place]bool{}
	for _, c := range slices.Backward(d.names) {
		for i := range c.entries {
			c.kept = c.kept || c.entries[i].folder == folder || needed[c.entries[i].place()]
		}
		if c.kept {
			for i := range c.entries {
				needed[c.entries[i].place()] = true
			}
		}
	}
	d.settle()
}

// settle forgets how to undo what is kept for sure: the change itself, and the
// folders that it is in.
func (d *Disk) settle() {
	var open []*change
	for _, c := range d.names {
		sure := c.kept
		for i := range c.entries {
			sure = sure && c.entries[i].folder.made == nil
		}
		if !sure {
			open = append(open, c)
			continue
		}
		for i := range c.entries {
			if n := c.entries[i].after; n != nil && n.made == c {
				n.made = nil
			}
		}
	}
	d.names = open
}
