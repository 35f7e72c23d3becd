package console

import (
	"context"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
)

// A Forecaster tells what definitions would do; package evaluator has one. It is
// safe for concurrent use.
type Forecaster interface {
	// WhatIf returns what would become of the members of collections that are
	// defined, if some were as in changed and those in deleted were not there: one
	// change for each collection whose members would change, and for others as it
	// likes.
	WhatIf(ctx context.Context, changed []event.Collection, deleted []string) ([]engine.Change, error)
}
