package record

import (
	"fmt"
	"sync/atomic"

	"github.com/bugle-fleet/bugle/agent"
)

// Agent returns the part of the log that is the record of one device, by its
// number. It can be loaded once for every Open of the log.
func (l *Log) Agent(device uint32) agent.Record { return &part{log: l, device: device} }

// part is one device's [agent.Record].
type part struct {
	log    *Log
	device uint32
	closed atomic.Bool
}

func (p *part) Load() ([]agent.Entry, error) {
	l := p.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.loaded[p.device] {
		return nil, fmt.Errorf("load record of device %d: it has been loaded before", p.device)
	}
	l.loaded[p.device] = true
	entries := l.devices[p.device]
	delete(l.devices, p.device)
	return entries, nil
}

func (p *part) Append(durable bool, entries ...agent.Entry) error {
	return p.write(&change{p.device, add, entries}, durable)
}

func (p *part) Rewrite(entries []agent.Entry) error {
	return p.write(&change{p.device, replace, entries}, true)
}

func (p *part) write(c *change, durable bool) error {
	if p.closed.Load() {
		return ErrClosed
	}
	return p.log.append(c, durable)
}

func (p *part) Close() error {
	p.closed.Store(true)
	return nil
}
