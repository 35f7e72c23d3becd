package listener

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/carrier"
)

// JoinRefused is an error of [Config.Join] that the device is told.
type JoinRefused struct {
	Status int    // an HTTP status, 400 to 599
	Title  string // the same for every refusal of this kind
	Detail string // what is wrong with this one, for people
}

func (e *JoinRefused) Error() string { return "join refused: " + e.Title + ": " + e.Detail }

// RoutesPath is where the HTTPS port serves [Config].Routes.
const RoutesPath = "/relay/"

// Handler returns what the HTTPS port serves: POST [wire.JoinPath] for devices
// that have no certificate yet, the carriers for those that have one
// ([carrier.WebSocketPath], [carrier.PollPath]), [wire.LogsPath] for what they
// collected, and GET /livez. Errors are
// problems by RFC 9457 ([wire.JoinError]).
func (l *Listener) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte("ok\n"))
	})
	mux.HandleFunc(wire.JoinPath, l.join)
	mux.HandleFunc(wire.RenewPath, l.revive)
	mux.HandleFunc(wire.LogsPath, l.takeLogs)
	mux.HandleFunc(carrier.WebSocketPath, l.overWebSocket)
	mux.HandleFunc(carrier.PollPath, l.overPoll)
	mux.HandleFunc(carrier.PollPath+"/", l.overPoll)
	if l.cfg.Routes != nil {
		mux.Handle(RoutesPath, l.cfg.Routes)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem(w, &JoinRefused{http.StatusNotFound, "Not found", "there is nothing at " + r.URL.Path})
	})
	return mux
}

func (l *Listener) join(w http.ResponseWriter, r *http.Request) {
	address := peerOf(r)
	reply, err := l.answerJoin(w, r, address)
	if err == nil {
		l.budgets.give(address, time.Now())
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		json.NewEncoder(w).Encode(reply)
		return
	}
	var no *JoinRefused
	if !errors.As(err, &no) {
		l.cfg.Log.Error("join failed", "listener", l.cfg.Name, "address", address, "err", err)
		no = &JoinRefused{http.StatusServiceUnavailable, "Try again later", "the site cannot take devices at the moment"}
	}
	l.refuse("join", address, no.Title)
	problem(w, no)
}

func (l *Listener) answerJoin(w http.ResponseWriter, r *http.Request, address string) (wire.JoinReply, error) {
	var none wire.JoinReply
	if l.stops() {
		return none, tryLater(errStops.Error())
	}
	if l.cfg.Join == nil {
		return none, &JoinRefused{http.StatusNotFound, "Not found", "devices cannot join at this listener"}
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return none, &JoinRefused{http.StatusMethodNotAllowed, "Method not allowed", "a join request is a POST"}
	}
	if !l.joins.allow(address, time.Now()) {
		return none, &JoinRefused{http.StatusTooManyRequests, "Too many requests", "too many join requests come from this address"}
	}
	req, err := readJoin(w, r)
	if err != nil {
		return none, err
	}
	defer awaited(r)()
	return l.cfg.Join(r.Context(), req, address)
}

func readJoin(w http.ResponseWriter, r *http.Request) (req wire.JoinRequest, err error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return req, &JoinRefused{http.StatusUnsupportedMediaType, "Unsupported media type", "a join request is application/json"}
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, wire.MaxJoin))
	err = d.Decode(&req)
	if err == nil && d.More() {
		err = errors.New("more than one value")
	}
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return req, &JoinRefused{http.StatusRequestEntityTooLarge, "Request too large", fmt.Sprintf("a join request has at most %d bytes", wire.MaxJoin)}
	case err != nil:
		return req, &JoinRefused{http.StatusBadRequest, "Malformed request", "body is not a join request in JSON"}
	}
	return req, nil
}

func problem(w http.ResponseWriter, no *JoinRefused) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	later := no.Status == http.StatusTooManyRequests || no.Status == http.StatusServiceUnavailable
	if later && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", "5")
	}
	w.WriteHeader(no.Status)
	json.NewEncoder(w).Encode(&wire.JoinError{Title: no.Title, Status: no.Status, Detail: no.Detail})
}

func peerOf(r *http.Request) string {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return addressOf(net.TCPAddrFromAddrPort(ap))
}

const maxJoinAddresses = 4096

// joins caps the join requests of each address.
type joins struct {
	every float64 // requests a second
	burst int
	most  int // addresses; 0 is maxJoinAddresses

	mu        sync.Mutex
	since     time.Time // of the pacers
	addresses map[string]pacer
}

func (j *joins) allow(address string, now time.Time) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	p, known := j.addresses[address]
	if !known {
		most := cmp.Or(j.most, maxJoinAddresses)
		if len(j.addresses) >= most {
			j.forget(now)
		}
		if len(j.addresses) >= most {
			return false
		}
		if j.addresses == nil {
			j.addresses, j.since = make(map[string]pacer), now
		}
	}
	ok := p.wait(now.Sub(j.since), apart(j.every), j.burst) == 0
	if ok {
		p = p.after(now.Sub(j.since), apart(j.every))
	}
	j.addresses[address] = p
	return ok
}

// forget drops the addresses that have been quiet for so long that they may do
// all that a new one may.
func (j *joins) forget(now time.Time) {
	for a, p := range j.addresses {
		if now.Sub(j.since) >= time.Duration(p) {
			delete(j.addresses, a)
		}
	}
}
