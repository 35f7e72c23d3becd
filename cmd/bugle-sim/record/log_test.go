package record

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// entry is the n-th of a series of entries that all differ.
func entry(n int) agent.Entry {
	states := []task.State{task.Delivered, task.Running, task.Succeeded, task.Failed}
	e := agent.Entry{Act: agent.Reached, Kind: "scan.quick", Until: time.Unix(int64(n), 7).UTC(), Again: n%2 == 1,
		Result: task.Result{Operation: task.ID{byte(n >> 8), byte(n), 15: 9}, Attempt: uint8(1 + n%3), State: states[n%len(states)],
			Code: int32(n) - 2, At: time.Unix(1_800_000_000, int64(n)).UTC(), Detail: fmt.Sprintf("detail %d – ü", n)}}
	if n%5 == 4 {
		e = agent.Entry{Act: agent.Acked, Result: task.Result{Operation: e.Result.Operation, Attempt: 1, State: e.Result.State}}
	}
	return e
}

func open(t *testing.T, path string) *Log {
	t.Helper()
	l, err := Open(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func load(t *testing.T, r agent.Record) []agent.Entry {
	t.Helper()
	entries, err := r.Load()
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func want(t *testing.T, what string, got []agent.Entry, wanted ...agent.Entry) {
	t.Helper()
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// check is must for goroutines.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func TestEachAgentFindsItsOwnEntriesAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	l := open(t, path)
	one, two := l.Agent(1), l.Agent(2)
	want(t, "new record", load(t, one))
	want(t, "new record", load(t, two))
	must(t, one.Append(true, entry(0), entry(1)))
	must(t, two.Append(true, entry(4)))
	must(t, one.Append(false, entry(2)))
	must(t, one.Close())
	must(t, two.Close())
	must(t, l.Close())

	l = open(t, path)
	one, two = l.Agent(1), l.Agent(2)
	want(t, "device 1", load(t, one), entry(0), entry(1), entry(2))
	want(t, "device 2", load(t, two), entry(4))
	want(t, "device 3", load(t, l.Agent(3)))
	must(t, one.Rewrite([]agent.Entry{entry(3)}))
	must(t, two.Rewrite(nil))
	must(t, one.Append(true, entry(5)))
	must(t, l.Close())

	l = open(t, path)
	want(t, "rewritten device 1", load(t, l.Agent(1)), entry(3), entry(5))
	want(t, "emptied device 2", load(t, l.Agent(2)))
}

func TestARecordIsLoadedOnce(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "records"))
	load(t, l.Agent(1))
	if _, err := l.Agent(1).Load(); err == nil {
		t.Error("a second Load finds nothing and does not say so")
	}
}

func TestNothingIsWrittenAfterClose(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "records"))
	one, two := l.Agent(1), l.Agent(2)
	must(t, one.Close())
	if err := one.Append(true, entry(0)); !errors.Is(err, ErrClosed) {
		t.Errorf("append to a closed record: %v, want ErrClosed", err)
	}
	must(t, l.Close())
	if err := two.Append(false, entry(0)); !errors.Is(err, ErrClosed) {
		t.Errorf("append to a closed log: %v, want ErrClosed", err)
	}
	must(t, l.Close())
}

func TestWhatBreaksABoundIsRefusedAndNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	l := open(t, path)
	bad := entry(0)
	bad.Kind = string(make([]byte, task.MaxKind+1))
	if l.Agent(1).Append(true, bad) == nil {
		t.Error("an entry with too long a kind was taken")
	}
	if l.Agent(1).Rewrite(make([]agent.Entry, maxEntries+1)) == nil {
		t.Error("more entries than a record may have were taken")
	}
	must(t, l.Agent(1).Append(true, entry(1)))
	must(t, l.Close())
	want(t, "what is on disk", load(t, open(t, path).Agent(1)), entry(1))
}

// memory is a file in memory; hook is called in Sync.
type memory struct {
	mu     sync.Mutex
	b      []byte
	synced int // bytes that survive a power cut
	syncs  int
	hook   func() error
}

func (m *memory) WriteAt(b []byte, at int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.b = append(m.b[:at], b...)
	return len(b), nil
}

func (m *memory) Sync() error {
	if m.hook != nil {
		if err := m.hook(); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.synced = len(m.b)
	m.syncs++
	return nil
}

func (m *memory) Truncate(int64) error { return nil }
func (m *memory) Close() error         { return nil }

func startMemory(m *memory, gather time.Duration) *Log {
	m.b = []byte(header)
	m.synced = len(m.b)
	return start("memory", gather, m, int64(len(m.b)), map[uint32][]agent.Entry{})
}

func TestOneSyncServesAllThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := make(chan struct{})
		m := &memory{hook: func() error { <-disk; return nil }}
		l := startMemory(m, 0)
		var acked sync.WaitGroup
		acked.Go(func() { check(t, l.Agent(0).Append(true, entry(0))) })
		synctest.Wait() // the first is in Sync
		for i := range uint32(999) {
			acked.Go(func() { check(t, l.Agent(i+1).Append(true, entry(int(i)))) })
		}
		synctest.Wait() // all others wait
		close(disk)
		acked.Wait()
		if m.syncs != 2 || l.Syncs() != 2 {
			t.Errorf("%d fsyncs (counted %d) for 1,000 agents, want 2", m.syncs, l.Syncs())
		}
		must(t, l.Close())
		c, err := decodeFile("memory", m.b)
		must(t, err)
		if len(c.devices) != 1000 {
			t.Errorf("%d devices on disk, want 1000", len(c.devices))
		}
	})
}

func TestAGroupGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(memory)
		l := startMemory(m, 50*time.Millisecond)
		begun := time.Now()
		var acked sync.WaitGroup
		for i := range 5 {
			acked.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond)
				check(t, l.Agent(uint32(i)).Append(true, entry(i)))
				if d := time.Since(begun); d != 50*time.Millisecond {
					t.Errorf("append %d returned after %s, want 50ms after the first", i, d)
				}
			})
		}
		acked.Wait()
		if m.syncs != 1 {
			t.Errorf("%d fsyncs, want 1", m.syncs)
		}
		must(t, l.Agent(9).Append(false, entry(9)))
		must(t, l.Close()) // does not gather
		if d := time.Since(begun); d != 50*time.Millisecond || m.syncs != 2 {
			t.Errorf("closed after %s with %d fsyncs, want 50ms and 2", d, m.syncs)
		}
	})
}

func TestAFullGroupMakesOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := make(chan struct{})
		m := &memory{hook: func() error { <-disk; return nil }}
		l := startMemory(m, 0)
		big := entry(0)
		big.Result.Detail = string(make([]byte, task.MaxDetail))
		done := 0
		var mu sync.Mutex
		var all sync.WaitGroup
		for i := range uint32(3 * groupBytes / task.MaxDetail) {
			all.Go(func() {
				check(t, l.Agent(i).Append(false, big))
				mu.Lock()
				defer mu.Unlock()
				done++
			})
		}
		synctest.Wait()
		held := len(l.group.buf)
		if held > 2*groupBytes || done == 3*groupBytes/task.MaxDetail {
			t.Errorf("%d bytes gather and %d of %d callers went on: nothing holds them back", held, done, 3*groupBytes/task.MaxDetail)
		}
		close(disk)
		all.Wait()
		must(t, l.Close())
		c, err := decodeFile("memory", m.b)
		must(t, err)
		if len(c.devices) != 3*groupBytes/task.MaxDetail {
			t.Errorf("%d devices on disk, want %d", len(c.devices), 3*groupBytes/task.MaxDetail)
		}
	})
}

func TestAFailedSyncFailsAllThatWaitedAndAllThatComes(t *testing.T) {
	full := errors.New("disk is full")
	m := new(memory)
	l := startMemory(m, 0)
	must(t, l.Agent(1).Append(true, entry(1)))
	m.hook = func() error { return full }
	if err := l.Agent(2).Append(true, entry(2)); !errors.Is(err, full) {
		t.Errorf("append: %v, want %v", err, full)
	}
	m.hook = nil
	if err := l.Agent(3).Append(false, entry(3)); !errors.Is(err, full) {
		t.Errorf("append after a failure: %v, want %v", err, full)
	}
	if err := l.Agent(1).Rewrite(nil); !errors.Is(err, full) {
		t.Errorf("rewrite after a failure: %v, want %v", err, full)
	}
	if err := l.Close(); !errors.Is(err, full) {
		t.Errorf("close after a failure: %v, want %v", err, full)
	}
}

func TestOpenWritesAFileAnewThatIsMostlyHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	l := open(t, path)
	for i := range 2000 {
		must(t, l.Agent(7).Append(false, entry(i)))
	}
	must(t, l.Agent(7).Rewrite([]agent.Entry{entry(1)}))
	must(t, l.Agent(8).Append(true, entry(2)))
	must(t, l.Close())
	before := size(t, path)
	l = open(t, path)
	if after := size(t, path); after*100 > before {
		t.Errorf("file of %d bytes has %d after Open", before, after)
	}
	must(t, l.Agent(8).Append(true, entry(3)))
	must(t, l.Close())
	l = open(t, path)
	want(t, "device 7", load(t, l.Agent(7)), entry(1))
	want(t, "device 8", load(t, l.Agent(8)), entry(2), entry(3))
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info.Size()
}
