package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/poll"
)

// A Listener serves the agents of a site. Make one with [New]; it serves once.
type Listener struct {
	cfg   Config
	tls   *tls.Config // of the TCP port
	times times
	count counters
	made  time.Time

	verified *verified // certificates, on both ports
	pace     pace
	scarce   atomic.Bool // the newest newcomer got one of the last descriptors

	table    *table
	results  *spool[box.ResultRow]
	facts    *spool[box.DiscoveryRecord]
	presence *presence
	status   *status
	files    *files
	joins    joins
	renewals *renewals
	fallback *fallback
	uploads  uploads

	kept     sync.Once       // it was said that more than keys is kept
	loop     *poll.Loop      // nil where there is none: then sessions have goroutines
	budgets  *budgets        // of the addresses of strangers, on both ports
	turns    chan struct{}   // to compute a handshake
	lobby    *lobby          // of the TCP port
	webLobby *lobby          // of the HTTPS port
	signing  *places[string] // sessions over HTTPS of each address that have not signed in
	signIns  joins           // over TCP, of each device
	connects joins           // over HTTPS, of each device: beyond them its address pays
	asks     joins           // for policy, of each device
	sessions sync.WaitGroup

	whole     chan struct{} // closed when the feed has been whole once
	wholeOnce sync.Once
	retime    chan struct{} // one slot: the next release may be sooner
	bursts    chan struct{} // one slot: many agents get a task
	begun     atomic.Bool
	stopping  <-chan struct{} // closed when a stop begins
}

// New makes a listener that does not serve yet.
func New(cfg Config) (*Listener, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	lim := cfg.Limits
	l := &Listener{cfg: cfg, times: usual, made: time.Now(), verified: newVerified(cfg.ClientCAs, lim.Sessions), status: newStatus(cfg.Flush),
		budgets: newBudgets(lim.StrangerRate, float64(lim.StrangerBurst)), turns: make(chan struct{}, lim.Handshaking),
		whole: make(chan struct{}), retime: make(chan struct{}, 1), bursts: make(chan struct{}, 1)}
	l.verified.issued = cfg.Issued
	l.table = newTable(lim.Operations, l.tellAll)
	l.tls = tlsConfig(&l.cfg, l.verified, &l.count.resumed)
	l.files = &files{write: cfg.Drop, log: cfg.Log.With("listener", cfg.Name, "epoch", cfg.Epoch), message: l.status.message}
	l.status.files = l.files
	gather := cfg.Flush / 25
	l.results = newSpool(l.files, gather, fileRows, lim.PendingRows, lim.PendingBytes, packResults, l.acknowledge)
	l.results.busy = l.busy()
	l.facts = newSpool(l.files, gather, fileRows, lim.PendingRows, lim.PendingBytes, packFacts, received)
	l.presence = newPresence(l.files, cfg.SnapshotEvery, cfg.SnapshotMost, cfg.Flush)
	l.renewals = newRenewals()
	l.fallback = newFallback(lim.Fallback)
	slow := func() time.Duration { return l.times.slow }
	l.lobby = newLobby(lim.Handshakes, lim.PerAddress, l.room, slow, l.cutSlow, l.overflows)
	l.webLobby = newLobby(lim.HTTPS, lim.PerAddress, l.room, slow, l.cutSlow, l.overflows)
	l.signing = newPlaces[string](math.MaxInt, lim.PerAddress)
	perDevice := max(maxJoinAddresses, 2*lim.Sessions)
	l.signIns = joins{every: 1, burst: deviceSignIns, most: perDevice}
	l.connects = joins{every: 2, burst: deviceConnects, most: perDevice}
	l.asks = joins{every: 1, burst: devicePolicies, most: perDevice}
	l.joins = joins{every: lim.JoinRate, burst: lim.JoinBurst}
	return l, nil
}

var errServed = errors.New("serve agents: a listener serves only once")

// Serve serves agents on tcp, and joining devices on https unless it is nil,
// until ctx ends or a socket fails. It owns both sockets. Then it stops, in this
// order, and returns:
//
//  1. Nobody is let in any more.
//  2. Every agent is told to go away and when to come back.
//  3. Results, inventory and presence are dropped; every device that was signed
//     in is reported as offline because the listener stopped.
//  4. The status file says that the listener stopped.
//
// It waits for [Config.Drop] as long as Config.Grace allows; an error that says
// "drop" means that not all of this is on disk. What was acknowledged is.
func (l *Listener) Serve(ctx context.Context, tcp, https net.Listener) error {
	if l.begun.Swap(true) {
		return errServed
	}
	if err := l.startLoop(tcp); err != nil {
		return errors.Join(err, tcp.Close())
	}
	intake, stopIntake := context.WithCancel(ctx)
	defer stopIntake()
	l.stopping = intake.Done()
	hard, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	l.status.record(box.StatusRecord{Type: box.Started, Version: l.cfg.Version, Address: tcp.Addr().String()})
	reports := l.report(hard)
	status := start(func() error { return l.status.run(hard) })
	l.fallback.serve(intake)
	web := l.serveHTTPS(stopIntake, https)
	serving := l.serveAll(intake, stopIntake, tcp)

	<-intake.Done()
	tcp.Close()
	err := serving()
	l.fallback.stop()
	defer time.AfterFunc(l.cfg.Grace, abandon).Stop()
	l.dismissAll()
	err = errors.Join(err, web())
	l.results.stop()
	l.facts.stop()
	close(l.presence.stopped)
	err = errors.Join(err, reports())
	l.status.tell()
	now := time.Now()
	l.status.put(item[box.StatusRecord]{row: box.StatusRecord{Type: box.Stopped, At: now}, size: rowSize, at: now}, hard.Done())
	l.status.stop()
	return errors.Join(err, status())
}

func (l *Listener) stops() bool {
	select {
	case <-l.stopping:
		return true
	default:
		return false
	}
}

// report runs what drops files; the function it returns waits for their end.
func (l *Listener) report(hard context.Context) (wait func() error) {
	return together(
		func() error { return l.results.run(hard) },
		func() error { return l.facts.run(hard) },
		func() error {
			select {
			case <-l.whole:
				return l.presence.run(hard)
			case <-l.presence.stopped:
				return nil
			}
		})
}

// serveAll runs what lets agents and updates in, until intake ends; the first
// that fails ends it. The function it returns waits for their end.
func (l *Listener) serveAll(intake context.Context, stop func(), tcp net.Listener) (wait func() error) {
	orStop := func(f func() error) func() error {
		return func() error {
			err := f()
			if err != nil {
				stop()
			}
			return err
		}
	}
	return together(
		orStop(func() error { return l.serveTCP(intake, tcp) }),
		func() error { l.follow(intake); return nil },
		func() error { l.release(intake); return nil },
		func() error { l.renew(intake); return nil },
		func() error { l.tendMemory(intake); return nil },
		func() error { l.status.minutes(intake); return nil })
}

// turnWorkers is how many sessions have a turn at once, at most.
const turnWorkers = 32

func (l *Listener) startLoop(tcp net.Listener) (err error) {
	if _, sockets := tcp.(*net.TCPListener); !sockets {
		return nil
	}
	l.loop, err = poll.New(turnWorkers)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// dismissAll tells every agent to go away and waits until all are.
func (l *Listener) dismissAll() {
	for _, s := range l.table.close() {
		s.goAway()
	}
	l.sessions.Wait()
	if l.loop != nil {
		l.loop.Close()
	}
}

// start runs f; the function it returns waits for its end.
func start(f func() error) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return func() error { return <-done }
}

func together(fs ...func() error) (wait func() error) {
	waits := make([]func() error, len(fs))
	for i, f := range fs {
		waits[i] = start(f)
	}
	return func() error {
		var all error
		for _, w := range waits {
			all = errors.Join(all, w())
		}
		return all
	}
}

// settled notes that a session got what a push had for it, or never will.
func (l *Listener) settled(p *push) {
	if took, last := p.settled(); last {
		l.count.lastPush.Store(uint64(took))
	}
}
