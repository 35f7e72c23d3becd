package simulator

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A record is an agent's own, the file in its folder, on a disk that can be full,
// and that loses in a power cut what was not synced.
type record struct {
	agent.Record
	p    *process
	path string

	mu      sync.Mutex
	dead    bool
	power   bool
	settled int64 // bytes that a power cut leaves alone
}

func newRecord(p *process) *record {
	return &record{Record: agent.FileRecord(p.m.dir), p: p, path: filepath.Join(p.m.dir, "record")}
}

func (r *record) size() int64 {
	info, err := os.Stat(r.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func (r *record) die(power bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead, r.power = true, power
}

// Load implements [agent.Record].
func (r *record) Load() ([]agent.Entry, error) {
	entries, err := r.Record.Load()
	if err == nil {
		r.settled = r.size()
		r.p.m.w.truth.record(r.p.m.number, true, entries)
	}
	return entries, err
}

// Append implements [agent.Record].
func (r *record) Append(durable bool, entries ...agent.Entry) error {
	if err := r.may(entries); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead {
		return errDead
	}
	if r.p.m.forgets {
		return r.passed(durable, entries)
	}
	if err := r.Record.Append(durable, entries...); err != nil {
		return err
	}
	if durable {
		r.settled = r.size()
	}
	r.p.m.w.truth.record(r.p.m.number, durable, entries)
	return r.passed(durable, entries)
}

// may tells whether the disk takes entries, or whether the process dies with them
// half written.
func (r *record) may(entries []agent.Entry) error {
	r.p.m.mu.Lock()
	full := r.p.m.full
	r.p.m.mu.Unlock()
	if full {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.dead && len(entries) > 1 {
			r.Record.Append(false, entries[0]) // as much as there was room for
			r.p.m.w.truth.record(r.p.m.number, false, entries[:1])
		}
		r.p.m.w.hit("agent's disk full")
		return fmt.Errorf("write record: %w", syscall.ENOSPC)
	}
	if r.p.isDead() || !r.p.pass(recording) {
		return nil
	}
	r.Record.Append(false, entries...)
	r.p.m.w.truth.record(r.p.m.number, false, entries)
	return errDead
}

// passed is behind what was written; the lock is held.
func (r *record) passed(durable bool, entries []agent.Entry) error {
	for i := range entries {
		if durable && entries[i].Act == agent.Reached && entries[i].Result.State == task.Running {
			r.mu.Unlock()
			dead := r.p.pass(recorded)
			r.mu.Lock()
			if dead {
				return errDead
			}
		}
	}
	return nil
}

// Rewrite implements [agent.Record].
func (r *record) Rewrite(entries []agent.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.p.m.mu.Lock()
	full := r.p.m.full
	r.p.m.mu.Unlock()
	switch {
	case r.dead:
		return errDead
	case full:
		return fmt.Errorf("write record: %w", syscall.ENOSPC)
	}
	err := r.Record.Rewrite(entries)
	if err == nil {
		r.settled = r.size()
		r.p.m.w.truth.rewritten(r.p.m.number, entries)
	}
	return err
}

// tornBlock is what a disk writes at once.
const tornBlock = 512

// tear does what a power cut does to the file: of what was not synced any blocks
// are lost, and the end may be. It returns how many bytes it took.
func (r *record) tear() int {
	b, err := os.ReadFile(r.path)
	if err != nil || int64(len(b)) <= r.settled {
		return 0
	}
	w := r.p.m.w
	size := len(b)
	for at := int(r.settled) / tornBlock * tornBlock; at < size; at += tornBlock {
		if w.chance(2) {
			clear(b[max(at, int(r.settled)):min(at+tornBlock, size)])
		}
	}
	b = b[:int(r.settled)+w.below(size-int(r.settled)+1)]
	if err := errors.Join(os.WriteFile(r.path, b, 0o600)); err != nil {
		w.violated(0, "tear record: %v", err)
	}
	return size - int(r.settled)
}
