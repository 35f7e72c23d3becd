package evaluator

import (
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

// pending is devices that changed, as events told.
type pending struct {
	devices     *roaring.Bitmap // nil for none
	schema      bool            // classes were defined, too
	event       uint64          // the first that told
	last        uint64          // and the last
	first, soon time.Time       // when the first and the last were heard of
}

func (p *pending) any() bool { return p.devices != nil || p.schema }

// heard takes note of an event at the time now.
func (p *pending) heard(number uint64, now time.Time) {
	if p.event == 0 {
		p.event, p.first = number, now
	}
	p.last, p.soon = number, now
}

func (p *pending) add(device uint32) {
	if p.devices == nil {
		p.devices = roaring.New()
	}
	p.devices.Add(device)
}

// maxBatches is how many sets of changed devices are kept apart.
const maxBatches = 64

// changes is the log of what changed in the engine: which devices since when. A
// collection remembers up to where it is computed; so what it lacks is known, whoever
// else has been computed meanwhile. Versions count from 1.
type changes struct {
	batches []batch
	version uint64 // of the last batch
}

type batch struct {
	version uint64
	devices *roaring.Bitmap // nobody changes it
}

// add takes a set over.
func (c *changes) add(devices *roaring.Bitmap) {
	if devices.IsEmpty() {
		return
	}
	c.version++
	c.batches = append(c.batches, batch{c.version, devices})
	if len(c.batches) > maxBatches {
		c.merge()
	}
}

// merge joins the older half by pairs. Whoever lacked the later one of a pair now
// seems to lack both: that is more to compute, and never too little.
func (c *changes) merge() {
	half := len(c.batches) / 2 &^ 1
	merged := make([]batch, 0, maxBatches)
	for i := 0; i < half; i += 2 {
		merged = append(merged, batch{c.batches[i+1].version, roaring.Or(c.batches[i].devices, c.batches[i+1].devices)})
	}
	c.batches = append(merged, c.batches[half:]...)
}

// since returns the devices that changed after a version; nobody changes them.
func (c *changes) since(version uint64) *roaring.Bitmap {
	var sets []*roaring.Bitmap
	for i := len(c.batches) - 1; i >= 0 && c.batches[i].version > version; i-- {
		sets = append(sets, c.batches[i].devices)
	}
	switch len(sets) {
	case 0:
		return none
	case 1:
		return sets[0]
	}
	return roaring.FastOr(sets...)
}

// forget drops what everybody has seen.
func (c *changes) forget(version uint64) {
	n := 0
	for n < len(c.batches) && c.batches[n].version <= version {
		n++
	}
	c.batches = c.batches[n:]
}

// none is the empty set; nobody changes it.
var none = roaring.New()
