package peer

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/load"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A listenerAgent is how an agent speaks with a listener of bugle.
type listenerAgent struct{ buf []byte }

// operationPrefix is where the ids of all operations begin; the rest is their number.
var operationPrefix = [8]byte{0x01, 0x93, 0x6f, 0x5e, 0x8a, 0x6b, 0x7c, 0x1d}

func operationOf(number uint64) (id task.ID) {
	copy(id[:], operationPrefix[:])
	binary.BigEndian.PutUint64(id[8:], number)
	return id
}

func numberOf(id task.ID) uint64 { return binary.BigEndian.Uint64(id[8:]) }

// frameOf is a message's; those that an agent says always fit in one.
func frameOf(m wire.Message) []byte {
	b, err := wire.Append(nil, m)
	if err != nil {
		panic(err)
	}
	return b
}

func (l *listenerAgent) hello(uint64) []byte {
	return frameOf(&wire.SignIn{Version: wire.Version, Agent: "bugle-sim"})
}

func (l *listenerAgent) ping() []byte { return frameOf(&wire.KeepAlive{}) }

// answer is the one result that a device owes. Its code is for the site to check, and
// there is none.
func (l *listenerAgent) answer(number uint64) []byte {
	return frameOf(&wire.Result{Operation: operationOf(number), Attempt: 1, State: task.Succeeded, At: time.Now()})
}

func (l *listenerAgent) hear(s *session) error {
	m, buf, err := wire.ReadFrom(s.read, l.buf)
	l.buf = buf
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *wire.Welcome:
		return s.signedIn()
	case *wire.Task:
		t, err := m.Signed.Task()
		if err != nil {
			return fmt.Errorf("read task: %w", err)
		}
		return s.task(numberOf(t.Operation), nil)
	case *wire.ResultAck:
		s.safe(numberOf(m.Operation))
	case *wire.Close:
		return &load.Refused{After: m.RetryAfter, Reason: fmt.Sprintf("%s: %s", m.Code, m.Reason)}
	}
	return nil
}
