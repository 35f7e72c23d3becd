package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"sync"
	"time"
)

// pushers is how many goroutines write tasks to connections.
const pushers = 4

// A bareServer is the plainest server of Go's standard library: for each connection a
// goroutine that reads, and a few that write tasks to all in turn.
//
//	back end ──push──> its goroutine ──shares──> pushers ──task──> agents
//	back end <─answers── outlet <──answer── goroutine of each agent <──answer── agent
type bareServer struct {
	listener net.Listener
	config   *tls.Config
	log      *log.Logger
	outlet   *outlet
	shares   [pushers]chan share
	talking  sync.WaitGroup // goroutines of connections, and that which accepts them
	pushing  sync.WaitGroup // pushers

	mu     sync.Mutex
	open   map[net.Conn]struct{} // all, also those that shake hands
	agents map[int]*tls.Conn     // signed in
	last   stored                // newest task for all
	own    map[int]stored        // newest task that was for some, by agent
	closed bool
}

// A stored task is one that agents may still want.
type stored struct {
	number uint64
	frame  []byte
}

// A share is what one pusher writes of a push.
type share struct {
	frame []byte
	to    []*tls.Conn
}

func openBare(dir string, out io.Writer) (server, error) {
	config, err := serverTLS(dir)
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &bareServer{listener: l, config: config, log: log.New(out, "", log.LstdFlags), outlet: newOutlet(),
		open: map[net.Conn]struct{}{}, agents: map[int]*tls.Conn{}, own: map[int]stored{}}
	for i := range b.shares {
		b.shares[i] = make(chan share)
		b.pushing.Go(func() { b.writeShares(b.shares[i]) })
	}
	b.talking.Go(b.accept)
	return b, nil
}

func (b *bareServer) address() string { return b.listener.Addr().String() }

// close ends all connections and returns when all goroutines have ended.
func (b *bareServer) close() error {
	err := b.listener.Close()
	b.outlet.close()
	b.mu.Lock()
	b.closed = true
	for c := range b.open {
		_ = c.Close()
	}
	b.mu.Unlock()
	b.talking.Wait()
	for _, s := range b.shares {
		close(s)
	}
	b.pushing.Wait()
	return err
}

func (b *bareServer) accept() {
	for {
		c, err := b.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as too many open files
			b.log.Printf("accept: %v", err)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		b.mu.Lock()
		closed := b.closed
		if !closed {
			b.open[c] = struct{}{}
			b.talking.Go(func() { b.serve(c) })
		}
		b.mu.Unlock()
		if closed {
			_ = c.Close()
		}
	}
}

// serve is a connection's goroutine.
func (b *bareServer) serve(raw net.Conn) {
	conn := tls.Server(raw, b.config)
	err := b.talk(conn)
	_ = raw.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, raw)
	var network net.Error
	if err != nil && err != io.EOF && !errors.As(err, &network) && !b.closed {
		b.log.Printf("connection: %v", err)
	}
}

func (b *bareServer) talk(conn *tls.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(signInWait)); err != nil {
		return err
	}
	if err := conn.Handshake(); err != nil {
		return err
	}
	agent, back, err := whoIs(conn.ConnectionState())
	if err != nil {
		return err
	}
	size := 4096
	if back {
		size = backBuffer
	}
	read := bufio.NewReaderSize(conn, size)
	f, err := readFrame(read)
	switch {
	case err != nil:
		return err
	case f.kind != frameHello:
		return fmt.Errorf("%w: kind %d in place of hello", errFrame, f.kind)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if back {
		return b.serveBack(conn, read)
	}
	return b.serveAgent(conn, read, agent, f.number)
}

// serveAgent lets tasks come to the agent before it says welcome and gives it what it
// missed, so that none falls between the two.
func (b *bareServer) serveAgent(conn *tls.Conn, read *bufio.Reader, agent int, had uint64) error {
	first := b.signIn(conn, agent, had)
	defer b.signOut(conn, agent)
	if err := write(conn, first); err != nil {
		return err
	}
	for {
		f, err := readFrame(read)
		if err != nil {
			return err
		}
		switch f.kind {
		case frameAnswer:
			number, from, err := readAnswer(f.body)
			if err != nil || number != f.number || from != agent {
				return fmt.Errorf("%w: answer of agent %d: %w", errFrame, agent, err)
			}
			b.outlet.add(f)
			err = write(conn, appendFrame(nil, frameAck, number))
			if err != nil {
				return err
			}
		case framePing:
			if err := write(conn, appendFrame(nil, framePing, 0)); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: kind %d of agent %d", errFrame, f.kind, agent)
		}
	}
}

// signIn puts the agent into the table, in the place of an older connection, and
// returns what it is told first.
func (b *bareServer) signIn(conn *tls.Conn, agent int, had uint64) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old := b.agents[agent]; old != nil {
		_ = old.NetConn().Close()
	}
	b.agents[agent] = conn
	first := appendFrame(nil, frameWelcome, 0)
	missed := []stored{b.last, b.own[agent]}
	slices.SortFunc(missed, func(x, y stored) int { return int(int64(x.number - y.number)) })
	for _, m := range missed {
		if m.number > had {
			first = append(first, m.frame...)
		}
	}
	return first
}

func (b *bareServer) signOut(conn *tls.Conn, agent int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.agents[agent] == conn {
		delete(b.agents, agent)
	}
}

// serveBack takes tasks from the back end; the newest back end gets the answers.
func (b *bareServer) serveBack(conn *tls.Conn, read *bufio.Reader) error {
	if err := write(conn, appendFrame(nil, frameWelcome, 0)); err != nil {
		return err
	}
	b.talking.Go(func() { b.outlet.drain(conn) })
	for {
		f, err := readFrame(read)
		if err != nil {
			return err
		}
		switch f.kind {
		case framePush:
			if len(f.body) < taskSize {
				return fmt.Errorf("%w: a push of %d bytes", errFrame, len(f.body))
			}
			shares := b.store(f)
			if err := write(conn, appendFrame(nil, frameTaken, f.number)); err != nil {
				return err
			}
			for i, s := range shares {
				b.shares[i] <- s
			}
		case framePing:
			if err := write(conn, appendFrame(nil, framePing, 0)); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: kind %d of the back end", errFrame, f.kind)
		}
	}
}

// store keeps a task for the agents that are away and returns who gets it at once.
func (b *bareServer) store(f frame) (shares [pushers]share) {
	task, some := f.body[:taskSize], f.body[taskSize:]
	s := stored{f.number, appendFrame(nil, frameTask, f.number, task...)}
	for i := range shares {
		shares[i].frame = s.frame
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(some) == 0 {
		b.last = s
	}
	for agent := range 8 * len(some) {
		if hasAgent(some, agent) {
			b.own[agent] = s
		}
	}
	n := 0
	for agent, conn := range b.agents {
		if len(some) == 0 || hasAgent(some, agent) {
			shares[n%pushers].to = append(shares[n%pushers].to, conn)
			n++
		}
	}
	return shares
}

// writeShares is a pusher. A connection that does not take a task in time is closed.
func (b *bareServer) writeShares(shares <-chan share) {
	for s := range shares {
		for _, conn := range s.to {
			if write(conn, s.frame) != nil {
				_ = conn.NetConn().Close()
			}
		}
	}
}
