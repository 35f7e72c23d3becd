package powerloss

import (
	"path"
	"syscall"
)

// A Trap waits for calls. Its fields must not change once it is set.
type Trap struct {
	Op   Op     // or Any
	Path string // as path.Match has it, below the root; * does not match a slash; "" is any
	Skip int    // so many calls go through first

	// Fail is the error that the call gets instead of being done. 0 cuts the
	// power: before the call, or, with After, once it is done.
	Fail  syscall.Errno
	Times int // how many calls fail, 0 means 1; negative means all from then on
	After bool

	seen, hits int // guarded by the disk
}

// Arm sets a trap. It panics if the pattern is malformed.
func (d *Disk) Arm(t *Trap) {
	if _, err := path.Match(t.Path, ""); err != nil {
		panic("powerloss: pattern " + t.Path + " is malformed")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.traps = append(d.traps, t)
}

// Disarm takes all traps away.
func (d *Disk) Disarm() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.traps = nil
}

// Hits is how many calls a trap has cut or failed.
func (d *Disk) Hits(t *Trap) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return t.hits
}

// spring lets the traps look at a call, before it is done or after. The error is
// for the caller.
func (d *Disk) spring(op Op, at string, after bool) error {
	for _, t := range d.traps {
		if t.Op != op && t.Op != Any || t.After != after {
			continue
		}
		if ok, _ := path.Match(t.Path, at); !ok && t.Path != "" {
			continue
		}
		if t.seen++; t.seen <= t.Skip {
			continue
		}
		if t.Fail == 0 {
			t.hits++
			d.stop()
			return nil
		}
		if t.Times < 0 || t.hits < max(1, t.Times) {
			t.hits++
			return t.Fail
		}
	}
	return nil
}
