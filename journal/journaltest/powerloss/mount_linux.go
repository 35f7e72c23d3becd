package powerloss

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A Mount is a disk under a folder.
type Mount struct {
	disk   *Disk
	dir    string
	server *fuse.Server
	served chan struct{}
}

// Mount makes the disk the content of the folder dir, which must be there. It
// needs /dev/fuse and the right to mount; no other program. A process that ends
// without Unmount leaves a dead mount behind, unless it runs [Alone].
func (d *Disk) Mount(dir string) (*Mount, error) {
	// No program is started before the device is marked: one that had it open
	// would keep the disk alive, and wait for it, when this process is dead.
	syscall.ForkLock.RLock()
	server, err := fuse.NewServer(&kernel{RawFileSystem: fuse.NewDefaultRawFileSystem(), disk: d}, dir,
		&fuse.MountOptions{
			FsName: "powerloss", Name: "powerloss", DirectMountStrict: true, DirectMountFlags: syscall.MS_NOSUID | syscall.MS_NODEV,
			MaxWrite: 1 << 20, DisableXAttrs: true, AllowOther: true,
			// Nobody but the kernel changes files, so what it has cached is right.
			ExplicitDataCacheControl: true,
			Logger:                   log.New(io.Discard, "", 0), // of a mount that was ended by force
		})
	markDevices()
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, fmt.Errorf("mount disk on %s: %w", dir, err)
	}
	m := &Mount{disk: d, dir: dir, server: server, served: make(chan struct{})}
	go func() {
		defer close(m.served)
		server.Serve()
	}()
	if err := server.WaitMount(); err != nil {
		return nil, errors.Join(fmt.Errorf("mount disk on %s: %w", dir, err), m.Unmount())
	}
	return m, nil
}

// markDevices keeps programs that this process starts from having FUSE's device
// open, which the library forgets.
func markDevices() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return // then nothing keeps a test from ending but its being killed
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && to == device {
			if fd, err := strconv.Atoi(e.Name()); err == nil {
				syscall.CloseOnExec(fd)
			}
		}
	}
}

// Unmount takes the disk away from the folder. While the power is on, the kernel
// hands over what it has still to write; after Stop that is lost, as it is with
// the power. Programs that use the folder must have ended, or be about to.
func (m *Mount) Unmount() error {
	select {
	case <-m.disk.Stopped():
		m.disk.Release()
	default:
	}
	// Not lazily if possible: then all that is to be written has been.
	err := syscall.Unmount(m.dir, 0)
	for limit := time.Now().Add(unmountTime); errors.Is(err, syscall.EBUSY) && time.Now().Before(limit); {
		time.Sleep(5 * time.Millisecond) // a process that was killed closes its files a little later
		err = syscall.Unmount(m.dir, 0)
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("unmount %s: %w", m.dir, err), syscall.Unmount(m.dir, syscall.MNT_DETACH|syscall.MNT_FORCE))
	}
	<-m.served
	return err
}

// unmountTime is how long Unmount waits for programs to leave.
const unmountTime = 10 * time.Second

// kernel answers the kernel's calls.
type kernel struct {
	fuse.RawFileSystem
	disk    *Disk
	listing listings
}

// forever is how long the kernel may remember names and attributes: nobody
// changes them behind its back.
const forever = 24 * time.Hour

func status(err error) fuse.Status {
	var errno syscall.Errno
	switch {
	case err == nil:
		return fuse.OK
	case errors.As(err, &errno):
		return fuse.Status(errno)
	}
	return fuse.EIO
}

func (n *inode) attributes(a *fuse.Attr) {
	a.Ino, a.Mode, a.Nlink = n.number, uint32(n.mode), uint32(n.links)
	if n.isFolder() {
		a.Mode |= syscall.S_IFDIR
		a.Nlink++
	} else {
		a.Mode |= syscall.S_IFREG
		a.Size = uint64(n.data.size)
		a.Blocks = uint64(len(n.data.pages)) * pageSize / 512
	}
	a.Blksize = pageSize
	a.SetTimes(&n.modified, &n.modified, &n.modified)
}

func (n *inode) entry(out *fuse.EntryOut) {
	out.NodeId, out.Generation = n.number, 1
	out.SetEntryTimeout(forever)
	out.SetAttrTimeout(forever)
	n.attributes(&out.Attr)
}

// tell fills in the answer about an inode that a call has made or found.
func (k *kernel) tell(n *inode, err error, out *fuse.EntryOut) fuse.Status {
	if err != nil {
		return status(err)
	}
	return status(k.disk.look(func() error {
		n.entry(out)
		return nil
	}))
}

func (k *kernel) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return status(k.disk.look(func() error {
		_, n, err := k.disk.child(h.NodeId, name)
		if err == nil {
			n.entry(out)
		}
		return err
	}))
}

func (k *kernel) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return k.attributes(in.NodeId, out)
}

func (k *kernel) attributes(number uint64, out *fuse.AttrOut) fuse.Status {
	return status(k.disk.look(func() error {
		n := k.disk.inodes[number]
		if n == nil {
			return syscall.ENOENT
		}
		out.SetTimeout(forever)
		n.attributes(&out.Attr)
		return nil
	}))
}

func (k *kernel) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if size, ok := in.GetSize(); ok {
		if err := k.disk.truncate(in.NodeId, int64(size)); err != nil {
			return status(err)
		}
	}
	if err := k.disk.look(func() error {
		n := k.disk.inodes[in.NodeId]
		if n == nil {
			return syscall.ENOENT
		}
		if mode, ok := in.GetMode(); ok {
			n.mode = fs.FileMode(mode).Perm()
		}
		if t, ok := in.GetMTime(); ok {
			n.modified = t
		}
		return nil
	}); err != nil {
		return status(err)
	}
	return k.attributes(in.NodeId, out)
}

func (k *kernel) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	n, err := k.disk.create(in.NodeId, name, fs.ModeDir|fs.FileMode(in.Mode).Perm(), true)
	return k.tell(n, err, out)
}

func (k *kernel) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	if in.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return fuse.EPERM
	}
	n, err := k.disk.create(in.NodeId, name, fs.FileMode(in.Mode).Perm(), true)
	return k.tell(n, err, out)
}

func (k *kernel) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return status(k.disk.remove(h.NodeId, name, false))
}

func (k *kernel) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return status(k.disk.remove(h.NodeId, name, true))
}

const renameNoReplace = 1

func (k *kernel) Rename(_ <-chan struct{}, in *fuse.RenameIn, old, name string) fuse.Status {
	if in.Flags&^renameNoReplace != 0 {
		return fuse.EINVAL
	}
	return status(k.disk.move(in.NodeId, old, in.Newdir, name, in.Flags == 0))
}

func (k *kernel) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	n, err := k.disk.link(in.Oldnodeid, in.NodeId, name)
	return k.tell(n, err, out)
}

func (k *kernel) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	n, err := k.disk.create(in.NodeId, name, fs.FileMode(in.Mode).Perm(), in.Flags&syscall.O_EXCL != 0)
	if err == nil && in.Flags&syscall.O_TRUNC != 0 {
		err = k.disk.truncate(n.number, 0)
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return k.tell(n, err, &out.EntryOut)
}

func (k *kernel) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	if in.Flags&syscall.O_TRUNC != 0 {
		return status(k.disk.truncate(in.NodeId, 0))
	}
	return status(k.disk.look(func() error {
		_, err := k.disk.file(in.NodeId)
		return err
	}))
}

func (k *kernel) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n, err := k.disk.read(in.NodeId, buf[:min(len(buf), int(in.Size))], int64(in.Offset))
	return fuse.ReadResultData(buf[:n]), status(err)
}

func (k *kernel) Write(_ <-chan struct{}, in *fuse.WriteIn, b []byte) (uint32, fuse.Status) {
	if err := k.disk.write(in.NodeId, b, int64(in.Offset)); err != nil {
		return 0, status(err)
	}
	return uint32(len(b)), fuse.OK
}

func (k *kernel) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

func (k *kernel) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return status(k.disk.sync(in.NodeId))
}

func (k *kernel) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return status(k.disk.syncFolder(in.NodeId))
}

// diskSize is what statfs says of room, all of it free.
const diskSize = 64 << 30

func (k *kernel) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	const blocks = diskSize / pageSize
	*out = fuse.StatfsOut{Blocks: blocks, Bfree: blocks, Bavail: blocks, Files: 1 << 20, Ffree: 1 << 20,
		Bsize: pageSize, Frsize: pageSize, NameLen: 255}
	return fuse.OK
}
