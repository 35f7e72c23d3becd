package listener

import (
	"context"
	"crypto/tls"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/carrier"
)

const (
	deviceConnections   = 8    // to the HTTPS port, of one device
	outpostConnections  = 64   // of one listener
	outpostsConnections = 1024 // of all listeners
	deviceOpens         = 10   // sessions that one device may begin over HTTPS at once, and one more each second
)

// A fallback is what the HTTPS port has for devices that cannot come over TCP:
// their sessions begin as HTTP requests, and are those of accept.go from then on.
// They and their connections are counted apart from those of strangers, so that
// neither leaves the other without a place.
type fallback struct {
	polls *carrier.Polls
	most  int // sessions; twice as many connections, for a poll needs two
	opens joins

	connections *places[uint32] // of devices
	outposts    *places[string] // connections of listeners that run apart

	mu       sync.Mutex
	ctx      context.Context // of the intake
	stopped  bool
	sessions int
}

func newFallback(most int) *fallback {
	return &fallback{most: most, ctx: context.Background(), connections: newPlaces[uint32](2*most, deviceConnections),
		outposts: newPlaces[string](outpostsConnections, outpostConnections),
		opens:    joins{every: 1, burst: deviceOpens, most: max(maxJoinAddresses, 2*most)},
		polls: carrier.NewPolls(most, func(w http.ResponseWriter, status int, title, detail string) {
			problem(w, &JoinRefused{status, title, detail})
		})}
}

// places count what is bounded in all, and for each owner.
type places[K comparable] struct {
	most, each int

	mu    sync.Mutex
	of    map[K]int
	total int
}

func newPlaces[K comparable](most, each int) *places[K] {
	return &places[K]{most: most, each: each, of: make(map[K]int)}
}

// place takes a place; release gives it back, once.
func (p *places[K]) place(owner K) (release func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total >= p.most || p.of[owner] >= p.each {
		return nil, false
	}
	p.total++
	p.of[owner]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.total--
		if p.of[owner]--; p.of[owner] == 0 {
			delete(p.of, owner)
		}
	}, true
}

// serve lets sessions begin until ctx ends.
func (f *fallback) serve(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ctx = ctx
}

// stop lets no session begin any more.
func (f *fallback) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
}

// overWebSocket serves [carrier.WebSocketPath].
func (l *Listener) overWebSocket(w http.ResponseWriter, r *http.Request) {
	id, ok := l.deviceOf(w, r)
	if !ok {
		return
	}
	if r.ProtoMajor != 1 || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Upgrade", "websocket")
		problem(w, &JoinRefused{http.StatusUpgradeRequired, "Upgrade required", "a WebSocket must be asked for, over HTTP/1.1"})
		return
	}
	b, no := l.admitFallback(id, peerOf(r))
	if no != nil {
		l.answerRefused(w, r, no)
		return
	}
	conn, err := carrier.AcceptWebSocket(w, r)
	if err != nil {
		b.abandon()
		return
	}
	if !b.begin(conn, carrierWebSocket) {
		conn.Close()
	}
}

// overPoll serves [carrier.PollPath].
func (l *Listener) overPoll(w http.ResponseWriter, r *http.Request) {
	id, ok := l.deviceOf(w, r)
	if !ok {
		return
	}
	l.fallback.polls.Serve(w, r, strconv.FormatUint(uint64(id.Device), 10), func(conn carrier.Conn) error {
		b, no := l.admitFallback(id, peerOf(r))
		if no != nil {
			l.answerRefused(w, r, no)
			return no
		}
		if !b.begin(conn, carrierLongPoll) {
			l.answerRefused(w, r, tryLater(errStops.Error()))
			return errStops
		}
		return nil
	})
}

func tryLater(detail string) *JoinRefused {
	return &JoinRefused{http.StatusServiceUnavailable, "Try again later", detail}
}

func (l *Listener) answerRefused(w http.ResponseWriter, r *http.Request, no *JoinRefused) {
	l.refuse("listener", peerOf(r), no.Detail)
	problem(w, no)
}

// deviceOf returns the device of the certificate that the connection has shown.
// If that is none of the site, or there is no place for one more connection of
// it, the request has been answered.
func (l *Listener) deviceOf(w http.ResponseWriter, r *http.Request) (wire.Identity, bool) {
	c, _ := r.Context().Value(connectionKey{}).(*counted)
	if c != nil {
		if id, known := c.of(); known {
			return id, true
		}
	}
	id, no := l.identify(r.TLS)
	if no == nil {
		if c == nil || l.moveDevice(c, id) {
			return id, true
		}
		w.Header().Set("Connection", "close")
		no = tryLater("too many connections of devices")
	} else if !l.joins.allow(peerOf(r), time.Now()) {
		no = &JoinRefused{http.StatusTooManyRequests, "Too many requests", "too many requests without a certificate come from this address"}
	}
	l.answerRefused(w, r, no)
	return wire.Identity{}, false
}

func (l *Listener) identify(state *tls.ConnectionState) (wire.Identity, *JoinRefused) {
	unknown := func(detail string) *JoinRefused {
		return &JoinRefused{http.StatusUnauthorized, "Certificate required", detail}
	}
	if state == nil || len(state.PeerCertificates) == 0 {
		return wire.Identity{}, unknown("no certificate")
	}
	if l.verified.check(state.PeerCertificates[:1], time.Now()) != nil { // the port also takes one that has ended
		return wire.Identity{}, unknown("certificate is not valid here")
	}
	id, err := wire.IdentityOf(state.PeerCertificates[0])
	switch {
	case err != nil:
		return id, unknown(wire.ErrNoIdentity.Error())
	case id.Site != l.cfg.Site:
		return id, unknown(errOtherSite.Error())
	}
	return id, nil
}

// A beginning is a session that has a place and no connection yet.
type beginning struct {
	l       *Listener
	id      wire.Identity
	address string
	leave   func() // gives the place among strangers back
}

// admitFallback decides whether a device may begin a session. One of begin and
// abandon must follow.
func (l *Listener) admitFallback(id wire.Identity, address string) (*beginning, *JoinRefused) {
	f := l.fallback
	if !f.opens.allow(strconv.FormatUint(uint64(id.Device), 10), time.Now()) {
		return nil, &JoinRefused{http.StatusTooManyRequests, "Too many requests", "too many sessions of one device"}
	}
	leave, ok := l.signing.place(address)
	if !ok {
		return nil, tryLater(tooManyOfAddress)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped || f.sessions >= f.most {
		leave()
		return nil, tryLater("too many sessions over HTTPS")
	}
	f.sessions++
	return &beginning{l, id, address, sync.OnceFunc(leave)}, nil
}

func (b *beginning) abandon() {
	b.leave()
	b.l.fallback.mu.Lock()
	defer b.l.fallback.mu.Unlock()
	b.l.fallback.sessions--
}

// begin serves conn in the background; false means that the listener stops.
func (b *beginning) begin(conn carrier.Conn, by uint8) bool {
	f := b.l.fallback
	f.mu.Lock()
	ctx, ok := f.ctx, !f.stopped
	if ok {
		b.l.count.connections.Add(1)
		b.l.sessions.Go(func() {
			defer b.l.count.connections.Add(-1)
			defer b.abandon()
			defer conn.Close()
			b.l.converse(ctx, conn, conn, by, b.id, b.address, func() bool { b.leave(); return true })
		})
	}
	f.mu.Unlock()
	if !ok {
		b.abandon()
	}
	return ok
}
