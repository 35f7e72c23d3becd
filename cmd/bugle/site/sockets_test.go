package site

import (
	"net"
	"slices"
	"strings"
	"testing"
)

// bound is a socket of which only the address matters.
type bound struct {
	net.Listener
	addr net.TCPAddr
}

func (b bound) Addr() net.Addr { return &b.addr }

func TestReachable(t *testing.T) {
	for _, c := range []struct {
		bound string
		hosts []string
		want  string // with P for the port
	}{
		{"127.0.0.1", nil, "127.0.0.1:P"},
		{"127.0.0.1", []string{"localhost", "127.0.0.1", "localhost"}, "localhost:P 127.0.0.1:P"},
		{"::", []string{"site.test", "localhost"}, "site.test:P localhost:P"},
		{"::", []string{"::1"}, "[::1]:P localhost:P"},
	} {
		want := strings.Fields(strings.ReplaceAll(c.want, "P", "10123"))
		if got := reachable(bound{addr: net.TCPAddr{IP: net.ParseIP(c.bound), Port: 10123}}, &Config{Hosts: c.hosts}); !slices.Equal(got, want) {
			t.Errorf("%s with hosts %q is told as %q, want %q", c.bound, c.hosts, got, want)
		}
	}
}
