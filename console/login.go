package console

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/journal/event"
)

// Bounds of failed logins.
const (
	MaxLoginFailures  = 20  // answered per address and minute; from then on "too many"
	maxLoginAddresses = 500 // counted apart in a minute; the rest are counted as one
	otherAddresses    = "others"
)

// EnsureAdminToken returns the administrator's token in the file at path, which
// it makes, durably and with mode 0600, if it is not there: 32 random bytes in
// hexadecimal. A file that others can read is an error.
func EnsureAdminToken(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createAdminToken(path)
	}
	if err != nil {
		return "", fmt.Errorf("read administrator's token: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read administrator's token: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return "", fmt.Errorf("read administrator's token: %s has mode %#o, others can read it: chmod 600 it, or delete it for a new one", path, mode)
	}
	token := strings.TrimSpace(string(raw))
	if b, err := hex.DecodeString(token); err != nil || len(b) != 32 {
		return "", fmt.Errorf("read administrator's token: %s does not hold 64 hexadecimal digits: delete it for a new one", path)
	}
	return token, nil
}

func createAdminToken(path string) (string, error) {
	var b [32]byte
	rand.Read(b[:])
	token := hex.EncodeToString(b[:])
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = durable.Replace(path, []byte(token+"\n"))
	}
	if err != nil {
		return "", fmt.Errorf("create administrator's token: %w", err)
	}
	return token, nil
}

type actorKey struct{}

// actorOf is the administrator who makes the call.
func actorOf(ctx context.Context) event.Actor {
	a, _ := ctx.Value(actorKey{}).(event.Actor)
	return a
}

// A gate lets calls through that show the token.
type gate struct {
	hash [32]byte // of the token
	now  func() time.Time

	mu       sync.Mutex
	failures map[string]uint32 // by address, in this minute
	owed     map[string]uint32 // of minutes before it, that the journal did not take
}

func newGate(token string, now func() time.Time) *gate {
	return &gate{hash: sha256.Sum256([]byte(token)), now: now, failures: map[string]uint32{}, owed: map[string]uint32{}}
}

// guard wraps what needs the token.
func (g *gate) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		address := addressOf(r)
		if g.right(r.Header.Get("Authorization")) {
			actor := event.Actor{Issuer: "local", Subject: "admin", Address: address}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), actorKey{}, actor)))
			return
		}
		if g.count(address) > MaxLoginFailures {
			w.Header().Set("Retry-After", "60")
			writeProblem(w, problem(http.StatusTooManyRequests, "Too many failed logins",
				"There were more than %d calls without the right token from %s in a minute; wait a minute.", MaxLoginFailures, address))
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="bugle"`)
		writeProblem(w, problem(http.StatusUnauthorized, "The call does not show the right token",
			"Send the header \"Authorization: Bearer TOKEN\" with what is in the site's file admin.token."))
	})
}

func (g *gate) right(header string) bool {
	scheme, token, _ := strings.Cut(header, " ")
	ok := strings.EqualFold(scheme, "Bearer")
	got := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(got[:], g.hash[:]) == 1 && ok
}

// count adds a failure and returns how many there are from address in this
// minute.
func (g *gate) count(address string) uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return addFailures(g.failures, address, 1)
}

func addFailures(to map[string]uint32, address string, n uint32) uint32 {
	if _, ok := to[address]; !ok && len(to) >= maxLoginAddresses {
		address = otherAddresses
	}
	to[address] += n
	return to[address]
}

// take returns the failures since it was called last and those that were put
// back, one event per address.
func (g *gate) take() []*event.Event {
	g.mu.Lock()
	failures := g.failures
	for address, n := range g.owed {
		addFailures(failures, address, n)
	}
	g.failures, g.owed = map[string]uint32{}, map[string]uint32{}
	g.mu.Unlock()
	events := make([]*event.Event, 0, len(failures))
	for address, n := range failures {
		events = append(events, &event.Event{
			Observed: g.now(), Actor: event.Actor{Issuer: "site", Subject: "console"},
			Payload: &event.LoginFailed{Where: "console", Address: address, Reason: "wrong or missing token", Count: n},
		})
	}
	slices.SortFunc(events, func(a, b *event.Event) int {
		return strings.Compare(a.Payload.(*event.LoginFailed).Address, b.Payload.(*event.LoginFailed).Address)
	})
	return events
}

// putBack keeps what take returned for the next time. It does not count for how
// many failures an address has in this minute.
func (g *gate) putBack(events []*event.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range events {
		if p, ok := e.Payload.(*event.LoginFailed); ok {
			addFailures(g.owed, p.Address, p.Count)
		}
	}
}

func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
