package inventory_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/inventory"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// all is what a reader says, in words.
func all(t *testing.T, r *inventory.Reader) string {
	live, err := r.Live()
	if err != nil {
		t.Error(err)
		return ""
	}
	classes, err := r.Schema()
	words := fmt.Sprintln(live, len(classes.Classes()), err)
	for _, n := range live.ToArray() {
		words += strings.Join(lines(t, r, n), "\n") + "\n" + record(t, r, n)
	}
	return words
}

func TestAsOf(t *testing.T) {
	view, r := inventory.New(few(t))
	projectorstest.AsOf(t, history(), view, func() string { return all(t, r) },
		func(p *projectors.Past) string { return all(t, inventory.At(p)) })
}
