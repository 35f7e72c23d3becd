package relay

import (
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener"
)

// Bounds of the policies that are kept.
const (
	maxBodies      = 1024
	maxBodyBytes   = 64 << 20
	maxDevices     = 1 << 16
	maxDeviceBytes = 64 << 20
)

// whose says whose policy it is: a device's, or that of a person there.
type whose struct {
	device uint32
	user   string
}

// policies are those that the site sent: each distinct body once, and for each
// device which one it has.
type policies struct {
	mu          sync.Mutex
	bodies      map[string][]byte // signed, by ETag
	bodyBytes   int
	order       []string // ETags as they came, the newest last
	devices     map[whose]ownPolicy
	deviceBytes int
}

type ownPolicy struct {
	etag      string
	proofs    [][]byte
	keepAlive time.Duration
}

func (o *ownPolicy) size() int {
	n := 128
	for _, p := range o.proofs {
		n += len(p) + 24
	}
	return n
}

func (c *policies) find(who whose) (p listener.Policy, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	own, ok := c.devices[who]
	if !ok {
		return p, false
	}
	return c.whole(own)
}

// whole puts a policy together; false means that its body is not there.
func (c *policies) whole(own ownPolicy) (listener.Policy, bool) {
	signed, ok := c.bodies[own.etag]
	if !ok && own.etag != "" {
		return listener.Policy{}, false
	}
	return listener.Policy{ETag: own.etag, Signed: signed, Proofs: own.proofs}, true
}

// etags are the ones to name to the site: the device's own, and the newest.
func (c *policies) etags(own string) (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if own != "" {
		names = append(names, own)
	}
	for i := len(c.order) - 1; i >= 0 && len(names) < maxKnown; i-- {
		if c.order[i] != own {
			names = append(names, c.order[i])
		}
	}
	return names
}

// take keeps what the site sent and returns it; false means that the site left
// out a body that is not here.
func (c *policies) take(who whose, a *policyReply) (listener.Policy, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.bodies[a.ETag]; !known && a.ETag != "" && len(a.Signed) > 0 {
		c.addBody(a.ETag, a.Signed)
	}
	own := ownPolicy{a.ETag, a.Proofs, a.KeepAlive}
	c.setDevice(who, own)
	return c.whole(own)
}

func (c *policies) addBody(etag string, signed []byte) {
	for len(c.order) > 0 && (len(c.order) >= maxBodies || c.bodyBytes+len(signed) > maxBodyBytes) {
		c.remove(c.order[0])
	}
	if c.bodies == nil {
		c.bodies = make(map[string][]byte)
	}
	c.bodies[etag] = signed
	c.bodyBytes += len(signed)
	c.order = append(c.order, etag)
}

func (c *policies) forget(etag string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(etag)
}

func (c *policies) remove(etag string) {
	c.bodyBytes -= len(c.bodies[etag])
	delete(c.bodies, etag)
	for i := range c.order {
		if c.order[i] == etag {
			c.order = append(c.order[:i:i], c.order[i+1:]...)
			return
		}
	}
}

func (c *policies) setDevice(who whose, own ownPolicy) {
	if c.devices == nil {
		c.devices = make(map[whose]ownPolicy)
	}
	if old, ok := c.devices[who]; ok {
		c.deviceBytes -= old.size()
		delete(c.devices, who)
	}
	for other, old := range c.devices { // whichever comes first makes room
		if len(c.devices) < maxDevices && c.deviceBytes+own.size() <= maxDeviceBytes {
			break
		}
		c.deviceBytes -= old.size()
		delete(c.devices, other)
	}
	c.devices[who] = own
	c.deviceBytes += own.size()
}

func (c *policies) keepAlive(device uint32) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.devices[whose{device: device}].keepAlive
}
