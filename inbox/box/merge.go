package box

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Bounds of a file that [Spool.Merge] makes of several.
const (
	mergeRecords = 5000
	mergeBytes   = 1 << 20
)

// Last returns the number of the newest file of a kind, 0 if there is none.
func (s *Spool) Last(k Kind) uint64 {
	q := &s.kinds[k]
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.last
}

// Merge puts the contents of many small files into few, which are at most 5,000
// records or 1 MiB long: of the newest files of a kind, those with the number from
// and higher. No reader may have seen one of these, for their numbers are given
// again, to other files. Drops of the kind wait meanwhile. It returns how many
// files fewer there are, and how many bytes.
//
// At every moment all records are in files, and no number is missing between the
// files: after a crash records may be there twice. Presence stays as it is, for
// its files stand on one another; a file that cannot be read stays too, with those
// before it.
func (s *Spool) Merge(k Kind, from uint64) (files int, bytes int64, err error) {
	if k == BOS || !k.Valid() {
		return 0, 0, nil
	}
	q := &s.kinds[k]
	q.mu.Lock()
	defer q.mu.Unlock()
	m := merger{s: s, kind: k, next: max(from, q.merged, 1)}
	for number := m.next; number <= q.last; number++ {
		if err := m.add(number); err != nil {
			return 0, -m.grown, fmt.Errorf("merge files: %w", err)
		}
	}
	if err := m.flush(); err != nil {
		return 0, -m.grown, fmt.Errorf("merge files: %w", err)
	}
	for ; q.last >= m.next; q.last-- { // from the end on, so that none is ever missing in between
		if err := m.remove(q.last); err != nil {
			return files, -m.grown, fmt.Errorf("merge files: %w", err)
		}
		files++
	}
	q.merged = q.last
	if files > 0 {
		err = syncFolder(s.dir)
	}
	return files, -m.grown, err
}

// A merger writes files anew, one group of them after the other. The file that a
// group becomes takes the place of one that is in it, or of one that is in a file
// which is durable already.
type merger struct {
	s    *Spool
	kind Kind
	next uint64 // the number of the next file that is written

	group   []*File
	records int
	bytes   int

	grown int64 // bytes
}

func (m *merger) path(number uint64) (name Name, path string) {
	name = Name{m.s.cfg.Listener, m.s.cfg.Epoch, number, m.kind}
	return name, filepath.Join(m.s.dir, name.String())
}

// add takes a file into the group, which it ends before if that is full.
func (m *merger) add(number uint64) error {
	name, path := m.path(number)
	b, err := os.ReadFile(path)
	var f *File
	if err == nil {
		f, err = Decode(b, m.own)
	}
	if err != nil || f.Name != name || len(f.Bad) > 0 {
		m.group, m.records, m.bytes, m.next = nil, 0, 0, number+1 // what is before it must stay, or numbers would be missing
		return nil
	}
	if len(m.group) > 0 && (m.records+f.Contents.Len() > mergeRecords || m.bytes+len(b) > mergeBytes) {
		if err := m.flush(); err != nil {
			return err
		}
	}
	m.group = append(m.group, f)
	m.records += f.Contents.Len()
	m.bytes += len(b)
	return nil
}

func (m *merger) own(string, uint32) (ed25519.PublicKey, bool) {
	return m.s.cfg.Key.Public().(ed25519.PublicKey), true
}

// flush writes the group as one file, durably: the next one may overwrite a file
// that is in it.
func (m *merger) flush() error {
	group := m.group
	if len(group) == 0 {
		return nil
	}
	name, path := m.path(m.next)
	if len(group) > 1 || group[0].Name != name {
		f := File{Name: name, Site: m.s.cfg.Site, From: group[0].From, To: group[0].To, Contents: joined(group)}
		for _, g := range group[1:] {
			if g.From.Before(f.From) {
				f.From = g.From
			}
			if g.To.After(f.To) {
				f.To = g.To
			}
		}
		b, err := f.Append(nil, m.s.cfg.Key)
		if err != nil {
			return err
		}
		if err := m.replace(name, path, b); err != nil {
			return err
		}
	}
	m.group, m.records, m.bytes = nil, 0, 0
	m.next++
	return nil
}

func (m *merger) replace(name Name, path string, b []byte) error {
	tmp := temporary(m.s.dir, name)
	old, err := os.Lstat(path)
	if err == nil {
		err = writeDurably(tmp, b)
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, removed(tmp))
	}
	m.grown += int64(len(b)) - old.Size()
	return syncFolder(m.s.dir)
}

func removed(tmp string) error {
	if err := os.Remove(tmp); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (m *merger) remove(number uint64) error {
	_, path := m.path(number)
	old, err := os.Lstat(path)
	if err == nil {
		err = os.Remove(path)
	}
	if err == nil {
		m.grown -= old.Size()
	}
	return err
}

// joined is what several files of a kind hold, in their order.
func joined(group []*File) Contents {
	if len(group) == 1 {
		return group[0].Contents
	}
	switch group[0].Contents.(type) {
	case *Results:
		all := new(Results)
		for _, f := range group {
			all.Rows = append(all.Rows, f.Contents.(*Results).Rows...)
		}
		return all
	case *Status:
		all := new(Status)
		for _, f := range group {
			all.Records = append(all.Records, f.Contents.(*Status).Records...)
		}
		return all
	}
	all := new(Discovery)
	for _, f := range group {
		all.Records = append(all.Records, f.Contents.(*Discovery).Records...)
	}
	return all
}
