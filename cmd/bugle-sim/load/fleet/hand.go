package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
)

// A hand is another process of this program that holds a part of the agents'
// connections, for the files that one process may open are bounded. Orders go to it,
// news come back.
//
//	Fleet ── orders: set up, sign in, drop ──> hand ── TLS ── listener
//	      <── news: signed in, task, safe, lost ──
type hand struct {
	*helper
	observer load.Observer
	orders   *outbox[order]
	written  chan struct{} // closed when nothing more is written
	ended    chan struct{} // closed when nothing more is heard

	mu      sync.Mutex
	waiting map[int]chan news // for the answers to orders, by agent
}

// What an order asks for.
const (
	orderSetUp = iota + 1
	orderSignIn
	orderDrop
)

// An order goes to a hand. The two are the same program, so this is no format.
type order struct {
	What  int
	Agent int
	Full  bool
	SetUp *setUp
}

// setUp is the first order.
type setUp struct {
	Dir       string
	Agents    int
	TCP       []string
	Addresses int
	KeepAlive time.Duration
	Hybrid    bool
}

// What news tell.
const (
	newsSignedIn = iota + 1 // or why not
	newsDropped
	newsTask
	newsSafe
	newsLost
)

// news come from a hand.
type news struct {
	What    int
	Agent   int
	Number  uint64
	At      int64 // nanoseconds since 1970
	Resumed bool
	Failed  bool
	Refused bool
	Text    string
	After   time.Duration
}

// startHands starts as many hands as the agents are to be split over.
func (f *Fleet) startHands() error {
	s := &setUp{f.cfg.Dir, f.cfg.Agents, f.listeners, f.cfg.Addresses, f.cfg.KeepAlive, f.cfg.Hybrid}
	for i := range f.cfg.Hands {
		h, err := f.startHand(fmt.Sprintf("hand-%d", i+1), s)
		if err != nil {
			return err
		}
		f.hands = append(f.hands, h)
	}
	return nil
}

func (f *Fleet) startHand(name string, s *setUp) (*hand, error) {
	if len(f.cfg.HandCommand) == 0 {
		return nil, errors.New("start hand: no command is configured")
	}
	c, err := f.startHelper(name, f.cfg.HandCommand, func(c *exec.Cmd) (*load.Process, error) { return load.StartOn(c, anyCPU) })
	if err != nil {
		return nil, fmt.Errorf("start hand: %w", err)
	}
	h := &hand{helper: c, observer: f.cfg.Observer, orders: newOutbox[order](), written: make(chan struct{}), ended: make(chan struct{}), waiting: map[int]chan news{}}
	go func() {
		defer close(h.written)
		_ = h.orders.write(h.in) // a hand that has ended is seen at its other side
		_ = h.in.Close()
	}()
	go func() {
		defer close(h.ended)
		_ = each(h.out, h.hear)
		_ = h.out.Close()
	}()
	h.orders.put(order{What: orderSetUp, SetUp: s})
	return h, nil
}

const anyCPU = -1

// hear hands on news.
func (h *hand) hear(n news) {
	at := time.Unix(0, n.At)
	switch n.What {
	case newsSignedIn, newsDropped:
		h.mu.Lock()
		to := h.waiting[n.Agent]
		delete(h.waiting, n.Agent)
		h.mu.Unlock()
		if to != nil {
			to <- n
		}
	case newsTask:
		h.observer.Task(n.Agent, n.Number, at)
	case newsSafe:
		h.observer.Safe(n.Agent, n.Number, at)
	case newsLost:
		h.observer.Lost(n.Agent, n.err())
	}
}

func (n news) err() error {
	if n.Refused {
		return &load.Refused{After: n.After, Reason: n.Text}
	}
	return errors.New(n.Text)
}

// ask gives an order and waits for its answer. There is never more than one for an
// agent.
func (h *hand) ask(o order) (news, error) {
	reply := make(chan news, 1)
	h.mu.Lock()
	h.waiting[o.Agent] = reply
	h.mu.Unlock()
	h.orders.put(o)
	select {
	case n := <-reply:
		return n, nil
	case <-h.ended:
		return news{}, errors.New("the process that holds this agent's connection has ended")
	}
}

// signIn lets the hand sign an agent in. It is not cut short by the end of a
// context: a sign-in has a bounded time.
func (h *hand) signIn(agent int, full bool) (load.Session, error) {
	n, err := h.ask(order{What: orderSignIn, Agent: agent, Full: full})
	switch {
	case err != nil:
		return nil, err
	case n.Failed:
		return nil, n.err()
	}
	return &held{h, agent, n.Resumed}, nil
}

// stopTime is how long a hand may take to end after its last order.
const stopTime = 30 * time.Second

// stop ends the hand and waits for it.
func (h *hand) stop() error {
	h.orders.close()
	select {
	case <-h.process.Ended():
	case <-time.After(stopTime):
	}
	err := h.process.Stop()
	<-h.written
	<-h.ended
	return err
}

// A held is a session that a hand holds.
type held struct {
	hand    *hand
	agent   int
	resumed bool
}

// Resumed is of [load.Session].
func (s *held) Resumed() bool { return s.resumed }

// Drop is of [load.Session].
func (s *held) Drop() { _, _ = s.hand.ask(order{What: orderDrop, Agent: s.agent}) }

// ServeHand is the process of a hand: it takes orders from in and tells news to out,
// until in ends. Whoever starts a fleet with [Config].Hands starts it.
func ServeHand(ctx context.Context, in io.Reader, out io.Writer) error {
	t := &told{newOutbox[news]()}
	written := make(chan error, 1)
	go func() { written <- t.write(out) }()
	var f *Fleet
	var failed error
	var signing sync.WaitGroup
	err := each(in, func(o order) {
		switch {
		case o.What == orderSetUp && f == nil:
			f, failed = openHand(o.SetUp, t)
		case f == nil:
		case o.What == orderSignIn:
			signing.Go(func() { t.signIn(ctx, f, o.Agent, o.Full) })
		case o.What == orderDrop:
			f.drop(o.Agent)
			t.put(news{What: newsDropped, Agent: o.Agent})
		}
	})
	if f != nil {
		failed = errors.Join(failed, f.Close())
	}
	signing.Wait()
	t.close()
	return errors.Join(err, failed, <-written)
}

// openHand opens a fleet that has agents and nothing else.
func openHand(s *setUp, o load.Observer) (*Fleet, error) {
	cfg := Config{Agents: s.Agents, Observer: o, Dir: s.Dir, Addresses: s.Addresses, KeepAlive: s.KeepAlive, Hybrid: s.Hybrid}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	f := newFleet(cfg)
	f.listeners = s.TCP
	var err error
	if f.ids, err = restore(filepath.Join(s.Dir, identitiesFile)); err != nil {
		return nil, err
	}
	f.beside.Go(f.keepAlive)
	return f, nil
}

// drop drops an agent's session, if it has one.
func (f *Fleet) drop(agent int) {
	f.mu.Lock()
	s := f.agents[agent].session
	f.agents[agent].session = nil
	f.mu.Unlock()
	if s != nil {
		s.Drop()
	}
}

// A told tells news of what it observes.
type told struct{ *outbox[news] }

func (t *told) signIn(ctx context.Context, f *Fleet, agent int, full bool) {
	s, err := f.SignIn(ctx, agent, full)
	n := news{What: newsSignedIn, Agent: agent}
	if err == nil {
		n.Resumed = s.Resumed()
	} else {
		n.fail(err)
	}
	t.put(n)
}

func (n *news) fail(err error) {
	n.Failed, n.Text = true, err.Error()
	var refused *load.Refused
	if errors.As(err, &refused) {
		n.Refused, n.After, n.Text = true, refused.After, refused.Reason
	}
}

// Task is of [load.Observer].
func (t *told) Task(agent int, number uint64, at time.Time) {
	t.put(news{What: newsTask, Agent: agent, Number: number, At: at.UnixNano()})
}

// Safe is of [load.Observer].
func (t *told) Safe(agent int, number uint64, at time.Time) {
	t.put(news{What: newsSafe, Agent: agent, Number: number, At: at.UnixNano()})
}

// Counted is of [load.Observer]; a hand counts nothing.
func (t *told) Counted(uint64, int, time.Time) {}

// Lost is of [load.Observer].
func (t *told) Lost(agent int, err error) {
	n := news{What: newsLost, Agent: agent}
	n.fail(err)
	t.put(n)
}
