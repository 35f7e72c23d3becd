package poll

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestDeadAreNoticed(t *testing.T) {
	c, _ := pair(t)
	ms, err := unix.GetsockoptInt(int(c.fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
	must(t, err)
	if ms != int(unheard.Milliseconds()) {
		t.Errorf("the kernel waits %d ms", ms)
	}
}
