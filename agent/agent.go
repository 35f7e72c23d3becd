package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bugle-fleet/bugle/agent/action"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// An Agent is one device of a site. Make it with [Open].
type Agent struct {
	cfg     Config
	dir     string
	lock    *os.File
	id      *credentials
	ledger  *ledger
	clock   *siteClock
	actions map[string]action.Description
	policy  policyStore
	status  statusFileWriter
	shared  sharedFacts
	tickets tickets

	// Run's goroutine owns these; while it waits for the end of a session, the one
	// that looks for a better carrier may make the next.
	serial  uint64 // of the newest session
	footing footing
	known   []string      // addresses of the TCP carrier, as they were last
	briefly int           // WebSockets that were cut soon, in a row
	network func() string // names the networks that the machine is in

	current atomic.Pointer[session]
	joined  chan struct{} // guarded by mu: closed when a session begins

	// interrupted is what an earlier stop interrupted, until that is on record. It
	// is found before anything starts here; Run's goroutine owns it.
	interrupted []Entry

	turns   *turns
	verbose verbosity
	boot    string // see [Config.Boot]
	working sync.WaitGroup

	mu       sync.Mutex
	held     map[task.ID]*job // tasks that wait or run
	dropped  bool             // a task was not taken; it comes again with the next sign-in
	refusals map[task.ID]*report
	cancels  map[task.ID]Entry  // that could not be put on record yet
	stop     context.CancelFunc // ends the work of Run
	work     context.Context
}

// Open takes the folder for this process and reads what is in it. The error
// wraps [ErrNotJoined] if nobody joined there, [ErrInUse] if another process has
// it. Call Close when done.
func Open(dir string, cfg Config) (*Agent, error) {
	cfg = cfg.withDefaults()
	id, err := loadCredentials(dir)
	if err != nil {
		return nil, err
	}
	watch := filepath.Join(dir, watchFolder)
	actions, err := action.Table(action.Config{Version: cfg.Version, Scanner: cfg.Scanner,
		Folders: []string{watch}, Roots: cfg.ScanRoots, Rate: cfg.ScanRate,
		State: filepath.Join(dir, protectionFolder), Logs: filepath.Join(dir, logFolder)})
	if err != nil {
		return nil, err
	}
	for _, d := range cfg.Actions {
		actions[d.Kind] = d
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, dir: dir, lock: lock, id: id, actions: actions, network: addressesOf,
		clock:    newSiteClock(cfg.Clocks),
		joined:   make(chan struct{}),
		turns:    newTurns(cfg.Workers),
		boot:     cut(cfg.Boot(), MaxBoot),
		held:     make(map[task.ID]*job),
		refusals: make(map[task.ID]*report),
		cancels:  make(map[task.ID]Entry),
	}
	if err := a.load(watch); err != nil {
		lock.Close()
		return nil, err
	}
	return a, nil
}

func (a *Agent) load(watch string) error {
	if err := makeDir(watch); err != nil {
		return err
	}
	rec := a.cfg.Record
	if rec == nil {
		rec = FileRecord(a.dir)
	}
	var err error
	if a.ledger, err = openLedger(rec); err != nil {
		return errors.Join(err, rec.Close())
	}
	a.interrupted = a.ledger.interrupted(a.boot)
	if err := a.policy.load(filepath.Join(a.dir, policyFile), a.id); err != nil {
		// The site is asked for it again at once.
		a.cfg.Log.Warn("stored policy is not usable", "err", err)
	}
	a.loadFooting()
	a.status.path = filepath.Join(a.dir, statusFile)
	a.status.update(func(s *Status) {
		*s = Status{Site: a.id.Site, Device: a.id.Device, ID: a.id.ID, Version: a.cfg.Version,
			PID: os.Getpid(), Policy: a.policy.etag(), Keyring: a.id.keys.Load().number, Certificate: a.id.own.expires(),
			Windows: windowNames(a.policy.settings().Windows), Schedule: a.policy.settings().Windows}
	})
	a.forgetUsers()
	return nil
}

// Identity returns who this device is.
func (a *Agent) Identity() wire.Identity { return a.id.Identity }

// Close gives the folder back. Run must have returned.
func (a *Agent) Close() error {
	a.status.update(func(s *Status) { *s = s.stopped() })
	err := a.ledger.close()
	if err = errors.Join(err, a.lock.Close()); err != nil {
		return fmt.Errorf("close agent: %w", err)
	}
	return nil
}

// Run connects, serves, and connects again, until ctx ends. Then it stops what
// runs, reports that, says goodbye, and returns nil. It is called once.
func (a *Agent) Run(ctx context.Context) error {
	a.work, a.stop = context.WithCancel(context.Background())
	defer a.stopWork()
	defer a.verbose.stop(a.cfg.Verbose)
	a.takeFromPolicy(false)
	var wait backOff
	for listener := 0; ctx.Err() == nil; {
		end := a.round(ctx, &listener)
		if ctx.Err() != nil {
			break
		}
		if end.served == 0 && end.close == nil {
			end.err = errors.Join(end.err, a.revive(ctx))
		}
		d := end.wait(&wait)
		a.cfg.Log.Info("not connected", "err", end.err, "again-in", d.Round(time.Millisecond))
		a.status.update(func(s *Status) { s.offline(end.err, time.Now(), d) })
		if !sleep(ctx, d) {
			break
		}
	}
	return nil
}

// stopWork ends all tasks that run, and waits for them.
func (a *Agent) stopWork() {
	a.mu.Lock()
	a.stop()
	a.mu.Unlock()
	a.working.Wait()
}

// beside runs f beside whatever runs, unless the agent stops, and tells whether it
// does. stopWork waits for it.
func (a *Agent) beside(f func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.work.Err() != nil {
		return false
	}
	a.working.Go(f)
	return true
}

// ending is how a round of connecting ended.
type ending struct {
	err    error
	cause  error         // the same without the address
	served time.Duration // how long a session lasted; 0: there was none
	spread time.Duration
	close  *wire.Close // what the listener said, or nil
}

// settledSession is how long a session must last before the next failure counts
// as the first one.
const settledSession = 10 * time.Second

func (e *ending) wait(b *backOff) time.Duration {
	if e.served >= settledSession {
		b.reset(e.spread)
	}
	if e.close == nil {
		return b.next()
	}
	if e.close.Code.Stop() {
		return jitter(stopWait)
	}
	return min(e.close.RetryAfter, stopWait) + b.next()
}

// sleep waits for d; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (a *Agent) event(e Event) {
	if a.cfg.OnEvent != nil {
		e.Device, e.At = a.id.Device, time.Now()
		a.cfg.OnEvent(e)
	}
}
