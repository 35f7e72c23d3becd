package feed

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/bugle-fleet/bugle/listener"
)

// ClientConfig is what a [Client] needs.
type ClientConfig struct {
	Name    string // the listener's
	Address func() string
	// TLS returns whom to trust and what certificate to show; it is asked at every
	// connection.
	TLS func() (*tls.Config, error)
}

// A Client reads the feed of a site elsewhere. It is a [listener.Feed]: one
// goroutine calls Next, and then Close.
type Client struct {
	cfg  ClientConfig
	conn *nats.Conn
	msgs js.MessagesContext

	at       begin // number is that of the last message
	skipping bool  // a state that is not needed
	whole    bool
}

// NewClient makes a client that connects at the first Next.
func NewClient(cfg ClientConfig) *Client { return &Client{cfg: cfg} }

const (
	connectTime = 10 * time.Second
	answerTime  = 10 * time.Second
	heartbeat   = 5 * time.Second
	fetch       = 256 // messages that are asked for at a time
	fetchBytes  = 2 * MaxMessage
)

// Next returns the next update. After an error the next call begins anew.
func (c *Client) Next(ctx context.Context) (u listener.Update, err error) {
	defer func() {
		if err != nil {
			c.hangUp()
		}
	}()
	if c.conn == nil {
		if err := c.begin(ctx); err != nil {
			return nil, fmt.Errorf("begin to read the site's feed: %w", err)
		}
	}
	for {
		m, err := c.msgs.Next(js.NextContext(ctx))
		if err != nil {
			return nil, fmt.Errorf("read the site's feed: %w", err)
		}
		if m.Headers().Get(js.ExpectedStreamHeader) != streamName {
			continue // not the publisher's: an answer that somebody had sent here
		}
		message, err := Decode(m.Data())
		if err != nil {
			return nil, fmt.Errorf("read the site's feed: %w", err)
		}
		u, err := c.take(message)
		if u != nil || err != nil {
			return u, err
		}
	}
}

var errGap = errors.New("messages are missing")

// take returns the update in a message, nil if there is none to tell.
func (c *Client) take(m Message) (listener.Update, error) {
	switch {
	case m.Generation != c.at.generation:
		return nil, fmt.Errorf("read the site's feed: the site began it anew")
	case m.Number <= c.at.number:
		return nil, nil // it came before
	case m.Number != c.at.number+1:
		return nil, fmt.Errorf("read the site's feed: %w between %d and %d", errGap, c.at.number, m.Number)
	}
	c.at.number = m.Number
	_, end := m.Update.(listener.Whole)
	switch {
	case m.Begin:
		c.skipping = c.whole
		return nil, nil
	case c.skipping:
		c.skipping = !end
		return nil, nil
	case end:
		c.whole = true
	}
	return m.Update, nil
}

func (c *Client) begin(ctx context.Context) error {
	config, err := c.cfg.TLS()
	if err != nil {
		return err
	}
	c.conn, err = nats.Connect("tls://"+c.cfg.Address(), nats.Secure(config), nats.TLSHandshakeFirst(), nats.NoReconnect(),
		nats.Name(c.cfg.Name), nats.CustomInboxPrefix(inbox(c.cfg.Name)), nats.Timeout(connectTime), nats.SetCustomDialer(dialer{ctx}),
		nats.PingInterval(heartbeat), nats.MaxPingsOutstanding(2), nats.IgnoreDiscoveredServers(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // Next has it too
	if err != nil {
		return err
	}
	if err := c.start(ctx); err != nil {
		return err
	}
	api, err := js.New(c.conn, js.WithDefaultTimeout(answerTime))
	if err != nil {
		return err
	}
	consumer, err := api.Consumer(ctx, streamName, c.cfg.Name)
	if err != nil {
		return err
	}
	c.msgs, err = consumer.Messages(js.PullMaxMessagesWithBytesLimit(fetch, fetchBytes), js.PullHeartbeat(heartbeat))
	return err
}

// start asks the publisher to let this listener begin.
func (c *Client) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	m, err := c.conn.RequestWithContext(ctx, beginPrefix+c.cfg.Name, nil)
	if err != nil {
		return err
	}
	c.at, err = decodePlace(m.Data)
	if c.at.number == 0 && err == nil {
		err = errors.New("the site has not begun it yet")
	}
	if err == nil {
		c.at.number--
	}
	return err
}

func (c *Client) hangUp() {
	if c.msgs != nil {
		c.msgs.Stop()
	}
	if c.conn != nil {
		c.conn.Close()
	}
	*c = Client{cfg: c.cfg}
}

// Close hangs up. Next must not be under way.
func (c *Client) Close() error {
	c.hangUp()
	return nil
}

// A dialer gives up when its context ends.
type dialer struct{ ctx context.Context }

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: connectTime}).DialContext(d.ctx, network, address)
}
