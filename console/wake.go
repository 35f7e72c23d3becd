package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// kindWake is the one kind whose targets are not the devices that are named: these
// sleep, and cannot be told anything. Their neighbours are told to wake them. What is
// counted, delivered and answered is therefore the neighbours' part; whether a device
// woke up is seen by its presence.
const kindWake = "wake"

// Bounds of one wake.
const (
	wakers      = 3      // neighbours that are asked for each subnet
	maxWake     = 1000   // devices that are woken
	maxWakeLook = 20_000 // devices that are online and looked at for neighbours
)

// wake makes an order of the neighbours of the devices that are named.
func (c *Console) wake(ctx context.Context, o *order, r *PushRequest) error {
	if len(r.Params) > 0 {
		return badRequest(titleParams, "params: wake takes none; the site makes them of the devices that are named.")
	}
	subjects, err := c.subjects(ctx, o, r)
	if err != nil {
		return err
	}
	of := ""
	if o.collection != "" {
		of = " of " + o.target
	}
	targets, params, reached, err := wakePlan(c.now(), subjects)
	if err != nil {
		return err
	}
	o.params, o.target = params, fmt.Sprintf("neighbours of %d of %d devices", reached, subjects.GetCardinality())+of
	o.resolve = func() error { o.targets = targets; return nil }
	return nil
}

// subjects are the devices that are to wake up.
func (c *Console) subjects(ctx context.Context, o *order, r *PushRequest) (*roaring.Bitmap, error) {
	if r.Collection == "" {
		return c.resolve(ctx, r)
	}
	if err := c.resolveCollection(ctx, r, o); err != nil {
		return nil, err
	}
	return o.targets, nil
}

// A subnet is what is to be woken in it.
type subnet struct {
	Subnet string   `json:"subnet"`
	MACs   []string `json:"macs"`
}

// wakePlan finds out which devices can wake the subjects, by the facts that all of them
// reported: the neighbours, the parameters of their task, and how many of the
// subjects they reach or are awake already.
func wakePlan(v *reading, subjects *roaring.Bitmap) (neighbours *roaring.Bitmap, params []byte, reached uint64, err error) {
	if n := subjects.GetCardinality(); n > maxWake {
		return nil, nil, 0, badRequest(titlePush, "devices: %d are named, at most %d are woken at once.", n, maxWake)
	}
	online, err := v.online()
	if err != nil {
		return nil, nil, 0, err
	}
	asleep := roaring.AndNot(subjects, online)
	if asleep.IsEmpty() {
		return nil, nil, 0, badRequest(titlePush, "Every device that is named is online, so none has to be woken.")
	}
	cards := make(map[uint32][]card, asleep.GetCardinality())
	wanted := make(map[netip.Prefix]int) // and how many neighbours are found
	for n := range roaring.Values(asleep) {
		if cards[n], err = v.cards(n); err != nil {
			return nil, nil, 0, err
		}
		for _, k := range cards[n] {
			wanted[k.subnet] = 0
		}
	}
	if neighbours, err = v.neighbours(online, wanted); err != nil {
		return nil, nil, 0, err
	}
	subnets, woken := inSubnets(cards, wanted)
	if woken == 0 {
		return nil, nil, 0, badRequest(titlePush, "No device that is online is known to be in an IPv4 subnet of a device that is named; discovery.collect brings what is known of their networks.")
	}
	if params, err = json.Marshal(map[string]any{"subnets": subnets}); err != nil {
		return nil, nil, 0, fmt.Errorf("encode parameters: %w", err)
	}
	if len(params) > task.MaxParams {
		return nil, nil, 0, badRequest(titlePush, "devices: too many to be woken by one task; push in parts.")
	}
	return neighbours, params, woken + subjects.GetCardinality() - asleep.GetCardinality(), nil
}

// A card is a network card in a subnet.
type card struct {
	mac    string
	subnet netip.Prefix
}

// cards returns a device's, as it reported them last.
func (v *reading) cards(number uint32) ([]card, error) {
	d, ok, err := v.devices.Get(number)
	if err != nil || !ok {
		return nil, err
	}
	return cardsOf(d.Facts), nil
}

// unreal begin the names of interfaces that lead to no network: those of containers,
// virtual machines and tunnels have the same addresses on many machines.
var unreal = []string{"docker", "br-", "veth", "virbr", "vnet", "cni", "flannel", "cali", "tun", "tap", "wg", "podman", "lxc"}

// cardsOf reads the facts net.N.name, net.N.mac and net.N.addresses.
func cardsOf(facts []event.Fact) (cards []card) {
	known := make(map[string]string)
	for _, f := range facts {
		if strings.HasPrefix(f.Name, "net.") {
			known[f.Name] = f.Value
		}
	}
	for n := range maxCards {
		name := fmt.Sprintf("net.%d.", n)
		mac, err := net.ParseMAC(known[name+"mac"])
		virtual := slices.ContainsFunc(unreal, func(p string) bool { return strings.HasPrefix(known[name+"name"], p) })
		if err != nil || len(mac) != 6 || virtual {
			continue
		}
		for _, text := range strings.Fields(known[name+"addresses"]) {
			p, err := netip.ParsePrefix(text)
			if err == nil && p.Addr().Is4() && !p.Addr().IsLinkLocalUnicast() && p.Bits() >= 8 && p.Bits() <= 30 {
				cards = append(cards, card{mac.String(), p.Masked()})
			}
		}
	}
	return cards
}

// maxCards is how many interfaces of a device are looked at; agents report no more.
const maxCards = 16

// neighbours returns some of those who are online and in the subnets, and counts
// them there.
func (v *reading) neighbours(online *roaring.Bitmap, wanted map[netip.Prefix]int) (*roaring.Bitmap, error) {
	found, looked, missing := roaring.New(), 0, len(wanted)
	for n := range roaring.Values(online) {
		if missing == 0 || looked == maxWakeLook {
			break
		}
		looked++
		cards, err := v.cards(n)
		if err != nil {
			return nil, err
		}
		for _, k := range cards {
			have, is := wanted[k.subnet]
			if !is || have == wakers {
				continue
			}
			found.Add(n)
			if wanted[k.subnet] = have + 1; have+1 == wakers {
				missing--
			}
		}
	}
	return found, nil
}

// inSubnets sorts the cards of those who sleep by subnet, and counts the devices that
// have one in a subnet with a neighbour.
func inSubnets(cards map[uint32][]card, neighbours map[netip.Prefix]int) (list []subnet, woken uint64) {
	macs := make(map[netip.Prefix][]string)
	for _, all := range cards {
		reached := false
		for _, k := range all {
			if neighbours[k.subnet] > 0 {
				macs[k.subnet] = append(macs[k.subnet], k.mac)
				reached = true
			}
		}
		if reached {
			woken++
		}
	}
	for p, m := range macs {
		slices.Sort(m)
		list = append(list, subnet{p.String(), slices.Compact(m)})
	}
	slices.SortFunc(list, func(a, b subnet) int { return strings.Compare(a.Subnet, b.Subnet) })
	return list, woken
}
