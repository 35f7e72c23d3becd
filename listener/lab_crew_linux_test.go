package listener

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"
)

const crewName = "BUGLE_LISTENER_LAB_CREW" // set in a process that holds agents

// A crew is honest agents in a process of their own: a process may open so many
// files only, and one can be stopped.
type crew struct {
	t       testing.TB
	process *os.Process

	mu      sync.Mutex
	orders  *json.Encoder
	answers *json.Decoder
	over    func()
}

// A muster is what the process is told: who signs in where.
type muster struct {
	Keys       labKeys
	To         string
	First, N   int
	ReadBuffer int
	Back       bool // whose session ends signs in again
}

// A crewOrder asks how long each agent waited for a task that was handed to the
// listener at that moment, or lets some ask.
type crewOrder struct {
	Begun int64 `json:",omitempty"` // Unix nanoseconds
	Asks  int   `json:",omitempty"`
}

type crewAnswer struct {
	Took []time.Duration
	Lost int64 // sessions that ended by themselves
}

// crew signs n agents in, whose numbers begin behind first.
func (l *lab) crew(m muster) *watch {
	l.t.Helper()
	m.Keys, m.To = l.pki.keys(l.t), l.tcp
	w := &watch{l: l, devices: make([]uint32, m.N)}
	for i := range w.devices {
		w.devices[i] = uint32(m.First + i + 1)
	}
	process, tell, hear, ended := childProcess(l.t, "TestLabAgents", crewName, m)
	w.crew = &crew{t: l.t, process: process, orders: json.NewEncoder(tell), answers: json.NewDecoder(hear)}
	w.crew.over = sync.OnceFunc(func() { tell.Close(); ended() })
	l.t.Cleanup(w.crew.over)
	w.crew.order(crewOrder{}) // they are there
	return w
}

func (c *crew) order(o crewOrder) (a crewAnswer) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.orders.Encode(o)
	if err == nil {
		err = c.answers.Decode(&a)
	}
	if err != nil {
		c.t.Errorf("the agents' process does not answer: %v", err)
	}
	return a
}

// TestLabAgents is the process of a crew.
func TestLabAgents(t *testing.T) {
	told := os.Getenv(crewName)
	if told == "" {
		t.Skip("runs only as the agents of another test")
	}
	var m muster
	if err := json.Unmarshal([]byte(told), &m); err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, pki: m.Keys.pki(t), tcp: m.To, readBuffer: m.ReadBuffer, back: m.Back}
	w := l.watch(m.First, m.N)
	in, out := json.NewDecoder(os.NewFile(3, "orders")), json.NewEncoder(os.NewFile(4, "answers"))
	for {
		var o crewOrder
		if err := in.Decode(&o); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		var a crewAnswer
		switch {
		case o.Begun != 0:
			a.Took = w.collect(time.Unix(0, o.Begun))
		case o.Asks != 0:
			a.Took = w.keepAlive(o.Asks)
		}
		a.Lost = w.ended()
		if out.Encode(a) != nil {
			return
		}
	}
}
