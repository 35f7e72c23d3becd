package powerloss_test

import (
	"fmt"
	"os"
	"os/exec"

	"github.com/bugle-fleet/bugle/journal/journaltest/powerloss"
)

// Cut the power under a program and look at what is left. It needs root and
// /dev/fuse, so it is not run here.
func Example() {
	disk := powerloss.New(powerloss.Options{Mode: powerloss.Strict, Seed: 1})
	dir, err := os.MkdirTemp("", "disk")
	if err != nil {
		fmt.Println(err)
		return
	}
	mount, err := disk.Mount(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	program := exec.Command("program", "--data", dir)
	trap := &powerloss.Trap{Op: powerloss.Sync, Path: "data/*.blk", Skip: 10}
	disk.Arm(trap)
	if err := program.Start(); err != nil {
		fmt.Println(err)
		return
	}
	<-disk.Stopped() // the eleventh time that it syncs a block file
	program.Process.Kill()
	disk.Release()
	program.Wait()
	if err := mount.Unmount(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(disk.Cut().Files)
}
