package peer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const (
	lookEvery  = 10 * time.Millisecond // for new files
	deliverFor = 10 * time.Minute
	runFor     = time.Hour
)

// A listenerBack is the site of a listener: it signs tasks, and reads the answers out of
// the listener's files. Device N is agent N-1.
type listenerBack struct {
	target *target
	key    ed25519.PrivateKey // signs tasks
	box    *box.Box
	boxKey ed25519.PublicKey // of whoever signs the files

	orders *gob.Encoder
	taken  chan uint64 // numbers of the tasks that the listener has; closed when it ends

	mu   sync.Mutex
	left map[uint64]int // answers that the tasks still want, by number

	ctx     context.Context // until close
	closing context.CancelFunc
	reading sync.WaitGroup
}

func connectListener(_ context.Context, t *target) (backEnd, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	public, err := os.ReadFile(filepath.Join(t.cfg.Dir, boxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read key of box: %w", err)
	}
	files, err := box.Open(filepath.Join(t.cfg.Dir, boxFolder))
	if err != nil {
		return nil, err
	}
	b := &listenerBack{target: t, key: key, box: files, boxKey: public, orders: gob.NewEncoder(t.in),
		taken: make(chan uint64, 1), left: map[uint64]int{}}
	b.ctx, b.closing = context.WithCancel(context.Background())
	b.reading.Go(b.read)
	go b.hear()
	return b, nil
}

// hear hears which tasks the listener has taken, until it ends.
func (b *listenerBack) hear() {
	defer close(b.taken)
	for said := gob.NewDecoder(b.target.out); ; {
		var taken uint64
		if said.Decode(&taken) != nil {
			return
		}
		select {
		case b.taken <- taken:
		case <-b.ctx.Done():
			return
		}
	}
}

// push signs a task and returns once the listener has it. Tasks that all have answered
// are over.
func (b *listenerBack) push(ctx context.Context, number uint64, agents []int) error {
	o := order{Number: number}
	n := len(agents)
	if agents == nil {
		n = b.target.cfg.Agents
		o.All = uint32(n)
	}
	for _, a := range agents {
		o.Devices = append(o.Devices, uint32(a+1))
	}
	if n == 0 {
		return nil
	}
	targets, err := task.NewTargets(o.devices())
	if err != nil {
		return err
	}
	now := time.Now()
	of := task.Task{Site: siteCode, Operation: operationOf(number), Kind: "scan.quick", Root: targets.Root(), Leaves: targets.Leaves(),
		NotBefore: now, DeliverBy: now.Add(deliverFor), RunTimeout: runFor, Requested: now}
	if o.Signed, err = of.Sign(b.key); err != nil {
		return err
	}
	o.Ended = b.begin(number, n)
	if err := b.orders.Encode(&o); err != nil {
		return fmt.Errorf("hand task over: %w", err)
	}
	for {
		select {
		case n, ok := <-b.taken:
			if !ok {
				return errors.New("the listener has ended")
			}
			if n == number { // else it is that of a push that was given up
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("wait for the listener to take it: %w", ctx.Err())
		}
	}
}

// begin notes a task and returns those that are over.
func (b *listenerBack) begin(number uint64, answers int) (over []task.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n, left := range b.left {
		if left <= 0 {
			over = append(over, operationOf(n))
			delete(b.left, n)
		}
	}
	b.left[number] = answers
	return over
}

// read reads files as they come.
func (b *listenerBack) read() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-tick.C:
		}
		waiting, err := b.box.Scan()
		for _, n := range waiting.Names {
			err = errors.Join(err, b.take(n.String()))
		}
		if err != nil {
			b.target.say("back end: %v", err)
		}
	}
}

// take counts the answers in a file, and puts it aside.
func (b *listenerBack) take(name string) error {
	if err := b.box.Claim(name); err != nil {
		return err
	}
	raw, err := b.box.Read(name)
	if err != nil {
		return err
	}
	rows, err := b.answers(raw)
	if err != nil {
		return err
	}
	now := time.Now()
	for i := range rows {
		if row := &rows[i]; row.State.Final() {
			b.count(row.Device, numberOf(row.Operation), now)
		}
	}
	return b.box.Archive(name, len(raw), now)
}

// answers are the results in a file of the listener, if it is one of results.
func (b *listenerBack) answers(raw []byte) ([]box.ResultRow, error) {
	f, err := box.Decode(raw, func(string, uint32) (ed25519.PublicKey, bool) { return b.boxKey, true })
	if err != nil {
		return nil, err
	}
	if results, ok := f.Contents.(*box.Results); ok {
		return results.Rows, nil
	}
	return nil, nil
}

// count counts the answer of a device, once however often it comes.
func (b *listenerBack) count(device uint32, number uint64, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.left[number]; b.target.counter.count(int(device)-1, number, now) && ok {
		b.left[number]--
	}
}

// beat does nothing: there is no connection.
func (b *listenerBack) beat() error { return nil }

func (b *listenerBack) close() {
	b.closing()
	b.reading.Wait()
	_ = b.box.Close()
}
