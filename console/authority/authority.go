package authority

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Validity is how long a device's certificate is good unless [WithValidity] says
// otherwise.
const Validity = 7 * 24 * time.Hour

// MaxValidity is the longest that [WithValidity] takes.
const MaxValidity = 365 * 24 * time.Hour

// An Authority is safe for concurrent use. It implements [journal.Fold].
type Authority struct {
	site     string
	keys     *keys
	now      func() time.Time
	validity time.Duration
	newcomer func(*event.DeviceJoined)

	results  resultKeys
	policies policyCache
	beacons  beaconCache

	changing sync.Mutex // one change of keys at a time

	mu        sync.RWMutex // over what follows and the keys: Apply writes, all others read
	journal   journal.Journal
	addresses []string
	https     []string
	rings     []ring         // from 2; the first one is that of the keys
	pool      *x509.CertPool // of the newest ring
	everCAs   *x509.CertPool // of all
	devices   []device       // by number; 0 is nobody's
	active    int            // of them are not blocked
	joined    map[joinKey]uint32
	tokens    map[string]*token
	listeners map[string]*listener
}

type device struct {
	id      task.ID
	token   string
	first   certificate // of the join; its key is the device's half of the result key
	newest  certificate // none before the first renewal
	before  certificate // of another key: the device may not have the newest yet
	blocked bool
	changed uint64 // the event that blocked or unblocked it last
	removed uint64 // the event, or 0; what was removed is blocked
}

// certificate returns the newest one.
func (d *device) certificate() certificate {
	if d.newest.public != nil {
		return d.newest
	}
	return d.first
}

// joinKey names a join: a token and a public key.
type joinKey [sha256.Size]byte

func joinKeyOf(token string, public []byte) joinKey {
	h := sha256.New()
	h.Write([]byte(token))
	h.Write([]byte{0})
	h.Write(public)
	return joinKey(h.Sum(nil))
}

type token struct {
	hash     [32]byte
	uses     uint32
	used     uint32
	created  time.Time
	expires  time.Time
	revoked  uint64 // the event, or 0
	listener string // that may join with it; empty: devices
	scope    []byte // of that listener, a roaring bitmap; empty for all devices
	device   uint32 // the imported record that who joins with it becomes, or 0
}

// An Option changes how an [Authority] works.
type Option func(*Authority)

// WithClock sets the clock; the default is time.Now.
func WithClock(now func() time.Time) Option { return func(a *Authority) { a.now = now } }

// WithValidity sets how long certificates of devices are good.
func WithValidity(d time.Duration) Option { return func(a *Authority) { a.validity = d } }

// WithNewcomers sets what is called with each device that has joined as a new record,
// once, after it is durable and before the device has its answer.
func WithNewcomers(newcomer func(*event.DeviceJoined)) Option {
	return func(a *Authority) { a.newcomer = newcomer }
}

// Open makes the keys of the site in dir, or loads them. The site's code has 3 to
// 16 of A-Z and 0-9.
func Open(dir, site string, options ...Option) (*Authority, error) {
	if !validCode(site) {
		return nil, fmt.Errorf("open authority: site code %q: it has 3 to 16 of A-Z and 0-9", site)
	}
	a := &Authority{
		site: site, now: time.Now, validity: Validity, newcomer: func(*event.DeviceJoined) {}, devices: make([]device, 1),
		joined: map[joinKey]uint32{}, tokens: map[string]*token{}, listeners: map[string]*listener{},
	}
	for _, o := range options {
		o(a)
	}
	if a.validity <= 0 || a.validity > MaxValidity {
		return nil, fmt.Errorf("open authority: certificates that are good for %v", a.validity)
	}
	var err error
	if a.keys, err = openKeys(dir, site, a.now()); err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	a.renewPool()
	return a, nil
}

// validCode tells whether s can be the code of a site or the name of a listener.
func validCode(s string) bool {
	if len(s) < 3 || len(s) > 16 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// Attach gives the authority the journal whose fold it is. Before that it can
// append nothing.
func (a *Authority) Attach(j journal.Journal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.journal = j
}

// SetListeners sets the addresses, host:port, of the TCP carriers that a device
// is told when it joins, the best first.
func (a *Authority) SetListeners(addresses ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addresses = append([]string(nil), addresses...)
}

// SetHTTPS is [Authority.SetListeners] for the HTTPS carriers.
func (a *Authority) SetHTTPS(addresses ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.https = append([]string(nil), addresses...)
}

var errNotAttached = errors.New("authority has no journal yet")

func (a *Authority) attached() (journal.Journal, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.journal == nil {
		return nil, errNotAttached
	}
	return a.journal, nil
}

// Site is the site's code.
func (a *Authority) Site() string { return a.site }

// Wants implements [journal.SelectiveFold].
func (a *Authority) Wants(k event.Kind) bool {
	by, ok := event.AppenderOf(k)
	return ok && by == event.ByAuthority
}

// Apply implements [journal.Fold].
func (a *Authority) Apply(e *event.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch p := e.Payload.(type) {
	case *event.DeviceJoined:
		a.recount(p.Device, func() { a.applyJoined(p, e) })
	case *event.DeviceBlocked:
		a.recount(p.Device, func() { a.applyBlocked(p.Device, true, e.Number) })
	case *event.DeviceUnblocked:
		a.recount(p.Device, func() { a.applyBlocked(p.Device, false, e.Number) })
	case *event.DevicesImported:
		a.applyImported(p)
	case *event.DeviceRemoved:
		a.recount(p.Device, func() { a.applyRemoved(p.Device, e.Number) })
	case *event.TokenCreated:
		a.tokens[p.Token] = &token{hash: p.Hash, uses: p.Uses, created: e.Accepted, expires: p.Expires, listener: p.Listener, scope: p.Scope, device: p.Device}
	case *event.TokenRevoked:
		if t := a.tokens[p.Token]; t != nil && t.revoked == 0 {
			t.revoked = e.Number
		}
	case *event.ListenerGranted:
		a.applyGranted(p)
	case *event.ListenerRevoked:
		a.applyRevoked(p, e.Number)
	case *event.CertificateIssued:
		a.applyIssued(p, e)
	case *event.KeysChanged:
		a.applyKeys(p)
	}
}

func (a *Authority) applyJoined(p *event.DeviceJoined, e *event.Event) {
	if p.Device == 0 || p.Device > task.MaxDevice {
		return // no guard of ours lets such a number through
	}
	a.reach(p.Device)
	if a.devices[p.Device].removed != 0 {
		return
	}
	first := certificate{p.PublicKey, p.Serial, e.Accepted, p.Expires, a.ring().Number, e.Number}
	a.devices[p.Device] = device{id: p.ID, token: p.Token, first: first}
	a.joined[joinKeyOf(p.Token, p.PublicKey)] = p.Device
	if t := a.tokens[p.Token]; t != nil {
		t.used++
	}
}

func (a *Authority) applyBlocked(number uint32, blocked bool, event uint64) {
	if d := a.device(number); d != nil && d.removed == 0 {
		d.blocked, d.changed = blocked, event
	}
}

// device returns the device that has joined, or nil if there is none; the caller
// holds mu.
func (a *Authority) device(number uint32) *device {
	if number == 0 || uint64(number) >= uint64(len(a.devices)) || a.devices[number].first.public == nil {
		return nil
	}
	return &a.devices[number]
}
