package simulator

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/agent"
	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A key is one device in one operation.
type key struct {
	op     task.ID
	device uint32
}

// A start is that a task was begun on a machine.
type start struct {
	key
	at     time.Time // the true time, or the moment at which the machine fell asleep
	kind   string
	params string
}

// A file is one that a listener dropped and holds to be durable.
type file struct {
	name     box.Name
	bytes    []byte
	digest   [32]byte
	contents box.Contents
	at       time.Time
}

// The truth is what happened outside the site: what ran, what is on the disks of
// the machines, what the listeners dropped. The site's history and views are
// compared with it, and it knows nothing of them.
type truth struct {
	mu     sync.Mutex
	starts map[key][]start
	known  map[key]*memory
	files  map[box.Name]*file
}

// A memory is what the disk of a machine has of one operation.
type memory struct {
	final   task.State // durable, or NoState
	running bool       // durable
	begun   bool       // durable: anything at all
	maybe   map[task.State]bool
	said    map[task.State]bool // everything that was ever on the disk
	again   bool                // the kind may start again
}

func newTruth() *truth {
	return &truth{starts: make(map[key][]start), known: make(map[key]*memory), files: make(map[box.Name]*file)}
}

func (t *truth) start(s start) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.starts[s.key] = append(t.starts[s.key], s)
}

// record is told what an agent wrote into its record.
func (t *truth) record(device uint32, durable bool, entries []agent.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range entries {
		if entries[i].Act == agent.Reached {
			t.reached(device, durable, &entries[i])
		}
	}
}

func (t *truth) reached(device uint32, durable bool, e *agent.Entry) {
	m := t.of(key{e.Result.Operation, device})
	m.again = e.Again
	m.said[e.Result.State] = true
	switch s := e.Result.State; {
	case !durable:
		m.maybe[s] = true
	case s.Final():
		m.final = s
	case s == task.Running:
		m.running = true
	}
	m.begun = m.begun || durable
}

// rewritten is told that the record of an agent was written anew, durably.
func (t *truth) rewritten(device uint32, entries []agent.Entry) { t.record(device, true, entries) }

func (t *truth) of(k key) *memory {
	m := t.known[k]
	if m == nil {
		m = &memory{maybe: make(map[task.State]bool), said: make(map[task.State]bool)}
		t.known[k] = m
	}
	return m
}

// dropped is told of a file that is durable in a listener's folder.
func (t *truth) dropped(n box.Name, b []byte, c box.Contents) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.files[n] = &file{name: n, bytes: b, digest: sha256.Sum256(b), contents: c, at: time.Now()}
}

func (t *truth) file(n box.Name) *file {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.files[n]
}

// once checks what may never happen, whatever fails: promise 3.
func (t *truth) once(ops map[task.ID]*order) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, all := range t.starts {
		o := ops[k.op]
		if o == nil {
			continue // the journal's answer has not come to the model yet
		}
		for _, s := range all {
			switch {
			case !o.targets[k.device]:
				return fmt.Errorf("%s ran on device %d, which is no target", o, k.device)
			case !s.at.Before(o.task.DeliverBy):
				return fmt.Errorf("%s was started on device %d %s after its deadline", o, k.device, s.at.Sub(o.task.DeliverBy))
			case s.at.Before(o.task.NotBefore):
				return fmt.Errorf("%s was started on device %d %s before its time", o, k.device, o.task.NotBefore.Sub(s.at))
			case s.kind != o.task.Kind || s.params != string(o.task.Params):
				return fmt.Errorf("%s ran on device %d as %s %s", o, k.device, s.kind, s.params)
			}
		}
		if n := len(all); n > 1 && !o.again() {
			return fmt.Errorf("%s was started %d times on device %d", o, n, k.device)
		}
	}
	return nil
}

// wasSaid tells whether a device ever had it on its disk that an operation is in
// this state. What it says of itself when it was interrupted is said before it is
// there for certain.
func (t *truth) wasSaid(k key, s task.State) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.known[k]
	return m != nil && m.said[s]
}

// settled tells whether a device is done with an operation: it has an end on its
// disk, or had begun what may not begin twice.
func (t *truth) settled(k key, again bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.known[k]
	return m != nil && (m.final != task.NoState || m.running && !again)
}

func (t *truth) wasStarted(k key) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.starts[k]) > 0
}
