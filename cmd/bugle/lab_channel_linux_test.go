package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/console"
)

// LAB_ROUNDS is how many rounds of faults this test makes; the default is for
// every change. For the figure:
//
//	LAB_ROUNDS=200 go test ./cmd/bugle -run TestChannelUnderFaults -v -timeout 2h

// TestChannelUnderFaults kills agents, listeners and the site, cuts, stalls and
// throttles connections, and sets clocks wrong by up to three hours, while
// operations with short and long deadlines are pushed. Then all goes on undisturbed
// until every operation has ended, and what the site knows is held against what
// the executables wrote themselves: nothing acknowledged is lost, nothing that may
// start once started twice, nothing started after its deadline.
func TestChannelUnderFaults(t *testing.T) {
	t.Parallel()
	rounds, seed := number(t, "LAB_ROUNDS", 3), seedOf(t)
	t.Logf("seed %d", seed)
	total, began := newTally(), time.Now()
	for done := 0; done < rounds && !t.Failed(); done += roundsPerSite {
		t.Run(fmt.Sprint("from ", done), func(t *testing.T) {
			n := min(roundsPerSite, rounds-done)
			l := newChannelLab(t, seed+uint64(done), total, n > fewRounds)
			l.disturb(n)
			l.heal()
			l.judge()
		})
	}
	total.report(t, time.Since(began))
	for _, f := range channelFaults {
		if rounds >= 100 && !t.Failed() && total.hit[f.name] == 0 {
			t.Errorf("%s never hit anything in flight", f.name)
		}
	}
	if total.pairs == 0 || total.started == 0 {
		t.Error("nothing was in flight")
	}
}

const (
	// roundsPerSite is how many rounds one site lives through; the next begins
	// from nothing.
	roundsPerSite = 20
	// fewRounds are so few that the fleet is small and deadlines are near.
	fewRounds = 5
)

// A channelLab is a site, listeners that run apart, and agents, with fronts
// before all of them.
type channelLab struct {
	*lab
	large    bool
	front    string // the address at which the site is reached
	fronts   []*front
	posts    []*outside
	soldiers []*soldier
	tally    *tally

	siteMu sync.Mutex // who kills and starts the site
	mu     sync.Mutex
	faults []happened        // guarded by mu
	keys   map[string]string // guarded by mu: operations by the key of the push
}

// An outside is a listener that runs apart.
type outside struct {
	name, ip, front string
	mu              sync.Mutex // who kills and starts it
	process         *process
}

func newChannelLab(t *testing.T, seed uint64, total *tally, large bool) *channelLab {
	t.Helper()
	t.Logf("seed %d", seed)
	l := &channelLab{
		lab: &lab{world: &world{t: t, dir: t.TempDir(), ip: address(t, 30)}, records: newRecords(),
			random: rand.New(rand.NewPCG(seed, 4)), moments: map[string]int{}},
		large: large, front: address(t, 31), tally: total, keys: map[string]string{},
	}
	t.Cleanup(l.end)
	l.stand(l.front, l.ip, 10123, 10443, 10124)
	l.serveSite()
	l.learn()
	l.api.http.Transport = keyed{l.api.http.Transport}
	l.text("policy", "set", "keepAliveSeconds=3", "policyPollSeconds=10")
	l.token = l.newToken()
	posts, shipped, children := 1, 1, 3
	if large {
		posts, shipped, children = 2, 3, 4
	}
	for i := range posts {
		l.post(i)
	}
	for i := range shipped + children {
		l.recruit(i, i >= shipped)
	}
	l.until("all agents are online", func() bool { return l.online() == len(l.soldiers) })
	for _, d := range l.devices() {
		for _, s := range l.soldiers {
			if s.name == d.Name {
				s.number = uint32(d.Number)
			}
		}
	}
	return l
}

// stand puts fronts at one address before another.
func (l *channelLab) stand(at, before string, ports ...int) {
	for _, p := range ports {
		l.fronts = append(l.fronts, newFront(l.t, fmt.Sprint(at, ":", p), fmt.Sprint(before, ":", p)))
	}
}

// serveSite starts the site and waits until it is ready.
func (l *channelLab) serveSite() {
	l.site = l.run(exec.Command(binary(l.t, "bugle"), "serve", "--data", l.data(), "--hosts", l.front+","+l.ip,
		"--listen-tcp", l.ip+":10123", "--listen-http", l.ip+":10443", "--listen-feed", l.ip+":10124", "--console", l.ip+":8443",
		"--keep-alive", "3s", "--snapshot-every", "5s", "--per-address", "200"))
	if !l.ready(nil) {
		<-l.site.done
		l.t.Errorf("the site did not start: %v\n%s", l.site.err, l.site.said())
	}
}

// post starts a listener that runs apart, which joins.
func (l *channelLab) post(i int) {
	l.t.Helper()
	p := &outside{name: []string{"EAST01", "WEST01"}[i], ip: address(l.t, 32+2*i), front: address(l.t, 33+2*i)}
	l.stand(p.front, p.ip, 10123, 10443)
	l.posts = append(l.posts, p)
	var reply console.TokenReply
	if err := l.api.call(l.t.Context(), http.MethodPost, console.PathTokens, console.TokenRequest{Listener: p.name}, &reply); err != nil {
		l.t.Fatal(err)
	}
	l.listen(p, "--join", reply.Token)
	p.process.await("listener is ready")
}

func (l *channelLab) listen(p *outside, more ...string) {
	p.process = l.run(exec.Command(binary(l.t, "bugle"), append([]string{"listener", "--data", filepath.Join(l.dir, p.name),
		"--site-url", "https://" + l.front + ":10443", "--hosts", p.front, "--listen-tcp", p.ip + ":10123", "--listen-http", p.ip + ":10443",
		"--per-address", "200", "--drain", "0s"}, more...)...))
}

// recruit starts an agent. Every other child reaches no listener but the site's.
func (l *channelLab) recruit(i int, child bool) {
	l.t.Helper()
	s := &soldier{name: fmt.Sprint("pc", i+1)}
	s.dir = filepath.Join(l.dir, s.name)
	if err := os.MkdirAll(s.kinds(), 0o700); err != nil {
		l.t.Fatal(err)
	}
	if err := layKinds(s.kinds()); err != nil {
		l.t.Fatal(err)
	}
	if child {
		s.child = &childSetting{Dir: filepath.Join(s.dir, "agent"), Name: s.name, Site: l.front + ":10443", Token: l.token,
			Kinds: s.kinds(), Skew: l.someSkew(), Via: map[string]string{}}
		for _, port := range []string{":10123", ":10443"} {
			s.child.Via[l.ip+port] = l.front + port
			for _, p := range l.posts {
				if i%2 == 0 {
					s.child.Via[p.front+port] = ""
				}
			}
		}
	}
	l.soldiers = append(l.soldiers, s)
	l.enlist(s)
}

func (l *channelLab) someSkew() time.Duration {
	return time.Duration(l.random.Int64N(int64(6*time.Hour))) - 3*time.Hour
}

// end leaves nothing behind.
func (l *channelLab) end() {
	for _, s := range l.soldiers {
		if s.process != nil {
			s.process.kill()
			s.keepLog()
		}
	}
	for _, p := range l.posts {
		p.process.kill()
	}
	if l.site != nil {
		l.site.kill()
	}
	if !l.t.Failed() {
		return
	}
	dir, err := os.MkdirTemp("", "bugle-channel-")
	if err != nil {
		l.t.Log(err)
		return
	}
	keep := func(name, text string) {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	for _, s := range l.soldiers {
		keep(s.name+".log", s.logs.String())
		truth, _ := os.ReadFile(filepath.Join(s.dir, "truth"))
		keep(s.name+".truth", string(truth))
	}
	for _, name := range append([]string{"site"}, l.postNames()...) {
		err = errors.Join(err, os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(l.dir, name, "logs"))))
	}
	keep("faults", l.story())
	l.t.Logf("what all of them said is in %s (%v)", dir, err)
}

func (l *channelLab) postNames() (all []string) {
	for _, p := range l.posts {
		all = append(all, p.name)
	}
	return all
}

// keyed sends the idempotency key that a call's context holds.
type keyed struct{ http.RoundTripper }

type keyOfPush struct{}

func (k keyed) RoundTrip(r *http.Request) (*http.Response, error) {
	if key, ok := r.Context().Value(keyOfPush{}).(string); ok {
		r = r.Clone(r.Context())
		r.Header.Set("Idempotency-Key", key)
	}
	return k.RoundTripper.RoundTrip(r)
}

// pushes pushes until ctx ends. A push that was not answered is asked for again,
// with its key, until it is.
func (l *channelLab) pushes(ctx context.Context, random *rand.Rand) {
	n := 0
	push := func(in console.PushRequest) string {
		n++
		return l.pushUntil(l.t.Context(), fmt.Sprint("lab-", n), in)
	}
	for ctx.Err() == nil && !l.t.Failed() {
		in := l.somePush(random)
		id := push(in)
		switch {
		case random.IntN(12) == 0 && in.DeliverBySeconds == longDeliver:
			l.cancelSoon(random, id)
		case random.IntN(12) == 0: // more than run at once, so that some wait for their turn until it is too late
			in = console.PushRequest{Kind: kindSlow, All: true, DeliverBySeconds: int64(2 + random.IntN(2)), Reason: "burst"}
			for range 10 {
				push(in)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(50+random.IntN(700)) * time.Millisecond):
		}
	}
}

// longDeliver is a deadline, in seconds, that never comes in a test.
const longDeliver = 3600

func (l *channelLab) somePush(random *rand.Rand) console.PushRequest {
	in := console.PushRequest{Reason: "laboratory", DeliverBySeconds: longDeliver}
	in.Priority = uint8(1 + random.IntN(3))
	in.Kind = []string{kindQuick, kindQuick, kindSlow, kindSlow, kindAgain, kindDurable}[random.IntN(6)]
	if random.IntN(100) < 60 {
		in.DeliverBySeconds = int64(1 + random.IntN(4))
		if l.large && random.IntN(2) == 0 {
			in.DeliverBySeconds = int64(5 + random.IntN(26))
		}
	}
	if in.All = in.Kind != kindDurable; !in.All {
		for _, s := range l.soldiers {
			if s.child != nil {
				in.Devices = append(in.Devices, s.name)
			}
		}
	}
	return in
}

// pushUntil returns the operation once the push is acknowledged.
func (l *channelLab) pushUntil(ctx context.Context, key string, in console.PushRequest) string {
	ctx = context.WithValue(ctx, keyOfPush{}, key)
	for limit := time.Now().Add(patience); ; {
		var reply console.PushReply
		err := l.api.call(ctx, http.MethodPost, console.PathOperations, in, &reply)
		if err == nil {
			l.records.add("operation " + reply.Operation)
			l.mu.Lock()
			l.keys[key] = reply.Operation
			l.mu.Unlock()
			return reply.Operation
		}
		if ctx.Err() != nil || time.Now().After(limit) {
			l.t.Errorf("push %s is not acknowledged: %v", key, err)
			return ""
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// cancelSoon cancels an operation that is under way; that it is refused, or not
// answered, is as good.
func (l *channelLab) cancelSoon(random *rand.Rand, id string) {
	time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond) // where the cancel falls is the test's subject
	var reply json.RawMessage
	path := strings.Replace(console.PathOperationCancel, "{id}", id, 1)
	if l.api.call(l.t.Context(), http.MethodPost, path, console.ReasonRequest{Reason: "laboratory"}, &reply) == nil {
		l.tally.add(&l.tally.cancels, 1)
	}
}

// disturb makes so many rounds of faults while operations are pushed.
func (l *channelLab) disturb(rounds int) {
	ctx, cancel := context.WithCancel(l.t.Context())
	var pushing sync.WaitGroup
	random := rand.New(rand.NewPCG(l.random.Uint64(), 5))
	pushing.Go(func() { l.pushes(ctx, random) })
	for l.cycles = 1; l.cycles <= rounds && !l.t.Failed(); l.cycles++ {
		l.round()
	}
	cancel()
	pushing.Wait()
	l.api.http.CloseIdleConnections()
}

// round makes one to three faults at once, and lets a moment pass. The first of them
// takes turns, so that none is left to chance.
func (l *channelLab) round() {
	var all sync.WaitGroup
	turn := &channelFaults[(l.cycles-1)%len(channelFaults)]
	faults := []*channelFault{turn}
	for range l.random.IntN(3) {
		if f := &channelFaults[l.random.IntN(len(channelFaults))]; !slices.Contains(faults, f) {
			faults = append(faults, f)
		}
	}
	for _, f := range faults {
		random := rand.New(rand.NewPCG(l.random.Uint64(), 6))
		all.Go(func() {
			l.pass(time.Duration(random.IntN(1500)) * time.Millisecond) // where a fault falls is the test's subject
			f.do(l, random)
		})
	}
	all.Wait()
	l.pass(time.Duration(200+l.random.IntN(1300)) * time.Millisecond)
}
