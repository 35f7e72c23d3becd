package powerloss

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// real works on a mounted disk, as any program does.
type real struct{ dir string }

func (h real) at(name string) string { return filepath.Join(h.dir, name) }

func (h real) mkdir(name string) error { return os.Mkdir(h.at(name), 0o700) }

func (h real) write(name, text string, offset int64) error {
	f, err := os.OpenFile(h.at(name), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), offset)
	return errors.Join(err, f.Close())
}

func (h real) truncate(name string, size int64) error { return os.Truncate(h.at(name), size) }

func (h real) sync(name string) error {
	f, err := os.Open(h.at(name))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (h real) rename(old, name string) error { return os.Rename(h.at(old), h.at(name)) }
func (h real) link(old, name string) error   { return os.Link(h.at(old), h.at(name)) }
func (h real) remove(name string) error      { return os.Remove(h.at(name)) }

func mounted(t *testing.T, d *Disk) (*Mount, string) {
	t.Helper()
	dir := t.TempDir()
	m, err := d.Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m, dir
}

func unmount(t *testing.T, m *Mount) {
	t.Helper()
	if err := m.Unmount(); err != nil {
		t.Fatal(err)
	}
}

// A helper is another process that performs scripts: the one that serves a disk
// must not use it.
type helper struct {
	in  io.Writer
	out *bufio.Scanner
}

func newHelper(t *testing.T) *helper {
	t.Helper()
	child := exec.Command("/proc/self/exe", "-test.run=^$")
	child.Env = append(os.Environ(), "POWERLOSS_HAND=yes")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	h := &helper{in, run(t, child)}
	t.Cleanup(func() {
		in.Close()
		if err := child.Wait(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *helper) perform(dir, script string) error {
	if _, err := fmt.Fprintf(h.in, "%s\t%s\n", dir, script); err != nil {
		return err
	}
	if !h.out.Scan() {
		return errors.New("the helper has ended")
	}
	if said := h.out.Text(); said != "ok" {
		return errors.New(said)
	}
	return nil
}

// beHelper is the helper's program.
func beHelper() error {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		dir, script, _ := strings.Cut(in.Text(), "\t")
		if err := perform(real{dir}, script); err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println("ok")
	}
	return nil
}

// TestMountedSequences performs the sequences by system calls.
func TestMountedSequences(t *testing.T) {
	if !Alone(t) {
		return
	}
	dir, h := t.TempDir(), newHelper(t)
	for _, s := range sequences {
		for mode, want := range map[Mode]string{Ordered: s.ordered, Strict: s.strict} {
			seen := map[string]bool{}
			for seed := range uint64(8) {
				d := New(Options{Mode: mode, Seed: seed})
				m, err := d.Mount(dir)
				if err != nil {
					t.Fatal(err)
				}
				if err := h.perform(dir, s.script); err != nil {
					t.Fatalf("%s: %v", s.name, err)
				}
				d.Stop()
				unmount(t, m)
				d.Cut()
				seen[d.dump()] = true
			}
			for _, got := range slices.Sorted(maps.Keys(seen)) {
				if !slices.Contains(wanted(want), got) {
					t.Errorf("%s, %s: left is %q, want one of %q", s.name, mode, got, wanted(want))
				}
			}
			if len(seen) == 1 && len(wanted(want)) > 2 {
				t.Errorf("%s, %s: all seeds left the same, %v", s.name, mode, seen)
			}
		}
	}
}

// TestMountedAgain reads by system calls what cuts have left.
func TestMountedAgain(t *testing.T) {
	if !Alone(t) {
		return
	}
	d, h := New(Options{Mode: Strict}), newHelper(t)
	m, dir := mounted(t, d)
	script := "mkdir d; write d/a new; sync d/a; sync d; sync /; ln d/a d/b; sync d; add long tail 1048576; sync long; sync /; cut long x; write gone x"
	for i := range 3000 {
		script += fmt.Sprintf("; add d/%04d x 0", i)
	}
	if err := h.perform(dir, script+"; sync d"); err != nil {
		t.Fatal(err)
	}
	d.Stop()
	unmount(t, m)
	for range 8 { // a cut changes nothing of what is kept
		d.Cut()
	}
	m, err := d.Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unmount(t, m)
	if names := strings.Fields(output(t, "ls", filepath.Join(dir, "d"))); len(names) != 3002 || names[3001] != "b" {
		t.Errorf("the folder has %d entries", len(names))
	}
	if text := output(t, "cat", filepath.Join(dir, "d", "b")); text != "new" {
		t.Errorf("the second name holds %q", text)
	}
	if text := output(t, "cat", filepath.Join(dir, "long")); len(text) != 1 && (len(text) != 1<<20+4 || text[1<<20:] != "tail") {
		t.Errorf("the long file has %d bytes", len(text))
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	b, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDeviceStaysHere looks at what a program has open that the process starts
// which serves a disk: with the device among it, neither could be killed while the
// other waits.
func TestDeviceStaysHere(t *testing.T) {
	if !Alone(t) {
		return
	}
	m, _ := mounted(t, New(Options{}))
	defer unmount(t, m)
	if open := output(t, "ls", "-l", "/proc/self/fd/"); strings.Contains(open, device) {
		t.Errorf("a program that was started has open:\n%s", open)
	}
}

// TestMapped maps a file for writing, as Badger does, in another process: what
// msync has synced is kept, and what it has not may be lost.
func TestMapped(t *testing.T) {
	if !Alone(t) {
		return
	}
	lost := 0
	for seed := range uint64(8) {
		d := New(Options{Mode: Strict, Seed: seed})
		m, dir := mounted(t, d)
		child := exec.Command("/proc/self/exe", "-test.run=^TestMapped$")
		child.Env = append(os.Environ(), "POWERLOSS_MAP="+dir)
		says := run(t, child)
		if !says.Scan() || says.Text() != "synced" {
			t.Fatalf("child says %q", says.Text())
		}
		d.Stop()
		child.Process.Kill()
		d.Release()
		child.Wait()
		unmount(t, m)
		d.Cut()
		text := d.text("a")
		if text[:6] != "synced" {
			t.Fatalf("seed %d: what was synced is %q", seed, text[:6])
		}
		if text[pageSize:pageSize+5] != "later" {
			lost++
		}
	}
	if lost == 0 {
		t.Error("what was not synced was never lost")
	}
}

func run(t *testing.T, child *exec.Cmd) *bufio.Scanner {
	t.Helper()
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	return bufio.NewScanner(out)
}

// TestMain is the child's program, too. It must not be the process that serves
// the disk: a page fault there would wait for itself.
func TestMain(m *testing.M) {
	if dir := os.Getenv("POWERLOSS_MAP"); dir != "" {
		fmt.Println(mapAndWrite(dir))
		select {}
	}
	if name := os.Getenv("POWERLOSS_ENGINE"); name != "" {
		end(beEngine(name))
	}
	if os.Getenv("POWERLOSS_HAND") != "" {
		end(beHelper())
	}
	os.Exit(m.Run())
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func mapAndWrite(dir string) any {
	f, err := os.OpenFile(filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(16*pageSize), folder.Sync()); err != nil {
		return err
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, 16*pageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(b, "synced")
	if _, _, errno := syscall.Syscall(syscall.SYS_MSYNC, addressOf(b), uintptr(len(b)), syscall.MS_SYNC); errno != 0 {
		return errno
	}
	copy(b[pageSize:], "later")
	return "synced"
}

// TestSyncedWrites writes to files that were opened with O_SYNC and O_DSYNC, and
// syncs data only.
func TestSyncedWrites(t *testing.T) {
	if !Alone(t) {
		return
	}
	for seed := range uint64(10) {
		d := New(Options{Mode: Ordered, Seed: seed})
		m, dir := mounted(t, d)
		for _, flag := range []string{"oflag=sync", "oflag=dsync", "conv=fdatasync"} {
			dd := exec.Command("dd", "of="+filepath.Join(dir, flag), flag, "status=none")
			dd.Stdin = strings.NewReader("text")
			if out, err := dd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		d.Stop()
		unmount(t, m)
		d.Cut()
		for _, flag := range []string{"oflag=sync", "oflag=dsync", "conv=fdatasync"} {
			if _, _, n := (direct{d}).find(flag); n == nil || d.text(flag) != "text" {
				t.Fatalf("seed %d: what was written with %s is lost", seed, flag)
			}
		}
	}
}

// TestKilledProcess kills a process without a cut: the kernel hands over what the
// process had written into a mapping and not synced.
func TestKilledProcess(t *testing.T) {
	if !Alone(t) {
		return
	}
	d := New(Options{Mode: Strict})
	m, dir := mounted(t, d)
	child := exec.Command("/proc/self/exe", "-test.run=^TestMapped$")
	child.Env = append(os.Environ(), "POWERLOSS_MAP="+dir)
	if says := run(t, child); !says.Scan() || says.Text() != "synced" {
		t.Fatalf("child says %q", says.Text())
	}
	child.Process.Kill()
	child.Wait()
	unmount(t, m)
	if text := d.text("a"); text[pageSize:pageSize+5] != "later" {
		t.Errorf("left is %q", text[pageSize:pageSize+5])
	}
}
