package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/bugle-fleet/bugle/journal/generation"
)

// maxPayload is the largest message in bytes that the embedded server takes.
const maxPayload = 8 << 20

// The connection is a pipe inside the process: it does not break by itself, but
// on a machine that is busy enough everything on it may take its time.
const (
	patience = 30 * time.Second // for connecting, and for opening or making the stream
	noPings  = 24 * time.Hour
)

// An embedded is the server in this process, and the connection to it.
type embedded struct {
	server *server.Server
	conn   *nats.Conn
	api    js.JetStream

	well context.Context // done, with the cause, when the disk has failed
}

// startServer starts the embedded server on a journal's folder. Without sync it
// does not fsync what it acknowledges.
func startServer(dir string, opts *Options, sync bool) (*embedded, error) {
	well, fail := context.WithCancelCause(context.Background())
	e := &embedded{well: well}
	if err := e.start(dir, opts, sync, fail); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

func (e *embedded) start(dir string, opts *Options, sync bool, fail context.CancelCauseFunc) (err error) {
	e.server, err = server.NewServer(&server.Options{
		ServerName: "bugle-journal",
		DontListen: true,
		NoSigs:     true,

		JetStream:              true,
		StoreDir:               dir,
		SyncAlways:             sync,
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
	e.server.SetLoggerV2(&bridge{log: opts.Log, fail: fail}, false, false, false)
	e.server.Start()
	if err := context.Cause(e.well); err != nil {
		return fmt.Errorf("start the embedded server: %w", err)
	}
	if e.conn, err = e.connect(opts); err != nil {
		return fmt.Errorf("connect to the embedded server: %w", err)
	}
	e.api, err = js.New(e.conn, js.WithDefaultTimeout(patience))
	return err
}

// connectTries is how often a handshake is begun. On a machine so busy that one
// takes two seconds, the server's first ping comes into the middle of it, and the
// client gives that one up.
const connectTries = 10

func (e *embedded) connect(opts *Options) (conn *nats.Conn, err error) {
	for range connectTries {
		conn, err = nats.Connect("", nats.InProcessServer(e.server), nats.NoReconnect(), nats.Name("bugle-journal"),
			nats.Timeout(patience), nats.PingInterval(noPings),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { opts.Log.Warn("journal connection", "error", err) }))
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// stream opens the stream of a generation and returns what it says of itself.
func (e *embedded) stream(ctx context.Context, n uint32) (js.StreamState, error) {
	stream, err := e.api.Stream(ctx, generation.Stream(n))
	if err != nil {
		return js.StreamState{}, fmt.Errorf("open stream of generation %d: %w", n, err)
	}
	return stream.CachedInfo().State, nil
}

// make makes the stream of a generation, or opens it if it is there.
func (e *embedded) make(ctx context.Context, n uint32) error {
	if _, err := e.api.CreateStream(ctx, streamConfig(n)); err != nil {
		return fmt.Errorf("make stream of generation %d: %w", n, err)
	}
	return nil
}

// remove removes the stream of a generation with all its files.
func (e *embedded) remove(ctx context.Context, n uint32) error {
	if err := e.api.DeleteStream(ctx, generation.Stream(n)); err != nil && !errors.Is(err, js.ErrStreamNotFound) {
		return fmt.Errorf("remove stream of generation %d: %w", n, err)
	}
	return nil
}

// subject is where the pages of a generation are published.
func subject(n uint32) string { return fmt.Sprintf("journal.pages.%08d", n) }

// shortestWindow is for how long JetStream remembers the ids of messages: the
// least that it allows. A page is never sent twice; and what is in the window
// JetStream reads when it starts, and cuts off a file where it cannot.
const shortestWindow = 100 * time.Millisecond

func streamConfig(n uint32) js.StreamConfig {
	return js.StreamConfig{
		Name:        generation.Stream(n),
		Subjects:    []string{subject(n)},
		Storage:     js.FileStorage,
		Retention:   js.LimitsPolicy,
		Discard:     js.DiscardNew,
		MaxMsgs:     -1,
		MaxBytes:    -1,
		MaxMsgSize:  -1,
		Replicas:    1,
		Duplicates:  shortestWindow,
		DenyDelete:  true,
		DenyPurge:   true,
		AllowDirect: true,
	}
}

// stop ends connection and server.
func (e *embedded) stop() {
	if e.conn != nil {
		e.conn.Close()
	}
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
	}
}
