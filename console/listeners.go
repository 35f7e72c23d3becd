package console

import (
	"context"
	"time"
)

// Paths of listeners.
const (
	PathListeners      = Base + "/listeners"               // GET → [ListenerList]
	PathListenerRevoke = Base + "/listeners/{name}/revoke" // POST [ReasonRequest] → [Written]
)

// ListenerList is all listeners that the site ever admitted, by name.
type ListenerList struct {
	Items []ListenerReply `json:"items"`
}

// ListenerReply is one listener as the site admitted it. Whether it serves at the
// moment is a matter of [PathComponents].
type ListenerReply struct {
	Name    string     `json:"name"`
	Epoch   uint32     `json:"epoch" doc:"the newest epoch of its files"`
	Own     bool       `json:"own" doc:"it runs in the site's own process"`
	TCP     []string   `json:"tcp" doc:"host:port for agents, the best first"`
	HTTPS   []string   `json:"https"`
	Scope   *uint64    `json:"scope,omitempty" doc:"how many devices it may speak for; without it all"`
	Expires *time.Time `json:"expires,omitempty" doc:"end of its certificate, which it renews before"`
	Revoked bool       `json:"revoked"`
}

func (c *Console) listListeners(_ context.Context, _ *struct{}) (*out[ListenerList], error) {
	list := ListenerList{Items: []ListenerReply{}}
	for _, l := range c.cfg.Authority.Listeners() {
		r := ListenerReply{Name: l.Name, Epoch: l.Epoch, Own: l.Own, Revoked: l.Revoked,
			TCP: append([]string{}, l.TCP...), HTTPS: append([]string{}, l.HTTPS...)} // never null
		if l.Scope != nil {
			n := l.Scope.GetCardinality()
			r.Scope = &n
		}
		if !l.Expires.IsZero() {
			r.Expires = &l.Expires
		}
		list.Items = append(list.Items, r)
	}
	return answerAt(list, c.cfg.Journal.Head().Event)
}

type listenerInput struct {
	Name string `path:"name" maxLength:"16"`
	Body ReasonRequest
}

func (c *Console) revokeListener(ctx context.Context, in *listenerInput) (*out[Written], error) {
	number, err := c.cfg.Authority.RevokeListener(ctx, actorOf(ctx), in.Name, in.Body.Reason)
	if err != nil {
		return nil, c.fail(ctx, "revoke the listener", err)
	}
	return answerAt(Written{number}, number)
}
