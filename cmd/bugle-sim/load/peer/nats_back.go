package peer

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// maxAcks bounds what is published without an acknowledgement of JetStream.
const maxAcks = 4096

// A natsBack is the back end at NATS.
type natsBack struct {
	conn   *nats.Conn
	stream jetstream.JetStream
}

func connectNATS(ctx context.Context, t *target) (backEnd, error) {
	conn, err := nats.Connect("tls://"+t.address, nats.Secure(t.trust.client(&t.trust.back, nil)), nats.TLSHandshakeFirst(),
		nats.NoReconnect(), nats.Name(backEndName), nats.Timeout(startWait), nats.PingInterval(keepAlive))
	if err != nil {
		return nil, err
	}
	n := &natsBack{conn: conn}
	if err := n.prepare(ctx, t.counter); err != nil {
		conn.Close()
		return nil, err
	}
	return n, nil
}

// prepare makes the stream and subscribes to the answers.
func (n *natsBack) prepare(ctx context.Context, c *counter) (err error) {
	if n.stream, err = jetstream.New(n.conn, jetstream.WithPublishAsyncMaxPending(2*maxAcks)); err != nil {
		return err
	}
	_, err = n.stream.CreateStream(ctx, jetstream.StreamConfig{Name: streamName, Subjects: []string{subjectAll, subjectOne + "*"},
		Storage: jetstream.MemoryStorage, MaxMsgsPerSubject: 1, AllowDirect: true})
	if err != nil {
		return fmt.Errorf("make stream: %w", err)
	}
	_, err = n.conn.Subscribe(subjectAnswers, func(m *nats.Msg) {
		if number, agent, err := readAnswer(m.Data); err == nil {
			c.count(agent, number, time.Now())
		}
	})
	if err == nil {
		err = n.conn.FlushWithContext(ctx)
	}
	if err != nil {
		return fmt.Errorf("subscribe to answers: %w", err)
	}
	return nil
}

// push publishes once for all, or once for each of some agents.
func (n *natsBack) push(ctx context.Context, number uint64, agents []int) error {
	payload := taskPayload(number)
	if agents == nil {
		_, err := n.stream.Publish(ctx, subjectAll, payload)
		return err
	}
	for some := range slices.Chunk(agents, maxAcks) {
		if err := n.publish(ctx, some, payload); err != nil {
			return err
		}
	}
	return nil
}

// publish publishes to at most [maxAcks] agents and waits until the stream has all.
func (n *natsBack) publish(ctx context.Context, agents []int, payload []byte) error {
	acks := make([]jetstream.PubAckFuture, 0, len(agents))
	for _, a := range agents {
		ack, err := n.stream.PublishAsync(subjectOne+strconv.Itoa(a), payload)
		if err != nil {
			return err
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return err
		case <-ctx.Done():
			return fmt.Errorf("wait for JetStream: %w", ctx.Err())
		}
	}
	return nil
}

// beat does nothing: the client sees to that itself.
func (n *natsBack) beat() error { return nil }

func (n *natsBack) close() { n.conn.Close() }
