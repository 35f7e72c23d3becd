package relay

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// ServerConfig is what a [Server] needs of its site. Functions are called from
// many goroutines at once. Of those that answer for somebody else a
// [*listener.JoinRefused] is told; any other error is logged and becomes "try
// again". What is nil is not to be had here.
type ServerConfig struct {
	Site      string
	ClientCAs func() *x509.CertPool // who may vouch for listeners
	// Admit says which listener shows a certificate, or why it is not let in, such as
	// one that was revoked.
	Admit     func(*x509.Certificate) (wire.ListenerIdentity, error)
	SpeaksFor func(name string, device uint32) bool                     // whether it may ask about a device
	Key       func(name string, epoch uint32) (ed25519.PublicKey, bool) // that its files are signed with
	Describe  func() Site                                               // for who is about to serve

	// Deliver puts files into the inbox, as [box.Deliver] does. It is called for one
	// request of a listener at a time.
	Deliver func(files []box.Raw) (done int, err error)

	// StoreLog keeps what a device collected, as listener.Config's does. It checks
	// whether the operation asks the device for it.
	StoreLog func(ctx context.Context, device uint32, operation task.ID, sum [32]byte, size int64, body io.Reader) error

	Beacon    func(nonce [16]byte) ([]byte, error)
	Policy    func(device uint32, user string) (listener.Policy, error)
	KeepAlive func(device uint32) time.Duration
	Join      func(ctx context.Context, req wire.JoinRequest, address string) (wire.JoinReply, error)
	Renew     func(ctx context.Context, device uint32, request wire.Renew) (certificate []byte, err error) // checks its proof

	JoinListener  func(ctx context.Context, req wire.ListenerJoinRequest) (wire.ListenerJoinReply, error)
	RenewListener func(ctx context.Context, name string, csr []byte) (wire.ListenerRenewReply, error)
	NextEpoch     func(ctx context.Context, name string, key []byte) (epoch uint32, err error)

	Log *slog.Logger // default slog.Default()
}

// Bounds of a server.
const (
	uploads      = 4    // requests with files that are read at once, of all listeners
	perSecond    = 4000 // requests of one listener
	burst        = 40_000
	joinsASecond = 2 // of listeners, from all addresses
	joinBurst    = 50

	slowBody = 2 * time.Minute // for a request with files
)

// A Server answers listeners. It is a handler for [Prefix].
type Server struct {
	cfg   ServerConfig
	mux   *http.ServeMux
	slots chan struct{}
	logs  chan struct{} // a slot for each body with logs under way
	joins *rate.Limiter

	mu        sync.Mutex
	listeners map[string]*guest // admitted ones only
}

// A guest is a listener that has asked for something.
type guest struct {
	rate      *rate.Limiter
	uploading sync.Mutex
	heard     time.Time // when files of it were last taken; under the server's mu
}

// NewServer makes the handler.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Site == "" || cfg.ClientCAs == nil || cfg.Admit == nil || cfg.SpeaksFor == nil || cfg.Describe == nil ||
		cfg.Key == nil || cfg.Deliver == nil || cfg.Beacon == nil || cfg.Policy == nil || cfg.KeepAlive == nil {
		return nil, errors.New("make relay: site, admission, inbox, beacon or policy is missing")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), slots: make(chan struct{}, uploads), logs: make(chan struct{}, logUploads),
		joins: rate.NewLimiter(joinsASecond, joinBurst), listeners: make(map[string]*guest)}
	s.routes()
	return s, nil
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Heard is when files of a listener were last taken, zero if none were since the
// server was made.
func (s *Server) Heard(name string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.listeners[name]; g != nil {
		return g.heard
	}
	return time.Time{}
}

func (s *Server) routes() {
	s.mux.HandleFunc("POST "+filesPath, s.files)
	if s.cfg.StoreLog != nil {
		s.mux.HandleFunc("PUT "+logsPath+"{operation}", s.takeLogs)
	}
	s.mux.Handle("GET "+sitePath, answer(s, func(context.Context, string, struct{}) (Site, error) { return s.cfg.Describe(), nil }))
	s.mux.Handle("POST "+beaconPath, answer(s, s.beacon))
	s.mux.Handle("POST "+policyPath, answer(s, s.policy))
	if s.cfg.Join != nil {
		s.mux.Handle("POST "+joinPath, answer(s, func(ctx context.Context, _ string, q joinRequest) (wire.JoinReply, error) {
			return s.cfg.Join(ctx, q.Request, q.Address)
		}))
	}
	if s.cfg.Renew != nil {
		s.mux.Handle("POST "+renewPath, answer(s, s.renew))
	}
	if s.cfg.JoinListener != nil {
		s.mux.HandleFunc("POST "+listenerJoinPath, s.joinListener)
	}
	if s.cfg.RenewListener != nil {
		s.mux.Handle("POST "+listenerRenewPath, answer(s, func(ctx context.Context, name string, q wire.RenewRequest) (wire.ListenerRenewReply, error) {
			return s.cfg.RenewListener(ctx, name, q.CSR)
		}))
	}
	if s.cfg.NextEpoch != nil {
		s.mux.Handle("POST "+listenerEpochPath, answer(s, func(ctx context.Context, name string, q wire.ListenerEpochRequest) (wire.ListenerEpochReply, error) {
			epoch, err := s.cfg.NextEpoch(ctx, name, q.BoxKey)
			return wire.ListenerEpochReply{Epoch: epoch}, err
		}))
	}
}

// answer makes a handler of what answers a listener: JSON to JSON.
func answer[Q, A any](s *Server, do func(ctx context.Context, name string, q Q) (A, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _, err := s.admit(r)
		if err != nil {
			s.problem(w, r, err)
			return
		}
		reply(s, w, r, name, do)
	})
}

func reply[Q, A any](s *Server, w http.ResponseWriter, r *http.Request, name string, do func(ctx context.Context, name string, q Q) (A, error)) {
	var q Q
	err := readJSON(w, r, &q)
	var a A
	if err == nil {
		a, err = do(r.Context(), name, q)
	}
	if err != nil {
		s.problem(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(a)
}

func readJSON(w http.ResponseWriter, r *http.Request, to any) error {
	if r.Method == http.MethodGet {
		return nil
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJSON))
	err := d.Decode(to)
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return refuse(http.StatusRequestEntityTooLarge, "Request too large", fmt.Sprintf("at most %d bytes are taken", maxJSON))
	case err != nil || d.More():
		return refuse(http.StatusBadRequest, "Malformed request", "the body is not what belongs there")
	}
	return nil
}

func refuse(status int, title, detail string) error {
	return &listener.JoinRefused{Status: status, Title: title, Detail: detail}
}

var errStranger = refuse(http.StatusForbidden, "Not admitted", "this is for listeners of the site, and the certificate names none that it admits")

// admit returns which listener asks.
func (s *Server) admit(r *http.Request) (name string, g *guest, err error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "", nil, errStranger
	}
	chain := r.TLS.PeerCertificates
	id, err := s.cfg.Admit(chain[0])
	if s.verify(chain, err != nil || r.URL.Path == listenerRenewPath) != nil {
		return "", nil, errStranger
	}
	if err != nil {
		if no, ok := errors.AsType[*listener.JoinRefused](err); ok {
			return "", nil, no // it has, or had, a certificate of the site, and may know
		}
		return "", nil, errStranger
	}
	g = s.guest(id.Name)
	if !g.rate.Allow() {
		return "", nil, refuse(http.StatusTooManyRequests, "Too many requests", "this listener asks too often")
	}
	return id.Name, g, nil
}

// verify checks the certificate again, whatever the port that serves this lets
// pass for others. To renew, one that has ended will do, if Admit takes it.
func (s *Server) verify(chain []*x509.Certificate, ended bool) error {
	now := time.Now()
	if ended && now.After(chain[0].NotAfter) {
		now = chain[0].NotAfter
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: s.cfg.ClientCAs(), Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}

func (s *Server) guest(name string) *guest {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.listeners[name]
	if g == nil {
		g = &guest{rate: rate.NewLimiter(perSecond, burst)}
		s.listeners[name] = g
	}
	return g
}

func (s *Server) beacon(_ context.Context, _ string, q beaconRequest) (a beaconReply, err error) {
	var nonce [16]byte
	if len(q.Nonce) != 0 && len(q.Nonce) != len(nonce) {
		return a, refuse(http.StatusBadRequest, "Malformed request", "a nonce has 16 bytes")
	}
	copy(nonce[:], q.Nonce)
	a.Beacon, err = s.cfg.Beacon(nonce)
	return a, err
}

var errScope = refuse(http.StatusForbidden, "Not its device", "the listener may not speak for this device")

func (s *Server) policy(_ context.Context, name string, q policyRequest) (a policyReply, err error) {
	if !s.cfg.SpeaksFor(name, q.Device) {
		return a, errScope
	}
	if len(q.Known) > maxKnown {
		return a, refuse(http.StatusBadRequest, "Malformed request", fmt.Sprintf("more than %d ETags", maxKnown))
	}
	p, err := s.cfg.Policy(q.Device, q.User)
	if err != nil {
		return a, err
	}
	a = policyReply{ETag: p.ETag, Signed: p.Signed, Proofs: p.Proofs}
	if slices.Contains(q.Known, p.ETag) {
		a.Signed = nil
	}
	if q.User == "" {
		a.KeepAlive = s.cfg.KeepAlive(q.Device)
	}
	return a, nil
}

func (s *Server) renew(ctx context.Context, name string, q renewRequest) (a renewReply, err error) {
	if !s.cfg.SpeaksFor(name, q.Device) {
		return a, errScope
	}
	a.Certificate, err = s.cfg.Renew(ctx, q.Device, wire.Renew{CSR: q.CSR, Proof: q.Proof})
	return a, err
}

// joinListener is the one request without a certificate.
func (s *Server) joinListener(w http.ResponseWriter, r *http.Request) {
	if !s.joins.Allow() {
		w.Header().Set("Retry-After", "5")
		s.problem(w, r, refuse(http.StatusTooManyRequests, "Too many requests", "too many listeners ask to join"))
		return
	}
	reply(s, w, r, "", func(ctx context.Context, _ string, q wire.ListenerJoinRequest) (wire.ListenerJoinReply, error) {
		return s.cfg.JoinListener(ctx, q)
	})
}

// files takes files into the inbox.
func (s *Server) files(w http.ResponseWriter, r *http.Request) {
	name, g, err := s.admit(r)
	if err != nil {
		s.problem(w, r, err)
		return
	}
	patient := http.NewResponseController(w)
	patient.SetReadDeadline(time.Time{}) // for its turn may come later than the server gives a request
	patient.SetWriteDeadline(time.Time{})
	g.uploading.Lock()
	defer g.uploading.Unlock()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-r.Context().Done():
		return
	}
	until := time.Now().Add(slowBody)
	patient.SetReadDeadline(until)
	patient.SetWriteDeadline(until)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		s.problem(w, r, refuse(http.StatusBadRequest, "Malformed request", "the files did not come whole, or are too long"))
		return
	}
	files, err := parseFiles(body)
	if err != nil {
		s.problem(w, r, refuse(http.StatusBadRequest, "Malformed request", err.Error()))
		return
	}
	s.take(w, r, name, files)
}

// take delivers the files in front of the first that cannot be taken.
func (s *Server) take(w http.ResponseWriter, r *http.Request, name string, files []box.Raw) {
	good, no := 0, error(nil)
	for good < len(files) {
		if no = s.check(name, &files[good]); no != nil {
			break
		}
		good++
	}
	taken, err := 0, error(nil)
	if good > 0 {
		taken, err = s.cfg.Deliver(files[:good])
	}
	switch {
	case errors.Is(err, box.ErrTaken):
		no = refuse(http.StatusConflict, "Another file has this name", err.Error())
	case err != nil:
		no = err
	}
	if taken > 0 {
		g := s.guest(name)
		s.mu.Lock()
		g.heard = time.Now()
		s.mu.Unlock()
	}
	a, status := filesReply{Taken: taken}, http.StatusOK
	if no != nil {
		said := s.told(r, no)
		status, a.Title, a.Detail = said.Status, said.Title, said.Detail
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(a)
}

// check looks at a file as the inbox will, so that its listener is told.
func (s *Server) check(name string, raw *box.Raw) error {
	if raw.Name.Listener != name {
		return refuse(http.StatusForbidden, "Not its file", fmt.Sprintf("%s sends %s", name, raw.Name))
	}
	f, err := box.Decode(raw.Data, s.cfg.Key)
	switch {
	case errors.Is(err, box.ErrListener):
		return refuse(http.StatusForbidden, "Epoch not granted", err.Error())
	case err != nil:
		return refuse(http.StatusUnprocessableEntity, "File cannot be taken", err.Error())
	case f.Name != raw.Name || f.Site != s.cfg.Site:
		return refuse(http.StatusUnprocessableEntity, "File cannot be taken", fmt.Sprintf("%s says of itself that it is %s of site %s", raw.Name, f.Name, f.Site))
	}
	return nil
}

// told is what the asker gets to know of an error.
func (s *Server) told(r *http.Request, err error) *listener.JoinRefused {
	var no *listener.JoinRefused
	if errors.As(err, &no) {
		return no
	}
	s.cfg.Log.Error("a listener's request failed", "path", r.URL.Path, "address", r.RemoteAddr, "error", err)
	return &listener.JoinRefused{Status: http.StatusServiceUnavailable, Title: "Try again later", Detail: "the site cannot do this at the moment"}
}

func (s *Server) problem(w http.ResponseWriter, r *http.Request, err error) {
	no := s.told(r, err)
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(no.Status)
	json.NewEncoder(w).Encode(&wire.JoinError{Title: no.Title, Status: no.Status, Detail: no.Detail})
}
