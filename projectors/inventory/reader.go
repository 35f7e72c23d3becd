package inventory

import (
	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// A Reader reads the view. It is safe for concurrent use.
type Reader struct{ view projectors.Source }

// At returns the reader of the view as of one event.
func At(past *projectors.Past) *Reader { return &Reader{past.View(name)} }

// At runs read and returns the number of the event that all it saw was after.
func (r *Reader) At(read func(*Snapshot) error) (position uint64, err error) {
	err = r.view.Read(func(s *projectors.Snapshot) error {
		position = s.Position()
		return read(&Snapshot{s, s.State().(*published)})
	})
	return position, err
}

// A Snapshot is the inventory after one event. It must not be kept.
type Snapshot struct {
	s     *projectors.Snapshot
	state *published
}

// Position is the number of the event that the snapshot is after.
func (s *Snapshot) Position() uint64 { return s.s.Position() }

// Schema returns the classes and properties that there are: the standard ones and
// those that administrators defined. Nobody changes it; it is the same one until
// classes are defined.
func (s *Snapshot) Schema() *schema.Schema { return s.state.schema }

// Live returns the numbers of all devices that there are, joined or imported and
// not removed; the bitmap is the caller's.
func (s *Snapshot) Live() *roaring.Bitmap { return s.state.live.Clone() }

// Record is [Snapshot.Record].
func (r *Reader) Record(device uint32) (record *schema.Record, ok bool, err error) {
	_, err = r.At(func(s *Snapshot) error {
		record, ok, err = s.Record(device)
		return err
	})
	return record, ok, err
}

// Show is [Snapshot.Show].
func (r *Reader) Show(device uint32) (shown Shown, ok bool, err error) {
	_, err = r.At(func(s *Snapshot) error {
		shown, ok, err = s.Show(device)
		return err
	})
	return shown, ok, err
}

// Live is [Snapshot.Live].
func (r *Reader) Live() (live *roaring.Bitmap, err error) {
	_, err = r.At(func(s *Snapshot) error {
		live = s.Live()
		return nil
	})
	return live, err
}

// Schema is [Snapshot.Schema].
func (r *Reader) Schema() (classes *schema.Schema, err error) {
	_, err = r.At(func(s *Snapshot) error {
		classes = s.Schema()
		return nil
	})
	return classes, err
}
