package powerloss

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// A Report says what a cut found unsynced and what became of it.
type Report struct {
	NamesLost, NamesKept int // changes of names
	Files                []Fate
}

// A Fate is what became of a file with unsynced writes.
type Fate struct {
	Path  string // where it is after the cut
	Steps int    // writes and truncations since its last sync
	How   string // "kept", "lost", "first N of M", "blocks of N"
}

func (f Fate) String() string { return fmt.Sprintf("%s: %d unsynced, %s", f.Path, f.Steps, f.How) }

// Cut forgets, gives the power back, and tells what it forgot. The disk must not
// be mounted: the kernel would remember.
func (d *Disk) Cut() Report {
	d.Release()
	d.mu.Lock()
	defer d.mu.Unlock()
	var r Report
	d.cutNames(&r)
	d.sweep()
	for _, n := range d.files() {
		if steps := len(n.data.undo); steps > 0 {
			r.Files = append(r.Files, Fate{n.path(), steps, n.data.cut(d.random)})
		}
		n.data.reveal()
	}
	d.resume()
	return r
}

// files are all files in the order of their numbers, so that a seed always means
// the same.
func (d *Disk) files() (all []*inode) {
	for _, number := range slices.Sorted(maps.Keys(d.inodes)) {
		if n := d.inodes[number]; !n.isFolder() {
			all = append(all, n)
		}
	}
	return all
}

// cutNames undoes changes of names, the newest first.
func (d *Disk) cutNames(r *Report) {
	lost := d.lostNames()
	r.NamesLost, r.NamesKept = len(lost), len(d.names)-len(lost)
	for _, c := range slices.Backward(lost) {
		for i := range slices.Backward(c.entries) {
			e := &c.entries[i]
			e.set(e.before)
		}
	}
	d.names = nil
}

// lostNames decides which changes are lost, in their order.
func (d *Disk) lostNames() (lost []*change) {
	unlucky := d.chance()
	gone, names := map[*change]bool{}, map[place]bool{}
	for i, c := range d.names {
		is := !c.kept && unlucky(i)
		for j := range c.entries {
			e := &c.entries[j]
			is = is || names[e.place()] || gone[e.folder.made]
		}
		if !is {
			continue
		}
		gone[c] = true
		for j := range c.entries {
			names[c.entries[j].place()] = true
		}
		lost = append(lost, c)
	}
	return lost
}

// chance says how a cut treats changes that are not kept: it loses all, none,
// those from one on, or, without an order, any.
func (d *Disk) chance() (unlucky func(i int) bool) {
	from := d.random.IntN(len(d.names) + 1)
	ways := 3
	if d.mode == Strict {
		ways = 4
	}
	switch d.random.IntN(ways) {
	case 0:
		return func(int) bool { return true }
	case 1:
		return func(int) bool { return false }
	case 2:
		return func(i int) bool { return i >= from }
	}
	return func(int) bool { return d.random.IntN(2) == 0 }
}

// sweep forgets what has no name any more.
func (d *Disk) sweep() {
	d.inodes = map[uint64]*inode{}
	d.root.links = 0
	d.reach(d.root)
}

func (d *Disk) reach(n *inode) {
	if d.inodes[n.number] == nil {
		d.inodes[n.number], n.links, n.made = n, 0, nil
	}
	n.links++
	for name, child := range n.entries {
		d.reach(child)
		child.parent, child.name = n, name
	}
}

// cut decides what is left of the unsynced writes.
func (c *content) cut(random *rand.Rand) (how string) {
	switch steps := len(c.undo); random.IntN(5) {
	case 0:
		c.synced()
		return "kept"
	case 1:
		c.back(0)
		return "lost"
	case 2:
		n := random.IntN(steps + 1)
		c.unstale(n)
		c.back(n)
		return fmt.Sprintf("first %d of %d", n, steps)
	case 3:
		c.mix(512, random)
		return "blocks of 512"
	default:
		c.mix(pageSize, random)
		return fmt.Sprint("blocks of ", pageSize)
	}
}

// mix writes some of the blocks that were changed and not others. The length is
// the old or the new one.
func (c *content) mix(block int, random *rand.Rand) {
	size := c.size
	written := map[int64]*page{}
	for i := range c.undo {
		for _, f := range c.undo[i].pages {
			written[f.number] = c.pages[f.number]
		}
	}
	c.back(0)
	c.reveal()
	for _, number := range slices.Sorted(maps.Keys(written)) {
		from, p := written[number], c.page(number)
		if from == nil {
			from = &zeros
		}
		for at := 0; at < pageSize; at += block {
			if random.IntN(2) == 0 {
				copy(p[at:at+block], from[at:])
			}
		}
		c.set(number, p)
	}
	if random.IntN(2) == 0 {
		c.size = size
	}
	c.cutOff(new(step), c.size)
}
