package simulator

import (
	"context"
	"slices"

	mapping "github.com/bugle-fleet/bugle/cmd/bugle/feed"
	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/projectors/operation"
)

// A feed tells a listener of what is open and who is blocked, as that of the real
// site does: the state at one event first, then what follows it. When the site
// goes down it breaks, and begins anew with the next run.
type feed struct {
	site    *site
	dead    func() bool // the listener was killed
	deaf    bool        // it tells of no operation
	mapper  *mapping.Mapper
	reader  journal.Reader
	next    uint64
	waiting []listener.Update
}

// Next implements [listener.Feed].
func (f *feed) Next(ctx context.Context) (listener.Update, error) {
	for f.skip(); len(f.waiting) == 0; f.skip() {
		err := f.more(ctx)
		if f.dead() {
			err = errDead
		}
		if err != nil {
			f.close()
			return nil, err
		}
	}
	u := f.waiting[0]
	f.waiting = f.waiting[1:]
	return u, nil
}

// skip leaves out what a deaf one does not tell.
func (f *feed) skip() {
	f.waiting = slices.DeleteFunc(f.waiting, func(u listener.Update) bool {
		_, opens := u.(listener.OpenOperation)
		return opens && f.deaf
	})
}

func (f *feed) more(ctx context.Context) error {
	if f.reader == nil {
		return f.begin(ctx)
	}
	page, err := f.reader.Next(ctx)
	if err != nil {
		return err
	}
	for i := range page.Records {
		r := &page.Records[i]
		if r.Number < f.next {
			continue
		}
		f.next = r.Number + 1
		e, err := r.Event()
		if err != nil {
			return err
		}
		updates, err := f.mapper.Updates(e)
		if err != nil {
			return err
		}
		f.waiting = append(f.waiting, updates...)
	}
	return nil
}

// begin reads the state. Who is blocked is read behind the position and so may be
// told twice; read before it, some would not be told.
func (f *feed) begin(ctx context.Context) error {
	r := f.site.now()
	if r == nil {
		return errDown
	}
	f.mapper = mapping.NewMapper()
	var open []listener.Update
	position, err := r.ops.At(func(s *operation.Snapshot) (err error) {
		open, err = f.mapper.State(s.Open(), s.Cancels())
		return err
	})
	if err != nil {
		return err
	}
	for _, ring := range r.authority.Keyrings() {
		f.waiting = append(f.waiting, listener.ChangeKeys{Ring: ring})
	}
	for _, device := range r.authority.Blocked() {
		f.waiting = append(f.waiting, listener.BlockDevice{Device: device})
	}
	f.waiting = append(append(f.waiting, open...), listener.Whole{})
	f.next = position + 1
	f.reader, err = r.store.Follow(ctx, f.next)
	return err
}

func (f *feed) close() {
	if f.reader != nil {
		f.reader.Close()
	}
	f.reader, f.waiting = nil, nil
}
