//go:build !linux

package peer

import (
	"net"
	"syscall"
	"time"
)

func portLate(_, _ string, _ syscall.RawConn) error { return nil }

func giveUpAfter(*net.TCPConn, time.Duration) error { return nil }
