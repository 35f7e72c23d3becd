package agent

import (
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A Record is an agent's memory across restarts: a log of [Entry]. An agent uses
// it from one goroutine at a time. The default is a file in the agent's folder;
// a process with many agents may keep theirs in one place, to share its fsyncs.
type Record interface {
	// Load returns all entries, oldest first. It is called once, before the
	// other methods.
	Load() ([]Entry, error)
	// Append adds entries. If durable is set, they survive a power cut when it
	// returns nil. After an error any number of them, from the first on, may
	// have been added, and the agent calls Rewrite before it appends again.
	Append(durable bool, entries ...Entry) error
	// Rewrite replaces everything by entries, durably and all or nothing.
	Rewrite(entries []Entry) error
	// Close lets go of what the record holds.
	Close() error
}

// An Act says what an [Entry] tells.
type Act uint8

// The acts. The numbers are on disk and never change.
const (
	Reached Act = 1 // the device reached Result.State; the site does not know yet
	Acked   Act = 2 // the site has that result on disk
)

// An Entry is one line of a [Record]. Of an Acked one only Operation, Attempt
// and State of the result count.
type Entry struct {
	Act    Act
	Kind   string      // of the task
	Until  time.Time   // by the site's clock: the operation may be forgotten after it
	Again  bool        // the kind may start again
	Boot   string      // of a barrier that runs: which boot of the machine it began in, at most [MaxBoot] bytes
	Result task.Result // Device is not kept: it is the agent's
}

// Bounds of a record.
const (
	// MaxKnown is how many operations an agent remembers. One more is not taken
	// until another may be forgotten.
	MaxKnown = 4096
	// MaxBoot is the longest name of a boot in bytes.
	MaxBoot = 64
	// keepAfter is how long after its deadline an operation is remembered.
	keepAfter = 24 * time.Hour
)
