package simulator

import (
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// carry brings a file of a listener to the site's box, now or later. A file that
// is late comes behind those that were dropped after it.
func (s *server) carry(name string, b []byte) {
	s.mu.Lock()
	lag := s.lag
	damaged := s.damage > 0
	if damaged {
		s.damage--
	}
	s.mu.Unlock()
	delay := time.Millisecond
	if lag > 0 {
		delay = time.Duration(s.w.below(int(lag)))
		s.w.hit("file carried late")
	}
	if damaged { // a copy that broke on the way comes first
		wrong := slices.Clone(b)
		wrong[s.w.below(len(wrong))] ^= 1 << s.w.below(8)
		time.AfterFunc(delay, func() { s.w.put(name, wrong) })
		s.w.hit("damaged copy of a file before the file")
		delay += 3 * time.Second
	}
	time.AfterFunc(delay, func() {
		if err := os.Rename(filepath.Join(s.dir, name), filepath.Join(s.w.site.box(), name)); err != nil {
			s.w.violated(0, "carry file: %v", err)
		}
	})
}

// oldFile is one of the files that the history has all of, or nil.
func (w *world) oldFile() *file {
	var names []box.Name
	for n, t := range w.model.files {
		if t.whole() {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.SortFunc(names, box.Name.Compare)
	return w.truth.file(names[w.below(len(names))])
}

// again brings a file that was there before.
func (w *world) again() {
	if f := w.oldFile(); f != nil {
		w.put(f.name.String(), f.bytes)
		w.hit("file came again")
	}
}

// renamed brings the bytes of a file under a name that is not theirs.
func (w *world) renamed() {
	f := w.oldFile()
	if f == nil {
		return
	}
	n := f.name
	switch w.below(4) {
	case 0:
		n.Number += 1000
	case 1:
		n.Epoch++
		n.Number += 1000
	case 2:
		n.Listener = "LSNX"
	case 3:
		n.Kind = n.Kind%box.DDR + 1
		n.Number += 1000
	}
	w.put(n.String(), f.bytes)
	w.hit("file came under another name")
}

// contradicted brings other contents under a name that the history has, with the
// listener's own signature.
func (w *world) contradicted() {
	f := w.oldFile()
	if f == nil {
		return
	}
	var key []byte
	for _, s := range w.servers {
		if s.name == f.name.Listener {
			key = s.key
		}
	}
	var c box.Contents
	switch f.name.Kind {
	case box.BTS:
		c = &box.Results{Rows: []box.ResultRow{{Result: task.Result{Operation: task.NewID(time.Now()), Device: 1, State: task.Sent, At: time.Now()}}}}
	case box.BOS:
		c = &box.Presence{Full: true}
	case box.SVF:
		c = &box.Status{Records: []box.StatusRecord{{Type: box.Stopped, At: time.Now()}}}
	default:
		c = &box.Discovery{Records: []box.DiscoveryRecord{{Device: 1, At: time.Now(), Facts: []box.Fact{{Name: "lie", Value: "lie"}}}}}
	}
	other := box.File{Name: f.name, Site: siteCode, From: time.Now(), To: time.Now(), Contents: c}
	b, err := other.Append(nil, key)
	if err != nil {
		w.violated(0, "write other contents: %v", err)
		return
	}
	w.put(f.name.String(), b)
	w.hit("other contents under a name that was there")
}
