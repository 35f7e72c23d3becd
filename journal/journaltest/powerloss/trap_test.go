package powerloss

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
)

// TestTraps fails calls: the ones that are meant, so often as is meant.
func TestTraps(t *testing.T) {
	d := New(Options{})
	h := direct{d}
	trap := &Trap{Op: Write, Path: "d/*.blk", Skip: 1, Fail: syscall.ENOSPC, Times: 2}
	d.Arm(trap)
	if err := perform(h, "mkdir d; write a x; write d/1.blk x; write d/1.txt x"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{syscall.ENOSPC, syscall.ENOSPC, nil} {
		if err := h.write("d/1.blk", "y", 0); !errors.Is(err, want) {
			t.Errorf("write %d: %v, want %v", i, err, want)
		}
	}
	if n := d.Hits(trap); n != 2 {
		t.Errorf("the trap was hit %d times", n)
	}
	d.Arm(&Trap{Op: Any, Fail: syscall.EIO, Times: -1})
	if err := h.mkdir("e"); !errors.Is(err, syscall.EIO) {
		t.Errorf("every call should fail: %v", err)
	}
	d.Disarm()
	if err := h.mkdir("e"); err != nil {
		t.Error(err)
	}
}

// TestTrapCutsThePower has the power go before a call and after one.
func TestTrapCutsThePower(t *testing.T) {
	for after, want := range map[bool]string{false: "a=x", true: "b=x"} {
		synctest.Test(t, func(t *testing.T) {
			d := New(Options{})
			h := direct{d}
			if err := perform(h, "write a x; sync a"); err != nil {
				t.Fatal(err)
			}
			d.Arm(&Trap{Op: Rename, Path: "b", After: after})
			done := make(chan error)
			go func() { done <- h.rename("a", "b") }()
			<-d.Stopped()
			synctest.Wait()
			select {
			case err := <-done:
				t.Fatalf("the call has returned: %v", err)
			default:
			}
			d.Resume()
			if err := <-done; (err == nil) != after || err != nil && !errors.Is(err, syscall.EIO) {
				t.Errorf("the call returned %v", err)
			}
			if got := d.dump(); got != want {
				t.Errorf("left is %q, want %q", got, want)
			}
		})
	}
}

// TestFailedSync: after a sync that failed the next one says that all is well, and
// what the first should have written is lost all the same, unless it was written
// again.
func TestFailedSync(t *testing.T) {
	for again, want := range map[bool]map[string]bool{
		false: {"a=old": true},
		true:  {"a=new": true},
	} {
		for seed := range uint64(50) {
			d := New(Options{Seed: seed})
			h := direct{d}
			if err := perform(h, "write a old; sync a"); err != nil {
				t.Fatal(err)
			}
			d.Arm(&Trap{Op: Sync, Fail: syscall.EIO})
			if err := perform(h, "write a new; sync a"); !errors.Is(err, syscall.EIO) {
				t.Fatalf("sync: %v", err)
			}
			if again {
				if err := perform(h, "write a new"); err != nil {
					t.Fatal(err)
				}
			}
			if err := h.sync("a"); err != nil || d.text("a") != "new" {
				t.Fatalf("the second sync: %v; the file is %q", err, d.text("a"))
			}
			d.Stop()
			d.Cut()
			if got := d.dump(); !want[got] {
				t.Fatalf("seed %d: left is %q, want %v", seed, got, want)
			}
		}
	}
}

// TestObserved is told of what was done, and of nothing else.
func TestObserved(t *testing.T) {
	var seen []Call
	d := New(Options{Observe: func(c Call) { seen = append(seen, c) }})
	h := direct{d}
	if err := perform(h, "mkdir d; write d/a x; sync d/a; mv d/a b; sync d; cut b x; ln b c; rm b"); err != nil {
		t.Fatal(err)
	}
	if err := h.mkdir("d"); err == nil {
		t.Fatal("made twice")
	}
	want := []Call{{Create, "d"}, {Create, "d/a"}, {Write, "d/a"}, {Sync, "d/a"}, {Rename, "b"}, {SyncFolder, "d"}, {Truncate, "b"}, {Link, "c"}, {Remove, "b"}}
	if len(seen) != len(want) {
		t.Fatalf("seen is %v, want %v", seen, want)
	}
	for i := range want {
		if seen[i] != want[i] {
			t.Errorf("call %d is %v, want %v", i, seen[i], want[i])
		}
	}
}
