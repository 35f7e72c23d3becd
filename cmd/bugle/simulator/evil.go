package simulator

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// An evil agent has joined the site as any other, and then says whatever it
// likes: ids of others' operations, others' results with the codes that they
// carried, bytes that were recorded on others' connections. All that it ever
// receives is searched for what is not its own.
type evil struct {
	w       *world
	machine *machine // its folder and its name in the network

	mu   sync.Mutex
	conn net.Conn
	seen [][]byte // messages that it received, encoded
}

func newEvil(w *world) *evil {
	m := newMachine(w, machines)
	m.name = "evil"
	m.dir = filepath.Join(w.dir, "machines", m.name)
	return &evil{w: w, machine: m}
}

// An identity is what joining left in an agent's folder.
type identity struct {
	wire.JoinReply
	key *ecdsa.PrivateKey
}

func (e *evil) identity() (*identity, error) {
	b, err := os.ReadFile(filepath.Join(e.machine.dir, "identity.json"))
	if err != nil {
		return nil, err
	}
	id := new(identity)
	if err := json.Unmarshal(b, &id.JoinReply); err != nil {
		return nil, err
	}
	if b, err = os.ReadFile(filepath.Join(e.machine.dir, "agent.key")); err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	id.key = k.(*ecdsa.PrivateKey)
	return id, nil
}

// attack signs in at a listener and says the messages, then listens until it is
// hung up on.
func (e *evil) attack(s *server, first *wire.SignIn, messages []wire.Message) error {
	id, err := e.identity()
	if err != nil {
		return err
	}
	e.hangUp()
	raw, err := e.w.net.dial(context.Background(), e.machine.name, s.address())
	if err != nil {
		return nil // nobody is there to be attacked
	}
	e.mu.Lock()
	e.conn = raw
	e.mu.Unlock()
	conn := tls.Client(raw, &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{wire.ALPN},
		Certificates: []tls.Certificate{{Certificate: [][]byte{id.Certificate}, PrivateKey: id.key}}})
	go e.speak(conn, first, messages)
	return nil
}

func (e *evil) speak(conn *tls.Conn, first *wire.SignIn, messages []wire.Message) {
	defer conn.NetConn().Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	if conn.Handshake() != nil {
		return
	}
	go e.listen(conn)
	for _, m := range append([]wire.Message{first}, messages...) {
		b, err := wire.Append(nil, m)
		if err != nil {
			e.w.violated(0, "encode for the evil agent: %v", err)
			return
		}
		if _, err := conn.Write(b); err != nil {
			return
		}
	}
	<-time.After(30 * time.Second)
}

func (e *evil) listen(conn *tls.Conn) {
	in := bufio.NewReader(conn)
	for {
		m, _, err := wire.ReadFrom(in, nil)
		if err != nil {
			return
		}
		b, err := wire.Append(nil, m)
		if err != nil {
			b = fmt.Append(nil, m)
		}
		e.mu.Lock()
		e.seen = append(e.seen, b)
		e.mu.Unlock()
	}
}

// replay sends bytes that were recorded on another machine's connection.
func (e *evil) replay(s *server, recorded []byte) {
	e.hangUp()
	raw, err := e.w.net.dial(context.Background(), e.machine.name, s.address())
	if err != nil {
		return
	}
	e.mu.Lock()
	e.conn = raw
	e.mu.Unlock()
	go func() {
		defer raw.Close()
		raw.SetDeadline(time.Now().Add(time.Minute))
		raw.Write(recorded)
		<-time.After(20 * time.Second)
	}()
}

func (e *evil) hangUp() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn != nil {
		e.conn.Close()
	}
}

// read checks that nothing that the evil agent received is of an operation that
// is not for it: promise 6.
func (e *evil) read(orders map[task.ID]*order) error {
	e.mu.Lock()
	seen := e.seen
	e.seen = nil
	e.mu.Unlock()
	for _, o := range orders {
		if o.targets[e.machine.number] {
			continue
		}
		for _, b := range seen {
			if bytes.Contains(b, o.task.Root[:]) || len(o.task.Params) > 0 && bytes.Contains(b, o.task.Params) {
				return fmt.Errorf("an agent that is no target of %s received its task", o)
			}
		}
	}
	return nil
}

// forgeries are results of others' operations: in its own name, and with the
// codes that others' results carried.
func (e *evil) forgeries(n int) []wire.Message {
	var all []wire.Message
	add := func(r *task.Result, mac [task.MACSize]byte) {
		all = append(all, &wire.Result{Operation: r.Operation, Attempt: r.Attempt, State: r.State, Code: r.Code, At: r.At, Detail: r.Detail, MAC: mac})
	}
	for _, row := range e.recorded() {
		if len(all) >= n {
			break
		}
		add(&row.Result, row.MAC)
	}
	own := e.resultKey()
	for _, o := range e.w.requested() {
		if len(all) >= n {
			break
		}
		if !o.targets[e.machine.number] {
			r := task.Result{Operation: o.task.Operation, Device: e.machine.number, Attempt: 1, State: task.Succeeded, At: time.Now().UTC()}
			add(&r, r.MAC(own))
		}
	}
	for len(all) < n {
		r := task.Result{Operation: task.NewID(time.Now()), Attempt: 1, State: task.Running, At: time.Now().UTC()}
		add(&r, [task.MACSize]byte{2})
	}
	return all
}

// resultKey is the key that the evil agent shares with the site, as every agent
// does.
func (e *evil) resultKey() []byte {
	id, err := e.identity()
	if err != nil {
		e.w.violated(0, "evil agent: %v", err)
		return nil
	}
	public, err1 := ecdh.P256().NewPublicKey(id.ResultKey)
	private, err2 := id.key.ECDH()
	own, err3 := task.ParseID(id.ID)
	if err := errors.Join(err1, err2, err3); err != nil {
		e.w.violated(0, "evil agent: %v", err)
		return nil
	}
	key, err := task.ResultKey(private, public, siteCode, own)
	if err != nil {
		e.w.violated(0, "evil agent: %v", err)
	}
	return key
}

// recorded are results of others, as their files have them.
func (e *evil) recorded() (rows []box.ResultRow) {
	e.w.truth.mu.Lock()
	defer e.w.truth.mu.Unlock()
	for _, f := range e.w.truth.files {
		if c, ok := f.contents.(*box.Results); ok {
			for _, r := range c.Rows {
				if r.Device != e.machine.number && r.State.FromAgent() {
					rows = append(rows, r)
				}
			}
		}
	}
	return rows
}

// open are ids of operations of others.
func (e *evil) open() (ids []task.ID) {
	for _, o := range e.w.requested() {
		if len(ids) < wire.MaxOpen {
			ids = append(ids, o.task.Operation)
		}
	}
	return ids
}
