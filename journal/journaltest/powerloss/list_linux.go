package powerloss

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// listings are the open folders. Each is a list made when it was opened, or read
// again from its beginning, so that names that come and go meanwhile confuse
// nobody.
type listings struct {
	mu   sync.Mutex
	last uint64
	open map[uint64]*listing
}

type listing struct {
	names []string
	nodes []*inode
}

func (k *kernel) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	k.listing.mu.Lock()
	defer k.listing.mu.Unlock()
	if k.listing.open == nil {
		k.listing.open = map[uint64]*listing{}
	}
	k.listing.last++
	k.listing.open[k.listing.last] = nil
	out.Fh = k.listing.last
	return fuse.OK
}

func (k *kernel) ReleaseDir(in *fuse.ReleaseIn) {
	k.listing.mu.Lock()
	defer k.listing.mu.Unlock()
	delete(k.listing.open, in.Fh)
}

// entries returns the list of an open folder.
func (k *kernel) entries(in *fuse.ReadIn) (*listing, error) {
	k.listing.mu.Lock()
	defer k.listing.mu.Unlock()
	l := k.listing.open[in.Fh]
	if l == nil || in.Offset == 0 {
		names, nodes, err := k.disk.list(in.NodeId)
		if err != nil {
			return nil, err
		}
		l = &listing{names, nodes}
		k.listing.open[in.Fh] = l
	}
	return l, nil
}

func (l *listing) each(from uint64, add func(fuse.DirEntry, *inode) bool) {
	for i := from; i < uint64(len(l.names)); i++ {
		mode := uint32(fuse.S_IFREG)
		if l.nodes[i].isFolder() {
			mode = fuse.S_IFDIR
		}
		if !add(fuse.DirEntry{Name: l.names[i], Mode: mode, Ino: l.nodes[i].number, Off: i + 1}, l.nodes[i]) {
			return
		}
	}
}

func (k *kernel) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	l, err := k.entries(in)
	if err != nil {
		return status(err)
	}
	l.each(in.Offset, func(e fuse.DirEntry, _ *inode) bool { return out.AddDirEntry(e) })
	return fuse.OK
}

func (k *kernel) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	l, err := k.entries(in)
	if err != nil {
		return status(err)
	}
	return status(k.disk.look(func() error {
		l.each(in.Offset, func(e fuse.DirEntry, n *inode) bool {
			answer := out.AddDirLookupEntry(e)
			if answer == nil {
				return false
			}
			if n.links > 0 {
				n.entry(answer)
			}
			return true
		})
		return nil
	}))
}
