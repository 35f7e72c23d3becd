package window

import "github.com/bugle-fleet/bugle/projectors"

// NewBounded is New with another number of windows that are kept.
func NewBounded(most int) (*projectors.View, *Reader) {
	v, r := New()
	v.Fold = func() projectors.Fold { return &fold{most: most} }
	return v, r
}
