package authority

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// What an authority saves is an array, version 1:
//
//	devices    by number from 1, an empty array for a number that nobody has: id,
//	           public key, serial, token, joined, expires, blocked, event that
//	           blocked or unblocked it last
//	joins      device, token and key as their hash; by device, then hash
//	tokens     id, hash, uses, used, expires, event that revoked it; by id
//	listeners  name, newest epoch, then epoch and key; by name, by epoch
//
// Keys and certificates of the site are not in it: they are in files of their
// own.
const (
	saves       = "authority/1"
	saveVersion = 1
	maxSaved    = 1 << 24 // tokens, listeners, epochs of one
	maxGaps     = 1 << 16 // numbers that nobody has
	maxField    = event.MaxEncoded
)

var saveLimits = bounded.Limits{Bytes: math.MaxInt32, Items: math.MaxInt32}

// Saves implements [journal.SavingFold].
func (a *Authority) Saves() string { return saves }

// Save implements [journal.SavingFold].
func (a *Authority) Save() ([]byte, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	b, err := bounded.Encode(nil, a.save)
	if err != nil {
		return nil, fmt.Errorf("save authority: %w", err)
	}
	return b, nil
}

func (a *Authority) save(w *bounded.Writer) {
	w.Array(5)
	w.Uint(saveVersion)
	w.List(len(a.devices)-1, task.MaxDevice)
	gaps := 0
	for i := range a.devices[1:] {
		if !a.devices[1+i].save(w) {
			gaps++
		}
	}
	if gaps > maxGaps {
		w.Fail("%d numbers that nobody has", gaps)
	}
	joins := make([]join, 0, len(a.joined))
	for k, d := range a.joined {
		joins = append(joins, join{d, k})
	}
	slices.SortFunc(joins, join.compare)
	w.Array(len(joins))
	for i := range joins {
		w.Array(2)
		w.Uint(uint64(joins[i].device))
		w.Raw(joins[i].key[:])
	}
	w.List(len(a.tokens), maxSaved)
	for _, id := range slices.Sorted(maps.Keys(a.tokens)) {
		a.tokens[id].save(w, id)
	}
	w.List(len(a.listeners), maxSaved)
	for _, name := range slices.Sorted(maps.Keys(a.listeners)) {
		a.listeners[name].save(w, name)
	}
}

// A join is an entry of joined.
type join struct {
	device uint32
	key    joinKey
}

func (j join) compare(o join) int {
	return cmp.Or(cmp.Compare(j.device, o.device), bytes.Compare(j.key[:], o.key[:]))
}

// nanos is a time as it is kept: Unix nanoseconds, 0 for the zero time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// nobody tells whether no event was about the device.
func (d *device) nobody() bool {
	return d.id == task.ID{} && d.public == nil && d.serial == nil && d.token == "" && d.joined.IsZero() && d.expires.IsZero() && !d.blocked && d.changed == 0
}

func (d *device) save(w *bounded.Writer) (somebody bool) {
	if d.nobody() {
		w.Array(0)
		return false
	}
	w.Array(8)
	w.Raw(d.id[:])
	w.Bytes(d.public, maxField)
	w.Bytes(d.serial, maxField)
	w.Exact(d.token, maxField)
	w.Int(nanos(d.joined))
	w.Int(nanos(d.expires))
	w.Bool(d.blocked)
	w.Uint(d.changed)
	return true
}

func (d *device) restore(r *bounded.Reader) {
	if r.Array(8) > 0 {
		r.Raw(d.id[:])
		d.public = r.Bytes(maxField)
		d.serial = r.Bytes(maxField)
		d.token = r.String(maxField)
		d.joined = instant(r.Int64())
		d.expires = instant(r.Int64())
		d.blocked = r.Bool()
		d.changed = r.Uint64()
	}
	r.End()
}

func (t *token) save(w *bounded.Writer, id string) {
	w.Array(6)
	w.Exact(id, maxField)
	w.Raw(t.hash[:])
	w.Uint(uint64(t.uses))
	w.Uint(uint64(t.used))
	w.Int(nanos(t.expires))
	w.Uint(t.revoked)
}

func (l *listener) save(w *bounded.Writer, name string) {
	w.Array(3)
	w.Exact(name, maxField)
	w.Uint(uint64(l.newest))
	w.List(2*len(l.keys), maxSaved)
	for _, epoch := range slices.Sorted(maps.Keys(l.keys)) {
		w.Uint(uint64(epoch))
		w.Bytes(l.keys[epoch], maxField)
	}
}

// Restore implements [journal.SavingFold].
func (a *Authority) Restore(saved []byte) error {
	n := Authority{}
	n.forget()
	err := bounded.Decode(saved, saveLimits, n.restore)
	if err != nil {
		n.forget()
		err = fmt.Errorf("restore authority: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.devices, a.joined, a.tokens, a.listeners = n.devices, n.joined, n.tokens, n.listeners
	return err
}

// forget makes the authority know nothing of the journal.
func (a *Authority) forget() {
	a.devices, a.joined = make([]device, 1), map[joinKey]uint32{}
	a.tokens, a.listeners = map[string]*token{}, map[string]*listener{}
}

func (a *Authority) restore(r *bounded.Reader) error {
	r.Version(saveVersion)
	r.Array(task.MaxDevice)
	for gaps := 0; r.More(); {
		var d device
		d.restore(r)
		if d.nobody() {
			gaps++
		}
		if gaps > maxGaps {
			r.Fail("more than %d numbers that nobody has", maxGaps)
		}
		a.devices = append(a.devices, d)
	}
	r.End()
	a.joined = make(map[joinKey]uint32, len(a.devices))
	a.restoreJoins(r)
	restoreTokens(r, a.tokens)
	restoreListeners(r, a.listeners)
	r.End()
	return nil
}

func (a *Authority) restoreJoins(r *bounded.Reader) {
	var last join
	r.Array(math.MaxInt32)
	for r.More() {
		var j join
		r.Array(2)
		j.device = r.Uint32()
		r.Raw(j.key[:])
		r.End()
		if r.Err() == nil && (j.device == 0 || int(j.device) >= len(a.devices) || last.compare(j) >= 0) {
			r.Fail("join of device %d: not in order, or there is no such device", j.device)
		}
		a.joined[j.key], last = j.device, j
	}
	r.End()
}

func restoreTokens(r *bounded.Reader, tokens map[string]*token) {
	last := ""
	r.Array(maxSaved)
	for r.More() {
		t := new(token)
		r.Array(6)
		id := r.String(maxField)
		r.Raw(t.hash[:])
		t.uses = r.Uint32()
		t.used = r.Uint32()
		t.expires = instant(r.Int64())
		t.revoked = r.Uint64()
		r.End()
		if len(tokens) > 0 && id <= last {
			r.Fail("tokens are not in order")
		}
		tokens[id], last = t, id
	}
	r.End()
}

func restoreListeners(r *bounded.Reader, listeners map[string]*listener) {
	last := ""
	r.Array(maxSaved)
	for r.More() {
		r.Array(3)
		name := r.String(maxField)
		l := &listener{newest: r.Uint32(), keys: map[uint32]ed25519.PublicKey{}}
		l.restoreKeys(r)
		r.End()
		if len(listeners) > 0 && name <= last {
			r.Fail("listeners are not in order")
		}
		listeners[name], last = l, name
	}
	r.End()
}

func (l *listener) restoreKeys(r *bounded.Reader) {
	n := r.Array(maxSaved)
	if n%2 != 0 {
		r.Fail("%d epochs and keys", n)
	}
	last := int64(-1)
	for r.More() {
		epoch := r.Uint32()
		if int64(epoch) <= last {
			r.Fail("epochs are not in order")
		}
		l.keys[epoch], last = r.Bytes(maxField), int64(epoch)
	}
	r.End()
}
