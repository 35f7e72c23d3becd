package powerloss

import (
	"syscall"
	"time"
)

// pageSize is the size of what a file is made of, the page of the kernel.
const pageSize = 4096

// A page is never changed once it is in a file: a write makes a new one.
type page [pageSize]byte

var zeros page

// A content is the bytes of a file, and how to get back to those that are synced.
type content struct {
	size  int64
	pages map[int64]*page // by number; one that is not there is zeros
	undo  []step          // since the last sync, in order

	// What is on the disk of pages that a sync has failed to write and that were
	// not written since: the kernel takes them as clean and shows them still.
	stale map[int64]*page
}

// A step is what one write or truncation took away.
type step struct {
	size  int64 // before
	pages []former
}

type former struct {
	number int64
	page   *page
}

// maxSteps is how many writes of a file can be undone one by one. Older ones are
// taken as written by the kernel itself, which it may do at any time.
const maxSteps = 4096

func (c *content) begin() *step {
	if len(c.undo) == maxSteps {
		c.undo = append(c.undo[:0:0], c.undo[maxSteps/2:]...)
	}
	c.undo = append(c.undo, step{size: c.size})
	return &c.undo[len(c.undo)-1]
}

// put replaces a page and notes the former one.
func (c *content) put(s *step, number int64, p *page) {
	s.pages = append(s.pages, former{number, c.pages[number]})
	c.set(number, p)
}

func (c *content) set(number int64, p *page) {
	if p == nil || *p == zeros {
		delete(c.pages, number)
		return
	}
	c.pages[number] = p
}

// page returns a copy of a page.
func (c *content) page(number int64) *page {
	p := new(page)
	if now := c.pages[number]; now != nil {
		*p = *now
	}
	return p
}

func (c *content) write(b []byte, offset int64) {
	s := c.begin()
	for len(b) > 0 {
		number := offset / pageSize
		p := c.page(number)
		n := copy(p[offset%pageSize:], b)
		c.put(s, number, p)
		b, offset = b[n:], offset+int64(n)
	}
	c.size = max(c.size, offset)
}

func (c *content) read(b []byte, offset int64) int {
	b = b[:max(0, min(int64(len(b)), c.size-offset))]
	for done := 0; done < len(b); {
		at := offset + int64(done)
		p := c.pages[at/pageSize]
		if p == nil {
			p = &zeros
		}
		done += copy(b[done:], p[at%pageSize:])
	}
	return len(b)
}

func (c *content) truncate(size int64) {
	s := c.begin()
	if size < c.size {
		c.cutOff(s, size)
	}
	c.size = size
}

// cutOff makes zeros of what is behind size.
func (c *content) cutOff(s *step, size int64) {
	whole := (size + pageSize - 1) / pageSize
	for number := range c.pages {
		if number >= whole {
			c.put(s, number, nil)
		}
	}
	if rest := size % pageSize; rest != 0 && c.pages[size/pageSize] != nil {
		p := c.page(size / pageSize)
		clear(p[rest:])
		c.put(s, size/pageSize, p)
	}
}

// synced is called when all is on the disk that was written since the last sync.
func (c *content) synced() {
	c.unstale(len(c.undo))
	c.undo = nil
}

// unstale says that the first n steps are on the disk.
func (c *content) unstale(n int) {
	for i := range c.undo[:n] {
		for _, f := range c.undo[i].pages {
			delete(c.stale, f.number)
		}
	}
}

// failed is called when a sync has failed: what it should have written is no more
// to be written, is not on the disk, and is read as if it were.
func (c *content) failed() {
	if c.stale == nil {
		c.stale = map[int64]*page{}
	}
	for i := range c.undo {
		for _, f := range c.undo[i].pages {
			if _, is := c.stale[f.number]; !is {
				c.stale[f.number] = f.page
			}
		}
	}
	c.undo = nil
}

// reveal makes the pages what is on the disk.
func (c *content) reveal() {
	for number, p := range c.stale {
		c.set(number, p)
	}
	c.stale = nil
}

// back undoes all but the first n steps.
func (c *content) back(n int) {
	for i := len(c.undo) - 1; i >= n; i-- {
		s := &c.undo[i]
		for j := len(s.pages) - 1; j >= 0; j-- {
			c.set(s.pages[j].number, s.pages[j].page)
		}
		c.size = s.size
	}
	c.undo = nil
}

// file returns the file of that number.
func (d *Disk) file(number uint64) (*inode, error) {
	n := d.inodes[number]
	switch {
	case n == nil:
		return nil, syscall.ENOENT
	case n.isFolder():
		return nil, syscall.EISDIR
	}
	return n, nil
}

func (d *Disk) write(number uint64, b []byte, offset int64) error {
	return d.do(Write, d.pathOf(number), func() error {
		n, err := d.file(number)
		if err != nil {
			return err
		}
		n.data.write(b, offset)
		n.modified = time.Now()
		return nil
	})
}

func (d *Disk) read(number uint64, b []byte, offset int64) (done int, err error) {
	err = d.look(func() error {
		n, err := d.file(number)
		if err == nil {
			done = n.data.read(b, offset)
		}
		return err
	})
	return done, err
}

func (d *Disk) truncate(number uint64, size int64) error {
	return d.do(Truncate, d.pathOf(number), func() error {
		n, err := d.file(number)
		if err == nil && n.data.size != size {
			n.data.truncate(size)
			n.modified = time.Now()
		}
		return err
	})
}

// sync keeps the data of a file, and in ordered mode its name.
func (d *Disk) sync(number uint64) error {
	err := d.do(Sync, d.pathOf(number), func() error {
		n, err := d.file(number)
		if err != nil {
			return err
		}
		n.data.synced()
		if d.mode == Ordered {
			d.keepUpTo(func(e *entry) bool { return e.before == n || e.after == n })
		}
		return nil
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	if n, no := d.file(number); err != nil && no == nil && d.power == on {
		n.data.failed()
	}
	return err
}
