package simulator

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/bugle-fleet/bugle/console/authority"
	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// A server is where a listener runs: an address, a folder of files that the site
// has not got yet, and at most one process, a real listener.
type server struct {
	w      *world
	name   string // of the listener
	host   string
	dir    string // the folder
	key    ed25519.PrivateKey
	health health
	lies   func(box.Contents) bool // whether to say that contents are durable which are not; for tests
	deaf   bool                    // from its next start on it is told of no operation; for tests
	bare   bool                    // from its next start on it has no policy for anybody; for tests

	mu     sync.Mutex
	full   bool          // the disk takes nothing
	lag    time.Duration // until a file comes to the site, at most
	damage int           // files of which a broken copy comes first
	armed  map[point]int
	proc   *serving
}

// The points at which a listener can be killed.
const (
	dropping point = "listener killed: before a file is written"
	dropped  point = "listener killed: a file is durable and not acknowledged"
)

// serving is one run of a listener, in an epoch of its own.
type serving struct {
	s        *server
	listener *listener.Listener
	spool    *box.Spool
	agents   *socket
	joining  *socket
	feed     *feed
	stop     context.CancelFunc
	gone     chan struct{}
	at       time.Time // when it began

	mu   sync.Mutex
	dead bool
}

func newServer(w *world, name, host string) *server {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // it does not fail
	}
	return &server{w: w, name: name, host: host, dir: filepath.Join(w.dir, "listeners", name), key: key, armed: make(map[point]int)}
}

// listed counts policies that list tasks.
const listed = "policies with tasks handed out"

// joinPort is where devices join.
const joinPort = ":10443"

func (s *server) address() string { return s.host + ":10123" }

var errDown = errors.New("the site is down")

// start runs a listener, if none runs. The site must be there to grant an epoch.
func (s *server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.w.site.now()
	switch {
	case s.proc != nil:
		return nil
	case r == nil:
		return errDown
	}
	epoch, err := r.authority.GrantListener(r.parts.ctx, s.name, s.key.Public().(ed25519.PublicKey))
	if err != nil {
		return err
	}
	p := &serving{s: s, gone: make(chan struct{}), at: time.Now()}
	if p.spool, err = box.OpenSpool(s.dir, box.SpoolConfig{Site: siteCode, Listener: s.name, Epoch: epoch, Key: s.key}); err != nil {
		return err
	}
	if err := p.configure(r, epoch); err != nil {
		return err
	}
	if p.agents, err = s.w.net.listen(s.address()); err != nil {
		return err
	}
	if p.joining, err = s.w.net.listen(s.host + joinPort); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop, s.proc = cancel, p
	go func() {
		defer close(p.gone)
		p.listener.Serve(ctx, p.agents, p.joining)
		p.feed.close()
	}()
	return nil
}

func (p *serving) configure(r *running, epoch uint32) error {
	certificate, err := r.authority.ServerCertificates([]string{p.s.host})
	if err != nil {
		return err
	}
	p.feed = &feed{site: p.s.w.site, dead: p.isDead, deaf: p.s.deaf}
	policies, bare := r.policies, p.s.bare // what it was told last, if the site is down
	p.listener, err = listener.New(listener.Config{
		Site: siteCode, Name: p.s.name, Epoch: epoch, Version: "simulated", History: history,
		Certificate: certificate, ClientCAs: r.authority.ClientCAs, Drop: p.drop, Feed: p.feed,
		Beacon: func(nonce [16]byte) ([]byte, error) {
			return asked(p, func(r *running) ([]byte, error) { return r.authority.Beacon(nonce) })
		},
		Policy: func(device uint32, user string) (listener.Policy, error) {
			return asked(p, func(r *running) (policy listener.Policy, err error) {
				if !bare {
					policy.ETag, policy.Signed, policy.Proofs, err = r.policies.For(device, user)
				}
				if len(policy.Proofs) > 0 {
					p.s.w.hit(listed)
				}
				return policy, err
			})
		},
		KeepAliveOf: func(device uint32) time.Duration {
			if r := p.s.w.site.now(); r != nil {
				return r.policies.KeepAlive(device)
			}
			return policies.KeepAlive(device)
		},
		Join: func(ctx context.Context, req wire.JoinRequest, address string) (wire.JoinReply, error) {
			return asked(p, func(r *running) (wire.JoinReply, error) { return r.authority.Join(ctx, req, address) })
		},
		Renew: func(ctx context.Context, device uint32, request wire.Renew) ([]byte, error) {
			return asked(p, func(r *running) ([]byte, error) { return r.authority.Renew(ctx, device, request) })
		},
		KeepAlive: time.Minute, SnapshotEvery: interval, SnapshotMost: interval, Grace: 2 * time.Second, Log: Log,
	})
	return err
}

// asked asks the site, if it is there.
func asked[T any](p *serving, ask func(*running) (T, error)) (none T, err error) {
	r := p.s.w.site.now()
	switch {
	case p.isDead():
		return none, errDead
	case r == nil:
		return none, errDown
	}
	return ask(r)
}

func (p *serving) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// drop puts a file into the folder of this server; the world carries it to the
// site.
func (p *serving) drop(c box.Contents, from, to time.Time) error {
	p.s.mu.Lock()
	full := p.s.full
	p.s.mu.Unlock()
	switch {
	case p.pass(dropping):
		return errDead
	case full:
		p.s.w.hit("listener's disk full")
		return fmt.Errorf("drop file: %w", syscall.ENOSPC)
	}
	if p.s.lies != nil && p.s.lies(c) {
		return nil
	}
	name, err := p.spool.Drop(c, from, to)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(p.s.dir, name.String()))
	if err != nil {
		return err
	}
	p.s.w.truth.dropped(name, b, c)
	p.s.w.hit("files dropped")
	p.s.carry(name.String(), b)
	if p.pass(dropped) {
		return errDead
	}
	return nil
}

// pass kills the listener if this is the point; it returns true if it is dead.
func (p *serving) pass(at point) bool {
	p.s.mu.Lock()
	left, is := p.s.armed[at]
	p.s.armed[at]--
	if !is || left == 0 {
		delete(p.s.armed, at)
	}
	p.s.mu.Unlock()
	if is && left == 0 && p.die(p.s.w.chance(2)) {
		p.s.w.hit(string(at))
	}
	return p.isDead()
}

// kill ends the listener at once; with silent nobody is told, as in a power cut.
func (s *server) kill(silent bool) {
	if p := s.current(); p != nil && p.die(silent) {
		s.w.hit("listener killed")
	}
}

func (s *server) current() *serving {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc
}

// runsSince tells whether the same listener has run since t.
func (s *server) runsSince(t time.Time) bool {
	p := s.current()
	return p != nil && !p.isDead() && !p.at.After(t)
}

func (p *serving) die(silent bool) bool {
	p.mu.Lock()
	was := p.dead
	p.dead = true
	p.mu.Unlock()
	if was {
		return false
	}
	p.agents.Close()
	p.joining.Close()
	for _, l := range p.s.w.net.of(p.s.address()) {
		if silent {
			l.vanish(false)
		} else {
			l.reset()
		}
	}
	p.stop()
	p.s.health.begin()
	p.s.w.later(p.s.w.drawn(30*time.Second), func() { p.s.revive(p) })
	return true
}

// halt stops the listener in good order.
func (s *server) halt() {
	p := s.current()
	if p == nil {
		return
	}
	p.stop()
	<-p.gone
	s.forget(p)
}

func (s *server) forget(p *serving) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == p {
		s.proc = nil
	}
}

// revive starts the next listener, as soon as the site grants it an epoch.
func (s *server) revive(p *serving) {
	if p != nil {
		<-p.gone
		s.forget(p)
	}
	s.mu.Lock()
	clear(s.armed)
	s.mu.Unlock()
	err := s.start()
	if err == nil {
		s.health.end()
		return
	}
	if refusal := (*authority.Refusal)(nil); errors.As(err, &refusal) {
		s.w.violated(0, "listener %s does not start: %v", s.name, err)
		return
	}
	s.w.later(time.Second, func() { s.revive(nil) })
}
