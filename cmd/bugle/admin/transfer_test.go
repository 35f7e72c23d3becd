package admin

import (
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle/backup"
)

func TestTransfer(t *testing.T) {
	now := time.Unix(1e9, 0)
	var out strings.Builder
	tr := &transfer{w: &out, now: func() time.Time { return now }}
	step := func(name string, done, total int64) {
		now = now.Add(6 * time.Second)
		tr.show(backup.Progress{Step: name, Done: done, Total: total})
	}
	step("keys", 100, 5_000_000)
	step("pages", 1_000_100, 5_000_000)
	step("pages", 2_000_100, 5_000_000)
	step("pages", 4_000_100, 5_000_000)
	tr.end()
	want := "pages: 2.0 MB of 5.0 MB, 166.7 kB/s, 18s left\npages: 4.0 MB of 5.0 MB, 250.0 kB/s, 4s left\n"
	if out.String() != want {
		t.Errorf("shown\n%swant\n%s", out.String(), want)
	}

	out.Reset()
	tr = &transfer{w: &out, terminal: true, now: tr.now}
	step("pages", 0, 2000)
	step("pages", 1000, 2000)
	step("check", 1000, 2000)
	tr.end()
	if want := "\rpages: 1.0 kB of 2.0 kB, 166 B/s, 6s left\x1b[K\n"; out.String() != want {
		t.Errorf("on a terminal %q, want %q", out.String(), want)
	}
	out.Reset()
	tr = &transfer{w: &out, quiet: true, now: tr.now}
	step("pages", 0, 2000)
	step("pages", 1000, 2000)
	if out.Len() > 0 {
		t.Errorf("in quiet %q", out.String())
	}
}

func TestInBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 2_500_000: "2.5 MB", 1e12: "1.0 TB", 1e18: "1000.0 PB"} {
		if got := inBytes(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
