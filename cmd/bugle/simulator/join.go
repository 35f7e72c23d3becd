package simulator

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/journal/event"
)

// join makes the machine a device of the site.
func (m *machine) join() error {
	r := m.w.site.now()
	token, _, err := r.authority.CreateToken(r.parts.ctx, event.Actor{Issuer: "local", Subject: "admin"}, 1, time.Hour)
	if err != nil {
		return err
	}
	id, err := agent.Join(r.parts.ctx, agent.JoinConfig{Dir: m.dir, Site: m.w.servers[0].host + joinPort, Token: token.String(),
		Name: m.name, Version: "simulated", Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			return m.w.net.dial(ctx, m.name, address)
		}})
	if err != nil {
		return fmt.Errorf("machine %s: %w", m.name, err)
	}
	m.number = id.Device
	return nil
}
