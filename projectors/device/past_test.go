package device_test

import (
	"fmt"
	"testing"

	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/device"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// all is what a reader says, in words.
func all(r *device.Reader) string {
	devices, err := r.List(0, 100)
	numbers, err2 := r.Numbers()
	count, err3 := r.Count()
	gone, err4 := r.Removed()
	text := fmt.Sprintln(devices, err, numbers, err2, count, err3, gone, err4)
	for _, d := range devices {
		one, ok, err := r.Get(d.Number)
		named, err2 := r.Find(d.Name)
		text += fmt.Sprintln(one, ok, err, named, err2)
	}
	return text
}

func TestAsOf(t *testing.T) {
	view, r := device.New()
	projectorstest.AsOf(t, history(t), view, func() string { return all(r) },
		func(p *projectors.Past) string { return all(device.At(p)) })
}
