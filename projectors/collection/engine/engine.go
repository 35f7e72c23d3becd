package engine

import (
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

// A Collection is the definition of one as the engine takes it. Nobody changes it.
type Collection struct {
	ID      string
	Limit   string          // id of the limiting collection; empty: all devices, the root
	Direct  *roaring.Bitmap // device numbers, or nil
	Queries []*wql.Query
	Include []string
	Exclude []string
}

// A Request asks for an evaluation.
type Request struct {
	// Collections are those to evaluate, in any order; nil means all. Whatever they
	// depend on and is not among them counts as it was last.
	Collections []string
	// Devices are those to look at; nil means all. The others stay as they are, which
	// is exact if nothing changed that their membership depends on.
	Devices *roaring.Bitmap
	Now     time.Time // what GetDate() is
}

// A Change is what became of one collection.
type Change struct {
	ID             string
	Added, Removed *roaring.Bitmap // never nil; the caller's
	Members        int             // after it
	Took           time.Duration   // what it alone cost
	Computed       int             // conditions that were computed
	Reused         int             // conditions that another collection had computed
}

// A Truth is what a condition is for a device.
type Truth uint8

// The truths.
const (
	False Truth = iota
	True
	Unknown // a value that it needs is NULL
)
