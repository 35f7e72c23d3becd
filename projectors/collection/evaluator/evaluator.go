package evaluator

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// A Journal is what the evaluator needs of a [journal.Journal].
type Journal interface {
	Append(ctx context.Context, events ...*event.Event) error
	Read(ctx context.Context, from uint64) (journal.Reader, error)
	Follow(ctx context.Context, from uint64) (journal.Reader, error)
	Head() journal.Head
}

// Devices is the inventory after one event.
type Devices interface {
	// Schema is the same one until classes are defined.
	Schema() *schema.Schema
	// Record returns all that is known of a device; ok is false if there is none.
	// The record is the caller's.
	Record(device uint32) (r *schema.Record, ok bool, err error)
	// Records hands yield the record of every device until it returns false or an
	// error.
	Records(yield func(*schema.Record) (more bool, err error)) error
}

// A Known is a collection as the view of collections has it when the evaluator
// begins.
type Known struct {
	ID         string
	Definition *event.Collection // nil for the root
	Defined    uint64            // the event that defined it as it is
	Members    *roaring.Bitmap   // nobody changes it
	Changed    uint64            // the event that changed its members last, 0 for none
	Evaluated  uint64            // the event of its last evaluation, 0 if there was none
	Basis      uint64            // and the last event that this has seen
	Began      time.Time         // when that was
	Took       time.Duration     // the last evaluation of all devices, 0 if there was none
}

// Config is what an [Evaluator] needs.
type Config struct {
	Journal Journal
	// Inventory runs read on the devices as they are, and returns the event that this
	// is after; [Inventory] makes one of the view.
	Inventory func(read func(Devices) error) (position uint64, err error)
	// Collections returns all collections, the root among them, the highest number of
	// a cycle, and the event that this is after; [Collections] makes one of the view.
	Collections func() (all []Known, cycle, position uint64, err error)
	Views       interface {
		Wait(ctx context.Context, event uint64, names ...string) error
	}
	// Notify takes status messages, of the numbers 1301 and up; it must not wait. Nil:
	// they are only in the log.
	Notify   func(*event.SiteMessage)
	Settings Settings

	Log *slog.Logger     // default slog.Default()
	Now func() time.Time // default time.Now
}

// A Cascade says when a collection that has a schedule, and is not incremental,
// follows a change of one that it depends on.
type Cascade uint8

// The cascades.
const (
	CascadeNow       Cascade = iota // in the same cycle
	CascadeScheduled                // at its schedule; until then it is stale
)

// Settings say when cycles run. The zero value is the default.
type Settings struct {
	// An incremental cycle begins once nothing has changed for Quiet, and Latest after
	// the first change; default 50 ms and 200 ms.
	Quiet, Latest time.Duration
	// Interval, if it is not 0, is the least time from the beginning of an incremental
	// cycle to that of the next one; the original's is five minutes.
	Interval time.Duration
	Cascade  Cascade
	// Slow is how long an incremental cycle may take before it is a status message,
	// if there is no Interval; default 5 s.
	Slow time.Duration
}

func (s Settings) orDefault() Settings {
	if s.Quiet <= 0 {
		s.Quiet = 50 * time.Millisecond
	}
	if s.Latest <= 0 {
		s.Latest = 200 * time.Millisecond
	}
	s.Latest = max(s.Latest, s.Quiet)
	s.Interval = max(s.Interval, 0)
	if s.Slow <= 0 {
		s.Slow = 5 * time.Second
	}
	if s.Interval > 0 {
		s.Slow = s.Interval
	}
	return s
}

// ErrStopped is returned to those who ask an evaluator that runs no more.
var ErrStopped = errors.New("evaluator has stopped")

// An Evaluator evaluates collections. What is not said to be for Run's goroutine
// only is safe for concurrent use.
type Evaluator struct {
	cfg    Config
	asks   chan func()
	ended  chan struct{} // closed when Run has returned
	queues queues        // has a lock of its own

	// The rest belongs to the goroutine of Run.

	engine  core
	newCore func(*schema.Schema) core
	schema  *schema.Schema
	nodes   map[string]*node
	feeds   map[string][]string // the collections that name it, by id
	broken  []string            // collections that cannot be evaluated, by id

	applied uint64    // the last event of the journal that is known here
	defined uint64    // that the view of collections held at the start
	pending pending   // devices that changed and were not read since
	changes changes   // devices that were read
	clock   time.Time // rules with a date are as of, without a monotonic reading; see setBack
	turn    time.Time // the next instant at which one turns, zero for none
	due     time.Time // the next schedule, zero for none
	last    time.Time // when the last incremental cycle began
	behind  time.Time // since when others have read devices that no incremental cycle has seen, zero for not
	reborn  []birth   // collections that are new and not in the engine yet
	// redefinedBy is the event of the last definition that is not in the engine yet, 0
	// for none.
	redefinedBy uint64
	cycles      uint64               // the highest number of one
	appended    []*event.Event       // own results behind applied
	told        map[string]time.Time // when status messages were sent, by what they are about
	ready       bool                 // questions can be answered
}

// New makes an evaluator; [Evaluator.Run] lets it run.
func New(cfg Config) *Evaluator {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Log = cfg.Log.With("component", "evaluator")
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Notify == nil {
		cfg.Notify = func(*event.SiteMessage) {}
	}
	cfg.Settings = cfg.Settings.orDefault()
	return &Evaluator{
		cfg: cfg, asks: make(chan func()), ended: make(chan struct{}),
		newCore: func(s *schema.Schema) core { return engine.New(s) },
		told:    map[string]time.Time{},
	}
}
