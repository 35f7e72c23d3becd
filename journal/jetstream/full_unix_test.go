//go:build unix

package jetstream

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// appendUntilFull makes every file end at 1 MiB, as if the disk were full there,
// and appends until that shows. Then it says what it was told.
func appendUntilFull(dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	j, err := Open(context.Background(), dir, Options{})
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	limit := unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		fmt.Println("limit:", err)
		return
	}
	n := 0
	for ; n < 100; n++ {
		if err = j.Append(context.Background(), named("%d %s", n, strings.Repeat("x", 200)), large()); err != nil {
			break
		}
	}
	again := j.Append(context.Background(), named("again"))
	r, rerr := j.Read(context.Background(), 1)
	read := 0
	for rerr == nil {
		var p *journal.Page
		if p, rerr = r.Next(context.Background()); p != nil {
			read += len(p.Records)
		}
	}
	fmt.Println(n, errors.Is(err, journal.ErrUnknown), errors.Is(again, journal.ErrUnavailable), read == 2*n, rerr)
	j.Close()
}

func large() *event.Event {
	facts := make([]event.Fact, 30)
	for i := range facts {
		facts[i] = event.Fact{Name: "n", Value: strings.Repeat("v", event.MaxText)}
	}
	return &event.Event{Payload: &event.DeviceDiscovered{Device: 1, Facts: facts}}
}

// A disk that takes no more: the append under way is unknown, the next is
// refused at once, reading goes on, and opening again finds what was
// acknowledged.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	var acknowledged uint64
	var unknown, unavailable, read bool
	var end string
	line := says(t, "full", dir)
	if _, err := fmt.Sscan(line, &acknowledged, &unknown, &unavailable, &read, &end); err != nil {
		t.Fatalf("the child says %q: %v", line, err)
	}
	if acknowledged == 0 || acknowledged == 100 {
		t.Fatalf("%d appends went well: the limit was not met", acknowledged)
	}
	if !unknown || !unavailable || !read || end != "EOF" {
		t.Errorf("ErrUnknown %t, then ErrUnavailable %t, all acknowledged read %t, ended by %s", unknown, unavailable, read, end)
	}
	j, err := Open(context.Background(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if h := j.Head(); h.Event < 2*acknowledged || h.Event > 2*acknowledged+2 {
		t.Errorf("%d events are there, %d were acknowledged", h.Event, 2*acknowledged)
	}
	if err := j.Append(context.Background(), named("goes on")); err != nil {
		t.Error(err)
	}
}
