package peer

import (
	"errors"
	"fmt"
	"io"
	"log"
	"path/filepath"
	"sync/atomic"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// A natsServer is nats-server in this process.
type natsServer struct{ *natsserver.Server }

// openNATS opens the server with the options that a fleet needs: TLS from the first
// byte, and patience with a storm of sign-ins. All else is as it comes.
func openNATS(dir string, out io.Writer) (server, error) {
	config, err := serverTLS(dir)
	if err != nil {
		return nil, err
	}
	o := &natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true,
		TLS: true, TLSVerify: true, TLSConfig: config, TLSHandshakeFirst: true,
		TLSTimeout: signInWait.Seconds(), AuthTimeout: 2 * signInWait.Seconds(),
		MaxConn: maxAgents + 1, PingInterval: keepAlive,
		JetStream: true, JetStreamMaxMemory: 1 << 30, StoreDir: filepath.Join(dir, "jetstream"),
	}
	s, err := natsserver.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("open NATS: %w", err)
	}
	trouble := &troubleLog{to: log.New(out, "", log.LstdFlags)}
	s.SetLoggerV2(trouble, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startWait) {
		s.Shutdown()
		return nil, errors.New("open NATS: it does not listen")
	}
	trouble.serving.Store(true)
	return natsServer{s}, nil
}

func (n natsServer) address() string { return n.Addr().String() }

func (n natsServer) close() error {
	n.Shutdown()
	n.WaitForShutdown()
	return nil
}

// troubleLog writes down what is wrong, and nothing else: before the server serves, its
// warnings are about its options.
type troubleLog struct {
	to      *log.Logger
	serving atomic.Bool
}

func (l *troubleLog) Noticef(string, ...any)    {}
func (l *troubleLog) Debugf(string, ...any)     {}
func (l *troubleLog) Tracef(string, ...any)     {}
func (l *troubleLog) Errorf(f string, v ...any) { l.to.Printf("error: "+f, v...) }
func (l *troubleLog) Fatalf(f string, v ...any) { l.to.Printf("fatal: "+f, v...) }

func (l *troubleLog) Warnf(f string, v ...any) {
	if l.serving.Load() {
		l.to.Printf("warning: "+f, v...)
	}
}
