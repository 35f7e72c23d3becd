package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// A bareAgent is how an agent speaks with the goroutine server.
type bareAgent struct{ number int }

func (b *bareAgent) hello(had uint64) []byte { return appendFrame(nil, frameHello, had) }

func (b *bareAgent) ping() []byte { return appendFrame(nil, framePing, 0) }

func (b *bareAgent) answer(number uint64) []byte {
	body := answerPayload(number, b.number)
	return appendFrame(nil, frameAnswer, number, body[:]...)
}

func (b *bareAgent) hear(s *session) error {
	f, err := readFrame(s.read)
	if err != nil {
		return err
	}
	switch f.kind {
	case frameWelcome:
		return s.signedIn()
	case frameTask:
		number, err := taskNumber(f.body)
		if err != nil {
			return err
		}
		return s.task(number, nil)
	case frameAck:
		s.safe(f.number)
		return nil
	case framePing:
		return nil
	}
	return fmt.Errorf("%w: kind %d", errFrame, f.kind)
}

// A bareBack is the back end at the goroutine server.
type bareBack struct {
	target *target
	conn   *tls.Conn
	taken  chan uint64
	done   chan struct{}
	err    error // once done is closed
}

func connectBare(ctx context.Context, t *target) (backEnd, error) {
	conn, err := t.dialBack(ctx)
	if err != nil {
		return nil, err
	}
	b := &bareBack{target: t, conn: conn, taken: make(chan uint64, 1), done: make(chan struct{})}
	if err := b.hello(ctx); err != nil {
		_ = conn.NetConn().Close()
		return nil, err
	}
	return b, nil
}

// hello returns when the server has taken the back end.
func (b *bareBack) hello(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = b.conn.NetConn().Close() })
	defer stop()
	if err := write(b.conn, appendFrame(nil, frameHello, 0)); err != nil {
		return err
	}
	read := bufio.NewReaderSize(b.conn, backBuffer)
	f, err := readFrame(read)
	if err == nil && f.kind != frameWelcome {
		err = fmt.Errorf("%w: kind %d in place of welcome", errFrame, f.kind)
	}
	if err != nil {
		return fmt.Errorf("wait for the server's welcome: %w", err)
	}
	go b.listen(read)
	return nil
}

// backBuffer is how much is read at once between server and back end.
const backBuffer = 64 << 10

func (b *bareBack) listen(read *bufio.Reader) {
	for b.err == nil {
		b.err = b.hear(read)
	}
	close(b.done)
}

func (b *bareBack) hear(read *bufio.Reader) error {
	f, err := readFrame(read)
	if err != nil {
		return err
	}
	switch f.kind {
	case frameAnswer:
		number, agent, err := readAnswer(f.body)
		if err != nil {
			return err
		}
		b.target.counter.count(agent, number, time.Now())
		return nil
	case frameTaken:
		select {
		case b.taken <- f.number:
			return nil
		default:
			return errors.New("the server took more tasks than it was given")
		}
	case framePing:
		return nil
	}
	return fmt.Errorf("%w: kind %d", errFrame, f.kind)
}

func (b *bareBack) push(ctx context.Context, number uint64, agents []int) error {
	body := taskPayload(number)
	if agents != nil {
		if len(agents) == 0 {
			return nil
		}
		body = appendAgents(body, agents)
	}
	if err := write(b.conn, appendFrame(nil, framePush, number, body...)); err != nil {
		return err
	}
	for {
		select {
		case n := <-b.taken:
			if n == number { // else it is that of a push that was given up
				return nil
			}
		case <-b.done:
			return b.err
		case <-ctx.Done():
			return fmt.Errorf("wait for the server to take it: %w", ctx.Err())
		}
	}
}

func (b *bareBack) beat() error { return write(b.conn, appendFrame(nil, framePing, 0)) }

func (b *bareBack) close() {
	_ = b.conn.NetConn().Close()
	<-b.done
}
