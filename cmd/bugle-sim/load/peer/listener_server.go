package peer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Who the listener is, and where it puts its files, in the peer's folder.
const (
	siteCode     = "P01"
	listenerName = "ALONE"
	boxFolder    = "bgb.box"
	boxKeyFile   = "box.pub" // the public key that the files are signed with
)

// An order is what the back end tells the listener: a task, and which are over.
type order struct {
	Number  uint64 // the task's; said back once the listener has it
	Signed  []byte
	All     uint32   // the task is for devices 1 to All, or
	Devices []uint32 // for these
	Ended   []task.ID
}

// A listenerServer is a listener of bugle in this process, with its files, and nothing
// behind it: its site is the back end.
type listenerServer struct {
	tcp   net.Listener
	feed  chan listener.Update
	ctx   context.Context // ends with the listener
	end   context.CancelFunc
	ended chan error
}

// openListener returns what opens a listener that keeps so much of a parked session.
func openListener(park listener.Park) func(string, io.Writer) (server, error) {
	return func(dir string, out io.Writer) (server, error) {
		drop, key, err := openFiles(dir)
		if err != nil {
			return nil, err
		}
		config, err := serverTLS(dir)
		if err != nil {
			return nil, err
		}
		s := &listenerServer{feed: make(chan listener.Update, 1), ended: make(chan error, 1)}
		s.feed <- listener.Whole{}
		l, err := listener.New(listener.Config{
			Site: siteCode, Name: listenerName, Epoch: 1, Version: "bugle-sim",
			Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &config.Certificates[0], nil },
			ClientCAs:   func() *x509.CertPool { return config.ClientCAs },
			Curves:      config.CurvePreferences, Park: park,
			Drop: drop, Feed: s,
			Beacon: beacons(key),
			Policy: func(uint32, string) (listener.Policy, error) { return listener.Policy{}, nil },
			Log:    slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelWarn})),
		})
		if err != nil {
			return nil, err
		}
		if s.tcp, err = (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp4", "127.0.0.1:0"); err != nil {
			return nil, err
		}
		s.ctx, s.end = context.WithCancel(context.Background())
		go func() {
			defer s.end()
			s.ended <- l.Serve(s.ctx, s.tcp, nil)
		}()
		return s, nil
	}
}

// openFiles makes the folder of the listener's files anew, and a key that signs them.
func openFiles(dir string) (drop func(box.Contents, time.Time, time.Time) error, key ed25519.PrivateKey, err error) {
	folder := filepath.Join(dir, boxFolder)
	if err := os.RemoveAll(folder); err != nil {
		return nil, nil, fmt.Errorf("empty box: %w", err)
	}
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	spool, err := box.OpenSpool(folder, box.SpoolConfig{Site: siteCode, Listener: listenerName, Epoch: 1, Key: key})
	if err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, boxKeyFile), public, 0o600); err != nil {
		return nil, nil, fmt.Errorf("write key of box: %w", err)
	}
	return func(c box.Contents, from, to time.Time) error {
		_, err := spool.Drop(c, from, to)
		return err
	}, key, nil
}

// beaconAge is how old a beacon may be that is for nobody in particular, as at a site.
const beaconAge = 10 * time.Second

// beacons returns what makes the site's beacons: one for all who have no nonce.
func beacons(key ed25519.PrivateKey) func(nonce [16]byte) ([]byte, error) {
	var mu sync.Mutex
	var all []byte
	var at time.Time
	return func(nonce [16]byte) ([]byte, error) {
		now := time.Now()
		sign := func() []byte { return (&task.Beacon{Site: siteCode, Time: now, Nonce: nonce}).Sign(key) }
		if nonce != [16]byte{} {
			return sign(), nil
		}
		mu.Lock()
		defer mu.Unlock()
		if all == nil || now.Sub(at) >= beaconAge {
			all, at = sign(), now
		}
		return all, nil
	}
}

// Next implements [listener.Feed].
func (s *listenerServer) Next(ctx context.Context) (listener.Update, error) {
	select {
	case u := <-s.feed:
		return u, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *listenerServer) address() string { return s.tcp.Addr().String() }

func (s *listenerServer) close() error {
	s.end()
	if err := <-s.ended; err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// obey takes orders until there are no more, and answers each once the listener has it.
func (s *listenerServer) obey(in io.Reader, out io.Writer) error {
	orders, answers := gob.NewDecoder(in), gob.NewEncoder(out)
	for {
		var o order
		switch err := orders.Decode(&o); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read order: %w", err)
		}
		targets, err := task.NewTargets(o.devices())
		if err != nil {
			return fmt.Errorf("obey: %w", err)
		}
		for _, id := range o.Ended {
			s.tell(listener.EndOperation{ID: id})
		}
		s.tell(listener.OpenOperation{Signed: o.Signed, Targets: targets})
		if s.ctx.Err() != nil {
			return nil // close says why
		}
		if err := answers.Encode(o.Number); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
}

// tell puts an update into the feed, unless the listener has ended.
func (s *listenerServer) tell(u listener.Update) {
	select {
	case s.feed <- u:
	case <-s.ctx.Done():
	}
}

// devices are those that the task is for.
func (o *order) devices() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for n := range o.All {
			if !yield(n + 1) {
				return
			}
		}
		for _, n := range o.Devices {
			if !yield(n) {
				return
			}
		}
	}
}
