package agent

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	gopsutil "github.com/shirou/gopsutil/v4/host"
)

// bootName names the boot that this machine is in: another one after each start.
// Linux has a name for it, elsewhere it is the time of the start.
func bootName() string {
	if runtime.GOOS == "linux" {
		if b, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
			return cut(strings.TrimSpace(string(b)), MaxBoot)
		}
	}
	if t, err := gopsutil.BootTime(); err == nil && t > 0 {
		return bootTime + strconv.FormatUint(t, 10)
	}
	return "unknown"
}

const (
	bootTime     = "at "
	bootSlackSec = 60 // the time of a start is computed, from a clock that people set
)

// sameBoot tells whether two names are of one boot.
func sameBoot(a, b string) bool {
	if !strings.HasPrefix(a, bootTime) || !strings.HasPrefix(b, bootTime) {
		return a == b
	}
	x, xerr := strconv.ParseInt(a[len(bootTime):], 10, 64)
	y, yerr := strconv.ParseInt(b[len(bootTime):], 10, 64)
	return xerr == nil && yerr == nil && x-y <= bootSlackSec && y-x <= bootSlackSec
}
