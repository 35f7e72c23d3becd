package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire"
)

const (
	defaultRetry  = 15 * time.Minute // between two tries of a better carrier
	networkCheck  = 30 * time.Second // between two looks whether the network is another
	briefSession  = time.Minute      // a WebSocket that ends sooner was cut
	tooOftenBrief = 3                // in a row: something in between lets none live
	moveTime      = 10 * time.Second // for the sign-in on a better carrier
	maxWhy        = 1024
)

// Names of the facts that say how the agent is connected.
const (
	factCarrier = "connection.carrier" // tcp, websocket or long-poll
	factWhy     = "connection.why"     // what was wrong with the better ones
	factSince   = "connection.since"   // RFC 3339, by the site's time
)

// A footing is which carrier works, and why no better one. It is a file in the
// agent's folder, so that a restart need not find out again; losing it costs
// only that.
type footing struct {
	Carrier  string    `json:"carrier"`
	Address  string    `json:"address"`
	Why      string    `json:"why,omitempty"`
	Since    time.Time `json:"since"`
	Reported bool      `json:"reported"` // the site has been told
}

// readFooting reads the file; anything that is not right counts as none.
func readFooting(b []byte) (footing, bool) {
	var f footing
	if json.Unmarshal(b, &f) != nil {
		return footing{}, false
	}
	_, err := hostOf(f.Address)
	known := f.Carrier == overTCP || f.Carrier == overWebSocket || f.Carrier == overLongPoll
	return f, known && err == nil && len(f.Why) <= maxWhy
}

func (a *Agent) loadFooting() {
	b, err := readBounded(filepath.Join(a.dir, footingFile), 16<<10)
	if err != nil || b == nil {
		return
	}
	if f, ok := readFooting(b); ok {
		a.footing = f
	}
}

// stand notes that w works. Only TCP from the beginning is nothing to note.
func (a *Agent) stand(w way, why string) {
	f := &a.footing
	switch {
	case f.Carrier == w.carrier && f.Address == w.address:
		return
	case f.Carrier == w.carrier:
		f.Address = w.address
	case f.Carrier == "" && !w.fallback():
		*f = footing{Carrier: w.carrier, Address: w.address, Since: a.clock.stamp(), Reported: true}
		return
	default:
		*f = footing{Carrier: w.carrier, Address: w.address, Why: cut(why, maxWhy), Since: a.clock.stamp()}
		a.cfg.Log.Info("carrier changed", "carrier", f.Carrier, "why", f.Why)
	}
	a.storeFooting()
}

func (a *Agent) storeFooting() {
	b, err := json.MarshalIndent(&a.footing, "", "  ")
	if err == nil {
		err = replace(filepath.Join(a.dir, footingFile), append(b, '\n'), false)
	}
	if err != nil {
		a.cfg.Log.Warn("carrier is not on record", "err", err)
	}
}

// round tries what worked last, and then every way from the best on, until one
// serves. It returns when that session has ended, or when all have failed. From
// *first on the listeners are tried in turn.
func (a *Agent) round(ctx context.Context, first *int) ending {
	if f := a.footing; f.Carrier != overTCP && f.Carrier != "" {
		end := a.serve(ctx, way{f.Carrier, f.Address}, f.Why)
		if end.served > 0 || ctx.Err() != nil || end.close != nil && !end.elsewhere() {
			return end
		}
	}
	var end ending
	var failed []string
	all := a.ways()
	n := a.follow(all, first)
	for i := range all {
		w := all[i]
		if i < n {
			w = all[*first%n]
		}
		end = a.serve(ctx, w, strings.Join(failed, "; "))
		switch {
		case ctx.Err() != nil:
			return end
		case end.elsewhere(): // the listener sends us to another one
		case end.close != nil || end.served > 0:
			return end
		}
		failed = append(failed, because(w, end.cause))
		if i < n {
			*first++
		}
	}
	if len(all) > n {
		end.err = errors.New("connect: " + strings.Join(failed, "; "))
	}
	return end
}

func (e *ending) elsewhere() bool {
	return e.close != nil && e.close.Code >= 2000 && !e.close.Code.Stop()
}

// serve connects to one listener and stays until the connection ends. Why says
// what was wrong with better ways. When a better one works again the session moves
// there.
func (a *Agent) serve(ctx context.Context, w way, why string) ending {
	s, said, err := a.signIn(ctx, w)
	if err != nil {
		a.id.own.refused()
		if said == nil {
			a.tickets.failed(err)
			a.cfg.Log.Debug("connect", "listener", w.address, "carrier", w.carrier, "err", err)
		}
		return ending{err: fmt.Errorf("connect to %s: %w", w.address, err), cause: err, close: said}
	}
	for {
		end, better := a.hold(ctx, s, w, why)
		if better == nil {
			return end
		}
		s, w, why = better.s, better.w, better.why
	}
}

// hold serves a session until it ends; better is the one that takes its place.
func (a *Agent) hold(ctx context.Context, s *session, w way, why string) (end ending, better *move) {
	begun := time.Now()
	a.certificateTaken()
	a.stand(w, why)
	a.attach(s, w)
	told := a.tell(s)
	climb := a.climb(ctx, s, w)
	err := s.run(ctx)
	better = climb()
	told()
	a.detach(s, err)
	end = ending{err: err, cause: err, served: max(1, time.Since(begun)), spread: s.welcome.Spread}
	if refused := (*refusedError)(nil); errors.As(err, &refused) {
		end.close = refused.said
	}
	if w.carrier == overWebSocket && better == nil && ctx.Err() == nil && end.close == nil {
		a.brief(w, end.served)
	}
	return end, better
}

// brief notes how long a WebSocket lived. If none lives, long poll is next.
func (a *Agent) brief(w way, lived time.Duration) {
	if lived >= briefSession {
		a.briefly = 0
		return
	}
	if a.briefly++; a.briefly >= tooOftenBrief {
		a.stand(way{overLongPoll, w.address}, fmt.Sprintf("websocket: cut %d times within %s", a.briefly, briefSession))
	}
}

// tell tells the site how the agent is connected, if that is new. The function
// it returns waits for the end of that, which is at the session's.
func (a *Agent) tell(s *session) (wait func()) {
	f := a.footing
	if f.Reported {
		return func() {}
	}
	m := inventory([]action.Fact{{Name: factCarrier, Value: f.Carrier}, {Name: factWhy, Value: f.Why},
		{Name: factSince, Value: f.Since.UTC().Format(time.RFC3339)}})
	m.At = a.clock.stamp()
	stored := s.expect(m.ID)
	told := make(chan bool, 1)
	go func() {
		defer s.forget(m.ID)
		if s.send(m) != nil {
			told <- false
			return
		}
		select {
		case <-stored:
			told <- true
		case <-s.done:
			told <- false
		}
	}()
	return func() {
		if <-told && a.footing == f {
			a.footing.Reported = true
			a.storeFooting()
		}
	}
}

// A move is a session that takes the place of another.
type move struct {
	s   *session
	w   way
	why string
}

// climb looks for a better way while s lasts, which w led to; when one works it
// signs in there and ends s. The listener takes the new session in place of the
// old one, so the device is online all the while; what was under way comes again
// as after every sign-in. The function that climb returns ends the search.
func (a *Agent) climb(ctx context.Context, s *session, w way) (end func() *move) {
	if !w.fallback() {
		return func() *move { return nil }
	}
	ctx, cancel := context.WithCancel(ctx)
	found := make(chan *move, 1)
	go func() {
		m := a.search(ctx, w)
		found <- m
		if m != nil {
			s.conn.Close()
		}
	}()
	return func() *move {
		cancel()
		return <-found
	}
}

// search tries what is better than w from time to time, until ctx ends.
func (a *Agent) search(ctx context.Context, w way) *move {
	again := time.NewTimer(jitter(a.cfg.RetryCarrier))
	defer again.Stop()
	look := time.NewTicker(networkCheck)
	defer look.Stop()
	network := a.network()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			now := a.network()
			if now == network {
				continue
			}
			network, a.briefly = now, 0 // what cut WebSockets may be in the other network
		case <-again.C:
		}
		if m := a.tryBetter(ctx, w); m != nil {
			return m
		}
		again.Reset(jitter(a.cfg.RetryCarrier))
	}
}

func (a *Agent) tryBetter(ctx context.Context, than way) *move {
	var failed []string
	for _, w := range a.ways() {
		if w.carrier == than.carrier {
			return nil
		}
		if w.carrier == overWebSocket && a.briefly >= tooOftenBrief {
			continue
		}
		// Without a bound a server that never answers would end the search for good.
		short, done := context.WithTimeout(ctx, signInTime)
		conn, err := a.dial(short, w)
		done()
		if err != nil {
			a.cfg.Log.Debug("try better carrier", "listener", w.address, "carrier", w.carrier, "err", err)
			failed = append(failed, because(w, err))
			continue
		}
		// From here on the listener may have taken the new session for the old one:
		// it is not given up because that one has ended.
		on, cancel := context.WithTimeout(context.WithoutCancel(ctx), moveTime)
		s, _, err := a.signInOn(on, conn)
		cancel()
		if err == nil {
			return &move{s, w, strings.Join(failed, "; ")}
		}
		failed = append(failed, because(w, err))
	}
	return nil
}

// signIn connects, proves who both are, and exchanges the first messages. The
// Close is what a listener that does not want this agent says.
func (a *Agent) signIn(ctx context.Context, w way) (*session, *wire.Close, error) {
	ctx, cancel := context.WithTimeout(ctx, signInTime)
	defer cancel()
	conn, err := a.dial(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	return a.signInOn(ctx, conn)
}

func (a *Agent) signInOn(ctx context.Context, conn link) (*session, *wire.Close, error) {
	ctx, cancel := context.WithTimeout(ctx, signInTime)
	defer cancel()
	s := a.newSession(conn)
	said, err := s.greet(ctx)
	if err != nil {
		conn.Close()
		return nil, said, err
	}
	return s, nil, nil
}

// addressesOf says by which addresses this machine is in which networks: when
// that changes, another carrier may work.
func addressesOf() string {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	var b strings.Builder
	for _, address := range all {
		b.WriteString(address.String())
		b.WriteByte(' ')
	}
	return b.String()
}
