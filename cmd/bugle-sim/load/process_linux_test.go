package load

import "testing"

func TestMemoryOf(t *testing.T) {
	rss, peak, err := memoryOf([]byte("Name:\tbugle\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"))
	if rss != 1<<20 || peak != 2<<20 || err != nil {
		t.Errorf("%d, %d, %v", rss, peak, err)
	}
	for _, bad := range []string{"", "VmRSS:\t1 kB\n", "VmRSS:\tx kB\nVmHWM:\t1 kB\n", "State:\tZ (zombie)\n"} {
		if _, _, err := memoryOf([]byte(bad)); err == nil {
			t.Errorf("%q has memory", bad)
		}
	}
}
