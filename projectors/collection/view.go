package collection

import (
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
)

const (
	name   = "collection"
	schema = 1
)

// New returns the view for [projectors.Open] and its reader.
func New() (*projectors.View, *Reader) {
	v := &projectors.View{
		Name:   name,
		Schema: schema,
		Kinds:  []event.Kind{event.KindCollectionChanged, event.KindCollectionsEvaluated},
		Fold:   func() projectors.Fold { return newFold() },
	}
	return v, &Reader{v}
}

type fold struct {
	published // as it will be
	cycles    [queues][]uint64
	open      []*entry // that are not published as they are
	changed   bool     // since the last Publish
	shared    bool     // names belong to what was published
	last      *published
}

func newFold() *fold {
	f := &fold{changed: true}
	f.insert(root())
	return f
}

// Publish copies the list of entries and, of each entry that changed, where its
// containers are; the members themselves are shared until they change.
func (f *fold) Publish() any {
	if !f.changed {
		return f.last
	}
	for _, e := range f.open {
		e.members = e.own.Clone()
		e.members.SetCopyOnWrite(false) // a reader's copy of it is a copy, and writes nothing into it
		e.published = true
	}
	f.open, f.changed, f.shared = f.open[:0], false, true
	f.last = &published{slices.Clone(f.list), f.names, f.lastCycle}
	return f.last
}

// edit returns entry i for a change.
func (f *fold) edit(i int) *entry {
	f.changed = true
	e := f.list[i]
	if e.published {
		c := *e
		c.published = false
		e = &c
		f.list[i] = e
		f.open = append(f.open, e)
	}
	return e
}

// insert adds an entry with a new id.
func (f *fold) insert(e *entry) {
	i, _ := find(f.list, e.ID)
	f.list = slices.Insert(f.list, i, e)
	f.open = append(f.open, e)
	f.changed = true
	f.call(e)
}

// call makes an entry known under its name.
func (f *fold) call(e *entry) {
	f.ownNames()
	n := named{strings.ToLower(e.Name), e.ID}
	if i, ok := slices.BinarySearchFunc(f.names, n, named.compare); !ok {
		f.names = slices.Insert(f.names, i, n)
	}
}

func (f *fold) uncall(e *entry) {
	f.ownNames()
	if i, ok := slices.BinarySearchFunc(f.names, named{strings.ToLower(e.Name), e.ID}, named.compare); ok {
		f.names = slices.Delete(f.names, i, i+1)
	}
}

func (f *fold) ownNames() {
	if f.shared {
		f.names, f.shared = slices.Clone(f.names), false
	}
}

func (f *fold) Apply(b *projectors.Batch, e *event.Event) error {
	switch p := e.Payload.(type) {
	case *event.CollectionChanged:
		return f.define(b, e, p)
	case *event.CollectionsEvaluated:
		return f.evaluated(b, e, p)
	}
	return nil
}

func (f *fold) define(b *projectors.Batch, e *event.Event, p *event.CollectionChanged) error {
	if p.ID == "" || p.ID == event.RootCollection {
		return nil
	}
	i, ok := find(f.list, p.ID)
	if p.After == nil {
		if ok {
			f.remove(b, i)
		}
		return nil
	}
	var c *entry
	if ok {
		c = f.edit(i)
		f.uncall(c)
	} else {
		c = newEntry(p.ID)
		c.Created = mark(e)
	}
	c.Collection, c.Defined = *p.After, mark(e)
	c.ID = p.ID
	c.Version++
	if ok {
		f.call(c)
	} else {
		f.insert(c)
	}
	value, err := encodeDefinition(&c.Info)
	if err != nil {
		return err
	}
	b.Set(idKey(prefixDefinition, p.ID), value)
	return nil
}

// remove deletes all rows of a collection. What it has in memory says which those
// are.
func (f *fold) remove(b *projectors.Batch, i int) {
	c := f.list[i]
	b.Delete(idKey(prefixDefinition, c.ID))
	b.Delete(idKey(prefixState, c.ID))
	for q := range c.stats {
		for slot := range min(c.stats[q].Runs, MaxRuns) {
			b.Delete(runKey(c.ID, event.EvaluationQueue(q+1), slot))
		}
	}
	for _, chunk := range chunks(c.own) {
		b.Delete(chunkKey(prefixMembers, c.ID, chunk))
		b.Delete(chunkKey(prefixFlips, c.ID, chunk))
	}
	f.uncall(c)
	f.open = slices.DeleteFunc(f.open, func(e *entry) bool { return e == c })
	f.list = slices.Delete(f.list, i, i+1)
	f.changed = true
}

// chunks returns the chunks that have a device of the set, rising.
func chunks(set *roaring.Bitmap) (all []uint16) {
	for next := int64(0); next <= 1<<32-1; {
		at := set.NextValue(uint32(next))
		if at < 0 {
			break
		}
		all = append(all, chunkOf(uint32(at)))
		next = (at>>16 + 1) << 16
	}
	return all
}
