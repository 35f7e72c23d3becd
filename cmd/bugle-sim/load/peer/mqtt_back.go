package peer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// mqttBuffer is how much the back end reads at once.
const mqttBuffer = 64 << 10

// An mqttBack is the back end at mosquitto.
type mqttBack struct {
	target *target
	conn   *tls.Conn
	read   *bufio.Reader
	done   chan struct{}

	mu     sync.Mutex
	lastID uint16
	unsafe map[uint16]struct{} // published, without PUBACK
	safe   chan struct{}       // closed when unsafe becomes empty
	err    error               // once done is closed
}

// maxUnsafe bounds what is published without PUBACK; identifiers have 16 bits.
const maxUnsafe = 10_000

func connectMQTT(ctx context.Context, t *target) (backEnd, error) {
	conn, err := t.dialBack(ctx)
	if err != nil {
		return nil, err
	}
	m := &mqttBack{target: t, conn: conn, read: bufio.NewReaderSize(conn, mqttBuffer),
		done: make(chan struct{}), unsafe: map[uint16]struct{}{}}
	if err := m.hello(ctx); err != nil {
		_ = conn.NetConn().Close()
		return nil, err
	}
	go m.listen()
	return m, nil
}

func (m *mqttBack) hello(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = m.conn.NetConn().Close() })
	defer stop()
	if err := write(m.conn, appendConnect(nil, backEndName, true, aliveSeconds)); err != nil {
		return err
	}
	p, err := readPacket(m.read)
	if err == nil {
		_, err = p.connack()
	}
	if err != nil {
		return fmt.Errorf("connect to broker: %w", err)
	}
	if err := write(m.conn, appendSubscribe(nil, 1, topicAnswers)); err != nil {
		return err
	}
	if p, err = readPacket(m.read); err == nil && p.kind != mqttSuback {
		err = fmt.Errorf("%w: kind %d in place of SUBACK", errPacket, p.kind)
	}
	if err == nil {
		err = p.suback()
	}
	if err != nil {
		return fmt.Errorf("subscribe to answers: %w", err)
	}
	return nil
}

func (m *mqttBack) listen() {
	var acks []byte
	var err error
	for err == nil {
		if acks, err = m.hear(acks); err == nil && len(acks) > 0 && m.read.Buffered() == 0 {
			err = write(m.conn, acks)
			acks = acks[:0]
		}
	}
	m.err = err
	close(m.done)
}

// hear reads a packet and appends what is to be said to it.
func (m *mqttBack) hear(acks []byte) ([]byte, error) {
	p, err := readPacket(m.read)
	if err != nil {
		return acks, err
	}
	switch p.kind {
	case mqttPublish:
		topic, id, payload, err := p.publish()
		if err != nil {
			return acks, err
		}
		number, agent, err := readAnswer(payload)
		if err != nil || !strings.HasPrefix(topic, topicAnswer) {
			return acks, fmt.Errorf("%w: topic %q: %w", errPacket, topic, err)
		}
		m.target.counter.count(agent, number, time.Now())
		return appendPuback(acks, id), nil
	case mqttPuback:
		id, _, err := p.ack()
		if err != nil {
			return acks, err
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.unsafe, id)
		if len(m.unsafe) == 0 && m.safe != nil {
			close(m.safe)
			m.safe = nil
		}
		return acks, nil
	case mqttPingresp:
		return acks, nil
	}
	return acks, fmt.Errorf("%w: kind %d", errPacket, p.kind)
}

// push publishes once for all, or once for each of some agents.
func (m *mqttBack) push(ctx context.Context, number uint64, agents []int) error {
	payload := taskPayload(number)
	if agents == nil {
		return m.publish(ctx, []string{topicAll}, payload)
	}
	for len(agents) > 0 {
		n := min(len(agents), maxUnsafe)
		topics := make([]string, n)
		for i, a := range agents[:n] {
			topics[i] = topicOne + strconv.Itoa(a)
		}
		if err := m.publish(ctx, topics, payload); err != nil {
			return err
		}
		agents = agents[n:]
	}
	return nil
}

// publish publishes to at most [maxUnsafe] topics and waits until the broker has all.
func (m *mqttBack) publish(ctx context.Context, topics []string, payload []byte) error {
	var b bytes.Buffer
	safe := make(chan struct{})
	m.mu.Lock()
	m.safe = safe
	for _, t := range topics {
		if m.lastID++; m.lastID == 0 {
			m.lastID++
		}
		m.unsafe[m.lastID] = struct{}{}
		b.Write(appendPublish(b.AvailableBuffer(), m.lastID, t, payload))
	}
	m.mu.Unlock()
	if err := write(m.conn, b.Bytes()); err != nil {
		return err
	}
	select {
	case <-safe:
		return nil
	case <-m.done:
		return m.err
	case <-ctx.Done():
		return fmt.Errorf("wait for the broker: %w", ctx.Err())
	}
}

func (m *mqttBack) beat() error { return write(m.conn, pingreq) }

func (m *mqttBack) close() {
	_ = m.conn.NetConn().Close()
	<-m.done
}
