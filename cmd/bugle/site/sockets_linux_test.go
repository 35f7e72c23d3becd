package site

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// Agents that are idle are probed once a minute, on both ports.
func TestProbes(t *testing.T) {
	cfg := Default()
	cfg.ListenTCP, cfg.ListenHTTP, cfg.Console = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	s, err := bind(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for name, l := range map[string]net.Listener{"tcp": s.tcp, "https": s.http} {
		if idle := idleOf(t, l); idle != 60 {
			t.Errorf("%s is probed after %d s", name, idle)
		}
	}
}

// idleOf is after how many seconds a connection that l accepts is probed.
func idleOf(t *testing.T, l net.Listener) (seconds int) {
	t.Helper()
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { seconds, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE) })
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	return seconds
}
