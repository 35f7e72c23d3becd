package powerloss

import (
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Mode says when names are kept; see the package.
type Mode int

// The modes.
const (
	Ordered Mode = iota
	Strict
)

func (m Mode) String() string {
	if m == Strict {
		return "strict"
	}
	return "ordered"
}

// Options of a disk.
type Options struct {
	Mode Mode
	Seed uint64 // of everything that a cut leaves to chance

	// Observe is told of calls that succeeded, in their order. It is called with
	// the disk locked: it must be quick and must not use the disk.
	Observe func(Call)
}

// An Op is a call that changes or syncs something.
type Op int

// The calls. Create is of files and of folders.
const (
	Create Op = iota
	Write
	Truncate
	Sync       // of a file
	SyncFolder // of a folder
	Rename     // its path is the new one
	Remove     // of files and of folders
	Link       // its path is the new one

	Any Op = -1 // for a [Trap]
)

func (o Op) String() string {
	if o == Any {
		return "any"
	}
	return [...]string{"create", "write", "truncate", "sync", "sync-folder", "rename", "remove", "link"}[o]
}

// A Call is one call that was done.
type Call struct {
	Op   Op
	Path string // below the root, without a leading slash
}

// A Disk is a file system in memory. It is safe for concurrent use.
type Disk struct {
	mode    Mode
	observe func(Call)

	mu      sync.Mutex
	random  *rand.Rand
	root    *inode
	inodes  map[uint64]*inode
	last    uint64    // number of the newest inode
	names   []*change // of names, in order, that are not kept for sure
	power   power
	stopped chan struct{} // closed when the power goes
	release chan struct{} // closed when calls that wait may fail
	traps   []*Trap
}

type power int

const (
	on  power = iota
	off       // calls wait
	out       // calls fail
)

// rootNumber is the number of the root, which FUSE prescribes.
const rootNumber = 1

// New returns an empty disk with its power on.
func New(o Options) *Disk {
	d := &Disk{
		mode: o.Mode, observe: o.Observe, random: rand.New(rand.NewPCG(o.Seed, 0x9e3779b97f4a7c15)),
		inodes: map[uint64]*inode{}, stopped: make(chan struct{}), release: make(chan struct{}),
	}
	d.root = d.newInode(fs.ModeDir | 0o700)
	return d
}

// An inode is a file or a folder.
type inode struct {
	number   uint64
	mode     fs.FileMode // permissions
	modified time.Time
	links    int
	parent   *inode // a folder that has, or had, a name of it
	name     string

	entries map[string]*inode // of a folder
	made    *change           // that made the folder, until it is kept for sure
	data    content           // of a file
}

func (n *inode) isFolder() bool { return n.entries != nil }

func (d *Disk) newInode(mode fs.FileMode) *inode {
	d.last++
	n := &inode{number: d.last, mode: mode.Perm(), modified: time.Now()}
	if mode.IsDir() {
		n.entries = map[string]*inode{}
	} else {
		n.data.pages = map[int64]*page{}
	}
	d.inodes[n.number] = n
	return n
}

// path is where the inode is, or was.
func (n *inode) path() string {
	var parts []string
	for ; n.parent != nil; n = n.parent {
		parts = append(parts, n.name)
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

func (n *inode) pathOf(name string) string {
	if p := n.path(); p != "" {
		return p + "/" + name
	}
	return name
}

// do runs a call: not while the power is off, past the traps, and seen by the
// observer. act runs with the disk locked.
func (d *Disk) do(op Op, path func() string, act func() error) error {
	d.mu.Lock()
	if err := d.powered(); err != nil {
		return err
	}
	at := ""
	if len(d.traps) > 0 || d.observe != nil {
		at = path()
	}
	if err := d.spring(op, at, false); err != nil {
		d.mu.Unlock()
		return err
	}
	if err := d.powered(); err != nil { // a trap may have cut it
		return err
	}
	if err := act(); err != nil {
		d.mu.Unlock()
		return err
	}
	if d.observe != nil {
		d.observe(Call{op, at})
	}
	_ = d.spring(op, at, true) // behind a call only the power can go
	if d.powered() == nil {
		d.mu.Unlock()
	}
	return nil // it was done, whatever became of the power then
}

// look runs a call that changes nothing.
func (d *Disk) look(act func() error) error {
	d.mu.Lock()
	if err := d.powered(); err != nil {
		return err
	}
	defer d.mu.Unlock()
	return act()
}

// powered returns nil with the disk locked as it was, or an error with the disk
// unlocked, once those who wait are released.
func (d *Disk) powered() error {
	switch d.power {
	case on:
		return nil
	case off:
		release := d.release
		d.mu.Unlock()
		<-release
	default:
		d.mu.Unlock()
	}
	return syscall.EIO
}

// Stop takes the power away: from now on calls neither are done nor return.
func (d *Disk) Stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stop()
}

func (d *Disk) stop() {
	if d.power == on {
		d.power = off
		close(d.stopped)
	}
}

// Stopped is closed when the power goes, by Stop or by a trap.
func (d *Disk) Stopped() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopped
}

// Release makes calls that wait, and all later ones, fail with EIO. The program
// must be about to end by then: it has been sent SIGKILL. It cannot end before
// that, for as it ends the kernel closes its files, which are calls.
func (d *Disk) Release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stop()
	if d.power == off {
		d.power = out
		close(d.release)
	}
}

// Resume gives the power back with nothing lost; calls that wait fail. Of a program
// that has been sent SIGKILL by then, the kernel still hands over what it had
// written. Traps that were set are gone.
func (d *Disk) Resume() {
	d.Release()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.resume()
}

func (d *Disk) resume() {
	d.power, d.traps = on, nil
	d.stopped, d.release = make(chan struct{}), make(chan struct{})
}
