package enginetest

import (
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// graph is a random graph of up to most collections, each behind all that it depends
// on. See [Query] for across.
func graph(t *rapid.T, s *schema.Schema, devices []uint32, most int, across bool) (all []engine.Collection) {
	var ids []string
	for i := range rapid.IntRange(1, most).Draw(t, "collections") {
		c := collection(t, s, devices, fmt.Sprintf("P01%05X", i+1), ids, across)
		ids = append(ids, c.ID)
		all = append(all, c)
	}
	return all
}

// collection is a random one that depends on none but earlier ones.
func collection(t *rapid.T, s *schema.Schema, devices []uint32, id string, earlier []string, across bool) engine.Collection {
	c := engine.Collection{ID: id}
	c.Limit = rapid.SampledFrom(append([]string{"", engine.Root, engine.Root}, earlier...)).Draw(t, "limit")
	if rapid.IntRange(0, 3).Draw(t, "direct") == 0 {
		c.Direct = roaring.BitmapOf(rapid.SliceOfN(rapid.SampledFrom(devices), 1, 6).Draw(t, "members")...)
	}
	others := append([]string{engine.Root}, earlier...)
	for range rapid.SampledFrom([]int{0, 1, 1, 1, 2}).Draw(t, "queries") {
		c.Queries = append(c.Queries, Query(t, s, others, across))
	}
	c.Include, c.Exclude = some(t, others), some(t, others)
	return c
}

// inputs are the collections that one is made from directly.
func inputs(c *engine.Collection) []string {
	ids := slices.Concat([]string{c.Limit}, c.Include, c.Exclude)
	for _, q := range c.Queries {
		ids = append(ids, q.Uses...)
	}
	return ids
}

// some are a few of them, mostly none.
func some(t *rapid.T, ids []string) (chosen []string) {
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "how many") {
		if id := rapid.SampledFrom(ids).Draw(t, "id"); !slices.Contains(chosen, id) {
			chosen = append(chosen, id)
		}
	}
	return chosen
}
