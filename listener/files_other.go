//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package listener

import "net"

func mayOpen() int                { return 0 }
func descriptorOf(net.Conn) int   { return 0 }
func hasUnread(*net.TCPConn) bool { return false }
func isShortage(error) bool       { return false }
