package window

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
)

const (
	name   = "window"
	schema = 1
)

// MaxWindows is the largest number of windows that are kept, of all collections.
const MaxWindows = 10_000

// New returns the view for [projectors.Open] and its reader.
func New() (*projectors.View, *Reader) {
	v := &projectors.View{
		Name:   name,
		Schema: schema,
		Kinds:  []event.Kind{event.KindCollectionChanged, event.KindWindowChanged},
		Fold:   func() projectors.Fold { return &fold{most: MaxWindows} },
	}
	return v, &Reader{v}
}

// A fold keeps all windows in memory, in order.
type fold struct {
	all       []Window
	published bool // readers have all: the next change makes a new slice
	most      int
}

func (f *fold) Load(s *projectors.Snapshot) error {
	err := s.Scan([]byte{prefixWindow}, nil, func(key, value []byte) (bool, error) {
		w, err := decodeRow(value)
		if err == nil && !bytes.Equal(key, windowKey(w.Collection, w.Name)) {
			err = fmt.Errorf("row of window %q of collection %s has key %x", w.Name, w.Collection, key)
		}
		f.all = append(f.all, w)
		return true, err
	})
	slices.SortFunc(f.all, compare)
	return err
}

func (f *fold) Publish() any {
	f.published = true
	return f.all
}

// own makes all the fold's own, to be changed.
func (f *fold) own() {
	if f.published {
		f.all, f.published = slices.Clone(f.all), false
	}
}

func (f *fold) Apply(b *projectors.Batch, e *event.Event) error {
	switch p := e.Payload.(type) {
	case *event.CollectionChanged:
		if p.After == nil {
			f.forget(b, p.ID)
		}
	case *event.WindowChanged:
		if len(p.After) == 0 {
			f.remove(b, p.Collection, p.Name)
			return nil
		}
		return f.set(b, Window{p.Collection, p.Name, p.After, e.Number, e.Accepted})
	}
	return nil
}

func (f *fold) find(collection, name string) (i int, found bool) {
	return slices.BinarySearchFunc(f.all, Window{Collection: collection, Name: name}, compare)
}

// set takes a window unless there are too many.
func (f *fold) set(b *projectors.Batch, w Window) error {
	i, found := f.find(w.Collection, w.Name)
	if !found && len(f.all) >= f.most {
		return nil
	}
	value, err := encodeRow(&w)
	if err != nil {
		return err
	}
	var old []byte
	if found {
		if old, err = encodeRow(&f.all[i]); err != nil {
			return err
		}
		f.own()
		f.all[i] = w
	} else {
		f.own()
		f.all = slices.Insert(f.all, i, w)
	}
	b.Replace(windowKey(w.Collection, w.Name), old, value)
	return nil
}

func (f *fold) remove(b *projectors.Batch, collection, name string) {
	if i, found := f.find(collection, name); found {
		b.Delete(windowKey(collection, name))
		f.own()
		f.all = slices.Delete(f.all, i, i+1)
	}
}

// forget removes the windows of a collection that is gone.
func (f *fold) forget(b *projectors.Batch, collection string) {
	from, _ := f.find(collection, "")
	to := from
	for ; to < len(f.all) && f.all[to].Collection == collection; to++ {
		b.Delete(windowKey(collection, f.all[to].Name))
	}
	if to > from {
		f.own()
		f.all = slices.Delete(f.all, from, to)
	}
}

// Keys: a letter, then
//
//	w length collection name      a window; the length of the collection's id, a byte
const prefixWindow = 'w'

func windowKey(collection, name string) []byte {
	k := append([]byte{prefixWindow, byte(len(collection))}, collection...)
	return append(k, name...)
}
