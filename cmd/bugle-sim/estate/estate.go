package estate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// Bounds of an estate.
const (
	MaxDevices     = 10_000_000
	MaxCollections = 100_000
	MaxDepth       = 8 // collections in a chain of limits, includes, excludes and references, without the root
)

// Now is the time at which an estate's inventory was taken; evaluations of it begin
// here.
var Now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// Options are what an estate is made from.
type Options struct {
	Devices     int // numbers 1 to Devices
	Collections int
	Products    int // there are, 5,000 by default
	Installed   int // products of a device, 50 by default
	Seed        uint64
	Site        string // of the ids of collections, "P01" by default
}

// An Estate is made up on demand. It is safe for concurrent use.
type Estate struct {
	o        Options
	schema   *schema.Schema
	catalog  []product
	products weights
	places   map[string]place // of "CLASS.Property"
	defined  []Definition
}

// A place is where a property is.
type place struct{ class, property int }

// New returns an estate whose properties all are in the schema.
func New(o Options, s *schema.Schema) (*Estate, error) {
	o.Products, o.Installed = defaultTo(o.Products, 5000), defaultTo(o.Installed, 50)
	if o.Site == "" {
		o.Site = "P01"
	}
	switch {
	case o.Devices < 1 || o.Devices > MaxDevices:
		return nil, fmt.Errorf("make estate: %d devices are not from 1 to %d", o.Devices, MaxDevices)
	case o.Collections < 0 || o.Collections > MaxCollections:
		return nil, fmt.Errorf("make estate: %d collections are not from 0 to %d", o.Collections, MaxCollections)
	case o.Installed < 1 || o.Installed > o.Products/2:
		return nil, fmt.Errorf("make estate: a device has %d of %d products, at most half of them are possible", o.Installed, o.Products)
	}
	e := &Estate{o: o, schema: s, places: map[string]place{}}
	if err := e.resolve(); err != nil {
		return nil, err
	}
	e.makeCatalog()
	e.define()
	return e, nil
}

func defaultTo(n, standard int) int {
	if n == 0 {
		return standard
	}
	return n
}

// resolve looks up all properties that devices have.
func (e *Estate) resolve() error {
	for _, name := range properties {
		class, property := name.class, name.property
		c, ok := e.schema.Class(class)
		if !ok {
			return fmt.Errorf("make estate: the schema has no class %s", class)
		}
		i, ok := c.Property(property)
		if !ok {
			return fmt.Errorf("make estate: class %s has no property %s", class, property)
		}
		e.places[class+"."+property] = place{c.Index, i}
	}
	return nil
}

// Schema returns what New was given.
func (e *Estate) Schema() *schema.Schema { return e.schema }

// Properties returns which properties of which classes devices have, by their
// indexes.
func (e *Estate) Properties() map[int][]int {
	all := map[int][]int{}
	for _, p := range e.places {
		all[p.class] = append(all[p.class], p.property)
	}
	for class := range all {
		slices.Sort(all[class])
	}
	return all
}

// Devices returns how many there are.
func (e *Estate) Devices() int { return e.o.Devices }

// random returns the numbers that something of an estate is made from.
func (e *Estate) random(what, which uint64) *rand.Rand {
	return rand.New(rand.NewPCG(e.o.Seed<<8|what, which))
}

// What random numbers are for.
const (
	forDevice = iota
	forCatalog
	forDefinitions
	forBatch
	forChange // and one more for each round
)

// A weights draws places from 0 so that few are frequent and many are rare.
type weights []float64 // running sums, the last is 1

// falling returns weights of n places of which the kth has 1/(k+1)^power.
func falling(n int, power float64) weights {
	w := make(weights, n)
	sum := 0.0
	for i := range w {
		sum += pow(float64(i+1), -power)
		w[i] = sum
	}
	for i := range w {
		w[i] /= sum
	}
	return w
}

func (w weights) draw(r *rand.Rand) int {
	i, _ := slices.BinarySearch(w, r.Float64())
	return min(i, len(w)-1)
}
