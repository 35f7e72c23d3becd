package pacing

import "context"

// Round is what a runner does every second.
func (r *Runner) Round(ctx context.Context) error { return r.round(ctx) }
