package action

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Bounds of one task, and how a packet is sent.
const (
	maxSubnets = 256
	maxMACs    = 1000 // in all
	wakePort   = 9    // discard
	wakeTimes  = 3    // packets get lost
)

// waker wakes machines that sleep in the subnets that this one is in.
type waker struct {
	own  func() []iface
	send func(to netip.AddrPort, packet []byte) error
}

func newWaker() *waker { return &waker{own: interfaces, send: sendPacket} }

// A sleeping subnet is what is to be woken in it.
type sleeping struct {
	Subnet string   `json:"subnet"`
	MACs   []string `json:"macs"`
}

func (w *waker) run(ctx context.Context, req Request) Outcome {
	var p struct {
		Subnets []sleeping `json:"subnets"`
	}
	if err := decodeParams(req.Params, &p); err != nil {
		return refused(err)
	}
	if len(p.Subnets) == 0 || len(p.Subnets) > maxSubnets {
		return refused(fmt.Errorf("parameters: subnets: %d are named, 1 to %d are taken", len(p.Subnets), maxSubnets))
	}
	byNet, n, err := parseSleeping(p.Subnets)
	if err != nil {
		return refused(fmt.Errorf("parameters: subnets: %w", err))
	}
	return w.wake(ctx, byNet, n)
}

func parseSleeping(subnets []sleeping) (byNet map[netip.Prefix][][]byte, n int, err error) {
	byNet = make(map[netip.Prefix][][]byte)
	for _, s := range subnets {
		prefix, err := netip.ParsePrefix(s.Subnet)
		if err != nil || !prefix.Addr().Is4() || prefix != prefix.Masked() {
			return nil, 0, fmt.Errorf("%q is not an IPv4 subnet", cut(s.Subnet, 80))
		}
		for _, text := range s.MACs {
			mac, err := net.ParseMAC(text)
			if err != nil || len(mac) != 6 {
				return nil, 0, fmt.Errorf("%q is not a MAC address", cut(text, 80))
			}
			byNet[prefix] = append(byNet[prefix], mac)
			n++
		}
	}
	if n == 0 || n > maxMACs {
		return nil, 0, fmt.Errorf("%d MAC addresses, 1 to %d are taken", n, maxMACs)
	}
	return byNet, n, nil
}

// wake sends to those subnets that this machine is in. It is asked by the site for
// all of them at once, of which other machines do the others.
func (w *waker) wake(ctx context.Context, byNet map[netip.Prefix][][]byte, n int) Outcome {
	sent, seen := 0, make(map[netip.Prefix]bool)
	var problems []error
	for _, i := range w.own() {
		for _, own := range i.nets {
			prefix, to, ok := broadcastOf(own)
			if !ok || seen[prefix] {
				continue
			}
			seen[prefix] = true
			for _, mac := range byNet[prefix] {
				if ctx.Err() != nil {
					return failed(ctx.Err())
				}
				if err := w.one(to, mac); err != nil {
					problems = append(problems, err)
					continue
				}
				sent++
			}
		}
	}
	switch {
	case sent == 0 && len(problems) == 0:
		return notHere("this machine is in none of these subnets now")
	case sent == 0:
		return failed(fmt.Errorf("send magic packets: %w", problems[0]))
	}
	return Outcome{State: task.Succeeded, Detail: fmt.Sprintf("magic packets are sent for %d of %d machines", sent, n)}
}

func (w *waker) one(to netip.AddrPort, mac []byte) error {
	packet := magicPacket(mac)
	for range wakeTimes {
		if err := w.send(to, packet); err != nil {
			return err
		}
	}
	return nil
}

// magicPacket is six times 255, then sixteen times the MAC address.
func magicPacket(mac []byte) []byte {
	return append(bytes.Repeat([]byte{0xff}, 6), bytes.Repeat(mac, 16)...)
}

// broadcastOf returns the subnet that an address of this machine is in, and where
// packets go that are for all in it.
func broadcastOf(own *net.IPNet) (prefix netip.Prefix, to netip.AddrPort, ok bool) {
	ip4 := own.IP.To4()
	ones, bits := own.Mask.Size()
	if ip4 == nil || bits != 32 || ones > 30 {
		return prefix, to, false
	}
	address := netip.AddrFrom4([4]byte(ip4))
	if prefix, ok = netip.PrefixFrom(address, ones).Masked(), true; !prefix.IsValid() {
		return prefix, to, false
	}
	last := [4]byte(ip4)
	for i := range last {
		last[i] |= ^own.Mask[i]
	}
	return prefix, netip.AddrPortFrom(netip.AddrFrom4(last), wakePort), true
}

func sendPacket(to netip.AddrPort, packet []byte) error {
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return err
	}
	_, err = conn.Write(packet)
	return errors.Join(err, conn.Close())
}
