package authority

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// What an authority saves is an array, version 3:
//
//	devices    by number from 1, an empty array for a number that nobody has: id,
//	           token, first certificate (none of one that was imported), newest one,
//	           blocked, event that blocked or unblocked it last; then the certificate
//	           before the newest and the event that removed it, left out if there is
//	           neither, or not the second
//	joins      device, token and key as their hash; by device, then hash
//	tokens     id, hash, uses, used, created, expires, event that revoked it,
//	           listener, scope, then the record that it names, if it does; by id
//	listeners  name, newest epoch, event that revoked it, token, TCP addresses,
//	           HTTPS addresses, newest certificate, the one before, then epoch, key
//	           and scope; by name, by epoch
//	rings      signed, from number 2
//
// A certificate is an array of public key, serial, issued, expires, ring and
// event, empty if there is none. Keys and certificates of the site are not in it:
// they are in files of their own.
//
// Version 2 had no removed devices and no tokens that name one, and is read. Version 1 had no renewals, no rings,
// and less of tokens and listeners; it is not read. A program of the time of either
// knew nothing of the events that say what is new since, and what it saved while
// they were in the journal already would be short of them: what has another name
// than [Authority.Saves] is not restored, the journal tells all.
const (
	saves       = "authority/3"
	saveVersion = 3
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
	w.Array(6)
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
	w.List(len(a.rings), maxRings)
	for i := range a.rings {
		w.Bytes(a.rings[i].signed, task.MaxKeyring)
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

func (c *certificate) none() bool {
	return c.public == nil && c.serial == nil && c.issued.IsZero() && c.expires.IsZero() && c.ring == 0 && c.event == 0
}

func (c *certificate) save(w *bounded.Writer) {
	if c.none() {
		w.Array(0)
		return
	}
	w.Array(6)
	w.Bytes(c.public, maxField)
	w.Bytes(c.serial, maxField)
	w.Int(nanos(c.issued))
	w.Int(nanos(c.expires))
	w.Uint(uint64(c.ring))
	w.Uint(c.event)
}

func (c *certificate) restore(r *bounded.Reader) {
	if r.Array(6) > 0 {
		c.public = r.Bytes(maxField)
		c.serial = r.Bytes(maxField)
		c.issued = instant(r.Int64())
		c.expires = instant(r.Int64())
		c.ring = r.Uint32()
		c.event = r.Uint64()
	}
	r.End()
}

// nobody tells whether no event was about the device.
func (d *device) nobody() bool {
	return d.id == task.ID{} && d.token == "" && d.first.none() && d.newest.none() && d.before.none() && !d.blocked && d.changed == 0 && d.removed == 0
}

func (d *device) save(w *bounded.Writer) (somebody bool) {
	if d.nobody() {
		w.Array(0)
		return false
	}
	fields := 6
	switch {
	case d.removed != 0:
		fields = 8
	case !d.before.none():
		fields = 7
	}
	w.Array(fields)
	w.Raw(d.id[:])
	w.Exact(d.token, maxField)
	d.first.save(w)
	d.newest.save(w)
	w.Bool(d.blocked)
	w.Uint(d.changed)
	if fields > 6 {
		d.before.save(w)
	}
	if fields > 7 {
		w.Uint(d.removed)
	}
	return true
}

func (d *device) restore(r *bounded.Reader) {
	if r.Array(8) > 0 {
		r.Raw(d.id[:])
		d.token = r.String(maxField)
		d.first.restore(r)
		d.newest.restore(r)
		d.blocked = r.Bool()
		d.changed = r.Uint64()
		if r.More() {
			d.before.restore(r)
		}
		if r.More() {
			d.removed = r.Uint64()
		}
	}
	r.End()
}

func (t *token) save(w *bounded.Writer, id string) {
	fields := 9
	if t.device != 0 {
		fields = 10
	}
	w.Array(fields)
	w.Exact(id, maxField)
	w.Raw(t.hash[:])
	w.Uint(uint64(t.uses))
	w.Uint(uint64(t.used))
	w.Int(nanos(t.created))
	w.Int(nanos(t.expires))
	w.Uint(t.revoked)
	w.Exact(t.listener, maxField)
	w.Bytes(t.scope, maxField)
	if t.device != 0 {
		w.Uint(uint64(t.device))
	}
}

func (l *listener) save(w *bounded.Writer, name string) {
	w.Array(9)
	w.Exact(name, maxField)
	w.Uint(uint64(l.newest))
	w.Uint(l.revoked)
	w.Exact(l.token, maxField)
	saveAddresses(w, l.tcp)
	saveAddresses(w, l.https)
	l.cert.save(w)
	l.before.save(w)
	w.List(3*len(l.epochs), maxSaved)
	for _, epoch := range slices.Sorted(maps.Keys(l.epochs)) {
		w.Uint(uint64(epoch))
		w.Bytes(l.epochs[epoch].key, maxField)
		w.Bytes(l.epochs[epoch].raw, maxField)
	}
}

func saveAddresses(w *bounded.Writer, list []string) {
	w.List(len(list), event.MaxAddresses)
	for _, a := range list {
		w.Exact(a, maxField)
	}
}

func restoreAddresses(r *bounded.Reader) (list []string) {
	r.Array(event.MaxAddresses)
	for r.More() {
		list = append(list, r.String(maxField))
	}
	r.End()
	return list
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
	a.devices, a.joined, a.tokens, a.listeners, a.rings = n.devices, n.joined, n.tokens, n.listeners, n.rings
	a.active = 0
	for number := range a.devices {
		a.active += a.actives(uint32(number))
	}
	a.renewPool()
	return err
}

// forget makes the authority know nothing of the journal.
func (a *Authority) forget() {
	a.devices, a.joined = make([]device, 1), map[joinKey]uint32{}
	a.tokens, a.listeners, a.rings = map[string]*token{}, map[string]*listener{}, nil
}

func (a *Authority) restore(r *bounded.Reader) error {
	if v := r.Version(saveVersion); v < 2 {
		r.Fail("version %d is not read", v)
	}
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
	a.restoreRings(r)
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
		r.Array(10)
		id := r.String(maxField)
		r.Raw(t.hash[:])
		t.uses = r.Uint32()
		t.used = r.Uint32()
		t.created = instant(r.Int64())
		t.expires = instant(r.Int64())
		t.revoked = r.Uint64()
		t.listener = r.String(maxField)
		t.scope = r.Bytes(maxField)
		if r.More() {
			t.device = r.Uint32()
		}
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
		r.Array(9)
		name := r.String(maxField)
		l := &listener{newest: r.Uint32(), revoked: r.Uint64(), token: r.String(maxField), epochs: map[uint32]*grant{}}
		l.tcp = restoreAddresses(r)
		l.https = restoreAddresses(r)
		l.cert.restore(r)
		l.before.restore(r)
		l.restoreEpochs(r)
		r.End()
		if len(listeners) > 0 && name <= last {
			r.Fail("listeners are not in order")
		}
		listeners[name], last = l, name
	}
	r.End()
}

func (l *listener) restoreEpochs(r *bounded.Reader) {
	n := r.Array(maxSaved)
	if n%3 != 0 {
		r.Fail("%d epochs, keys and scopes", n)
	}
	last := int64(-1)
	for r.More() {
		epoch := r.Uint32()
		if int64(epoch) <= last {
			r.Fail("epochs are not in order")
		}
		key := r.Bytes(maxField)
		l.epochs[epoch], last = newGrant(key, r.Bytes(maxField)), int64(epoch)
	}
	r.End()
}

// restoreRings reads rings that were checked before they were saved.
func (a *Authority) restoreRings(r *bounded.Reader) {
	r.Array(maxRings)
	for r.More() {
		signed := r.Bytes(task.MaxKeyring)
		if r.Err() != nil {
			break
		}
		keys, err := task.ReadKeyring(signed)
		if err != nil || int(keys.Number) != len(a.rings)+2 {
			r.Fail("ring %d: number %d, %v", len(a.rings)+2, keys.Number, err)
		}
		a.rings = append(a.rings, ring{signed, keys})
	}
	r.End()
}
