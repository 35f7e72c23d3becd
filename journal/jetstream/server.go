package jetstream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/bugle-fleet/bugle/journal"
)

// maxPayload is the largest message in bytes that the embedded server takes.
const maxPayload = 8 << 20

// The connection is a pipe inside the process: it does not break by itself, but
// on a machine that is busy enough everything on it may take its time.
const (
	patience = 30 * time.Second // for connecting, and for opening or making the stream
	noPings  = 24 * time.Hour
)

// openStore starts the embedded server on dir and opens the stream, or makes
// it. It takes over the lock.
func openStore(ctx context.Context, dir string, opts Options, unlock func()) (*store, error) {
	well, fail := context.WithCancelCause(context.Background())
	s := &store{
		dir: dir, msgs: filepath.Join(dir, "jetstream", "$G", "streams", streamName, "msgs"),
		unlock: unlock, timeout: opts.PublishTimeout, well: well,
	}
	if err := s.start(ctx, opts, fail); err != nil {
		return nil, errors.Join(err, s.free())
	}
	return s, nil
}

func (s *store) start(ctx context.Context, opts Options, fail context.CancelCauseFunc) (err error) {
	log := &bridge{log: opts.Log, fail: fail}
	s.server, err = server.NewServer(&server.Options{
		ServerName: "bugle-journal",
		DontListen: true,
		NoSigs:     true,

		JetStream:              true,
		StoreDir:               s.dir,
		SyncAlways:             true,
		JetStreamMaxStore:      opts.MaxStore,
		JetStreamMaxMemory:     1 << 20, // nothing is kept in memory; 0 would mean three quarters of it
		MaxPayload:             maxPayload,
		PingInterval:           noPings,
		WriteDeadline:          patience,
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return fmt.Errorf("make the embedded server: %w", err)
	}
	s.server.SetLoggerV2(log, false, false, false)
	s.server.Start()
	if err := context.Cause(s.well); err != nil {
		return fmt.Errorf("start the embedded server: %w", err)
	}
	if s.conn, err = s.connect(opts); err != nil {
		return fmt.Errorf("connect to the embedded server: %w", err)
	}
	if err := s.openStream(ctx); err != nil {
		return err
	}
	for s.hasBlock(s.block + 1) {
		s.block++
	}
	return syncTree(s.dir)
}

// connectTries is how often a handshake is begun. On a machine so busy that one
// takes two seconds, the server's first ping comes into the middle of it, and the
// client gives that one up.
const connectTries = 10

func (s *store) connect(opts Options) (conn *nats.Conn, err error) {
	for range connectTries {
		conn, err = nats.Connect("", nats.InProcessServer(s.server), nats.NoReconnect(), nats.Name("bugle-journal"),
			nats.Timeout(patience), nats.PingInterval(noPings),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { opts.Log.Warn("journal connection", "error", err) }))
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// openStream opens the stream, or makes it if it is not there.
func (s *store) openStream(ctx context.Context) error {
	api, err := js.New(s.conn, js.WithDefaultTimeout(patience))
	if err != nil {
		return err
	}
	stream, err := api.Stream(ctx, streamName)
	if errors.Is(err, js.ErrStreamNotFound) {
		stream, err = api.CreateStream(ctx, streamConfig())
	}
	if err != nil {
		return fmt.Errorf("open the stream: %w", err)
	}
	state := stream.CachedInfo().State
	if lost := state.Lost; lost != nil && len(lost.Msgs) > 0 {
		return &journal.DamageError{Page: lost.Msgs[0], Reason: fmt.Sprintf("JetStream has lost %d pages", len(lost.Msgs))}
	}
	s.pages = state.LastSeq
	return nil
}

func streamConfig() js.StreamConfig {
	return js.StreamConfig{
		Name:        streamName,
		Subjects:    []string{subject},
		Storage:     js.FileStorage,
		Retention:   js.LimitsPolicy,
		Discard:     js.DiscardNew,
		MaxMsgs:     -1,
		MaxBytes:    -1,
		MaxMsgSize:  -1,
		Replicas:    1,
		DenyDelete:  true,
		DenyPurge:   true,
		AllowDirect: true,
	}
}

// stop ends connection and server.
func (s *store) stop() error {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.server != nil {
		s.server.Shutdown()
		s.server.WaitForShutdown()
	}
	return nil
}

func (s *store) release() error {
	s.unlock()
	return nil
}

// free is Close for a journal that was never open.
func (s *store) free() error { return errors.Join(s.stop(), s.release()) }

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return syncFolder(f)
}

// syncTree makes the names in dir and in every folder below durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncDir(path)
	})
}
