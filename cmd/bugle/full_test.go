//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFullDisk fills the disk of a site: new work is refused with a plain
// sentence, what was acknowledged is there, and work is taken again once there
// is room. The disk is a small file system in memory.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", dir).CombinedOutput(); err != nil {
		skip(t, fmt.Sprintf("needs the right to mount a file system: %v: %s", err, out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	w := newWorldIn(t, dir)
	w.agent("pc1")
	w.until("the agent is online", func() bool { return w.online() == 1 })
	var before struct{ Operation string }
	w.object(&before, "push", "policy.machine", "--all", "--yes")
	w.until("it succeeded", func() bool { return w.show(before.Operation).States["succeeded"] == 1 })

	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	w.site.await("no new work is taken")
	_, code, stderr := w.try("push", "policy.machine", "--all", "--yes")
	if code != 1 || !strings.Contains(stderr, "the disk of") || !strings.Contains(stderr, "make room") {
		t.Errorf("push with a full disk: exit %d, %s", code, stderr)
	}
	if s := w.show(before.Operation).States; s["succeeded"] != 1 {
		t.Errorf("with a full disk the earlier operation is at %v", s)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	w.site.await("the disk has room again")
	var after struct{ Operation string }
	w.object(&after, "push", "policy.machine", "--all", "--yes")
	w.until("the next one succeeded", func() bool { return w.show(after.Operation).States["succeeded"] == 1 })
	w.site.stop()
}

// fill writes until 16 MiB are left: less than the site keeps free, and so much
// that what it still writes finds room.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for freeMiB(t, filepath.Dir(name)) > 16 {
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
	}
}

func freeMiB(t *testing.T, dir string) uint64 {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return s.Bavail * uint64(s.Bsize) >> 20
}
