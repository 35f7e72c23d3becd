package status

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/projectors"
)

const (
	name   = "status"
	schema = 3 // since 2 with messages of the site itself, since 3 a lost listener that is heard again serves
)

// How many of each are kept.
const (
	MaxMessages    = 10_000
	MaxRefusals    = 1000
	MaxQuarantined = 10_000
	MaxListeners   = 1 << 12
)

// New returns the view for [projectors.Open] and its reader.
func New() (*projectors.View, *Reader) {
	v := &projectors.View{
		Name:   name,
		Schema: schema,
		Kinds: []event.Kind{event.KindStatusMessage, event.KindSiteMessage, event.KindListenerGranted, event.KindListenerStarted,
			event.KindListenerStopped, event.KindListenerLost, event.KindSignInFailed, event.KindLoginFailed,
			event.KindFileQuarantined, event.KindFileRequeued, event.KindRecordQuarantined,
			event.KindPresenceSnapshot, event.KindPresenceDelta, event.KindResultsReported, event.KindDeviceDiscovered},
		Fold: func() projectors.Fold { return newFold() },
	}
	return v, &Reader{v}
}

type fold struct {
	messages    ring
	refusals    ring
	quarantined ring
	listeners   map[string]*listener
}

type listener struct {
	Listener
	stored []byte // its row as it was written last
}

func newFold() *fold {
	return &fold{messages: ring{prefix: prefixMessage, max: MaxMessages}, refusals: ring{prefix: prefixRefusal, max: MaxRefusals},
		quarantined: ring{prefix: prefixQuarantined, max: MaxQuarantined}, listeners: make(map[string]*listener)}
}

func (f *fold) Load(s *projectors.Snapshot) error {
	for _, r := range []*ring{&f.messages, &f.refusals, &f.quarantined} {
		if err := r.load(s); err != nil {
			return err
		}
	}
	return s.Scan([]byte{prefixListener}, nil, func(key, value []byte) (bool, error) {
		l := &listener{stored: bytes.Clone(value)}
		var err error
		l.Listener, err = decodeListener(value)
		if err == nil && string(key[1:]) != l.Name {
			err = fmt.Errorf("row of listener %s has key %x", l.Name, key)
		}
		f.listeners[l.Name] = l
		return true, err
	})
}

// Publish returns nothing: all that readers want is in the rows.
func (f *fold) Publish() any { return nil }

func (f *fold) Apply(b *projectors.Batch, e *event.Event) error {
	if e.Source != nil {
		if err := f.heard(b, e); err != nil {
			return err
		}
	}
	switch p := e.Payload.(type) {
	case *event.StatusMessage:
		return f.message(b, e, Message{Component: p.Component, Number: p.Message, Severity: p.Severity, Device: p.Device, Text: p.Text})
	case *event.SiteMessage:
		return f.message(b, e, Message{Component: p.Component, Number: p.Message, Severity: p.Severity, Device: p.Device, Text: p.Text})
	case *event.SignInFailed:
		return f.refuse(b, e, p.Where, p.Address, p.Reason, p.Count)
	case *event.LoginFailed:
		return f.refuse(b, e, p.Where, p.Address, p.Reason, p.Count)
	case *event.FileQuarantined:
		return f.quarantine(b, e, Quarantined{File: p.Name, Digest: p.Digest, Size: p.Size, Reason: p.Reason})
	case *event.RecordQuarantined:
		return f.quarantine(b, e, Quarantined{File: p.File, Record: true, Index: p.Index, Reason: p.Reason, Raw: p.Raw})
	case *event.FileRequeued:
		return f.requeue(b, e, p.Name)
	}
	return f.listener(b, e)
}

func (f *fold) message(b *projectors.Batch, e *event.Event, m Message) error {
	m.Event, m.Accepted, m.Observed = e.Number, e.Accepted, e.Observed
	if e.Source != nil {
		m.Listener = e.Source.Listener
	}
	return f.messages.add(b, e.Number, m.encode)
}

// heard takes note that a listener lives.
func (f *fold) heard(b *projectors.Batch, e *event.Event) error {
	return f.update(b, e.Source.Listener, e.Source.Epoch, func(l *Listener) {
		l.Heard = e.Accepted
		if l.State == Lost { // it served all the time, only the site was out of its reach
			l.State, l.Event = Started, e.Number
		}
	})
}

func (f *fold) listener(b *projectors.Batch, e *event.Event) error {
	switch p := e.Payload.(type) {
	case *event.ListenerGranted:
		return f.update(b, p.Listener, p.Epoch, func(l *Listener) {
			l.State, l.Event, l.Granted = Granted, e.Number, e.Accepted
		})
	case *event.ListenerStarted:
		return f.update(b, p.Listener, p.Epoch, func(l *Listener) {
			l.State, l.Event, l.Started, l.Version, l.Address = Started, e.Number, e.Accepted, p.Version, p.Address
		})
	case *event.ListenerStopped:
		return f.update(b, p.Listener, p.Epoch, func(l *Listener) {
			l.State, l.Event, l.Ended = Stopped, e.Number, e.Accepted
		})
	case *event.ListenerLost:
		return f.update(b, p.Listener, p.Epoch, func(l *Listener) {
			l.State, l.Event, l.Ended = Lost, e.Number, e.Accepted
		})
	}
	return nil
}

// update changes a listener, unless what is said is of an earlier epoch.
func (f *fold) update(b *projectors.Batch, name string, epoch uint32, change func(*Listener)) error {
	l := f.listeners[name]
	if l == nil {
		if len(f.listeners) == MaxListeners {
			return nil
		}
		l = &listener{Listener: Listener{Name: name, Epoch: epoch}}
		f.listeners[name] = l
	}
	if epoch < l.Epoch {
		return nil
	}
	l.Epoch = epoch
	change(&l.Listener)
	value, err := encode(l.Listener.encode)
	if err != nil {
		return fmt.Errorf("listener %s: %w", name, err)
	}
	b.Replace(append([]byte{prefixListener}, name...), l.stored, value)
	l.stored = value
	return nil
}

func (f *fold) refuse(b *projectors.Batch, e *event.Event, where, address, reason string, count uint32) error {
	r := Refusal{Event: e.Number, Accepted: e.Accepted, Login: e.Kind() == event.KindLoginFailed,
		Where: where, Address: address, Reason: reason, Count: count}
	return f.refusals.add(b, e.Number, r.encode)
}

func (f *fold) quarantine(b *projectors.Batch, e *event.Event, q Quarantined) error {
	q.Event, q.Accepted = e.Number, e.Accepted
	if e.Source != nil {
		q.Listener = e.Source.Listener
	}
	if len(f.quarantined.numbers) >= MaxQuarantined {
		if err := f.forget(b, f.quarantined.numbers[0]); err != nil {
			return err
		}
	}
	if !q.Record {
		b.Set(fileKey(q.File), binary.BigEndian.AppendUint64(nil, e.Number))
	}
	return f.quarantined.add(b, e.Number, q.encode)
}

// forget removes the name of what is about to give way.
func (f *fold) forget(b *projectors.Batch, number uint64) error {
	var q Quarantined
	_, err := b.Get(numberKey(prefixQuarantined, number), func(v []byte) (err error) {
		q, err = decodeQuarantined(v)
		return err
	})
	if err != nil || q.Record {
		return err
	}
	newest := binary.BigEndian.AppendUint64(nil, number)
	mine := false
	_, err = b.Get(fileKey(q.File), func(v []byte) error {
		mine = bytes.Equal(v, newest)
		return nil
	})
	if mine {
		b.Delete(fileKey(q.File))
	}
	return err
}

// requeue marks the newest file of this name.
func (f *fold) requeue(b *projectors.Batch, e *event.Event, name string) error {
	var number uint64
	_, err := b.Get(fileKey(name), func(v []byte) error {
		if len(v) == 8 {
			number = binary.BigEndian.Uint64(v)
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.Delete(fileKey(name))
	key := numberKey(prefixQuarantined, number)
	var q Quarantined
	var old []byte
	ok, err := b.Get(key, func(v []byte) (err error) {
		old = bytes.Clone(v)
		q, err = decodeQuarantined(v)
		return err
	})
	if err != nil || !ok {
		return err
	}
	q.Requeued = e.Accepted
	value, err := encode(q.encode)
	if err != nil {
		return fmt.Errorf("requeued file %s: %w", name, err)
	}
	b.Replace(key, old, value)
	return nil
}

// A ring keeps the newest rows of a sort, by the number of their event.
type ring struct {
	prefix  byte
	max     int
	numbers []uint64 // oldest first
}

func (r *ring) load(s *projectors.Snapshot) error {
	return s.Scan([]byte{r.prefix}, nil, func(key, _ []byte) (bool, error) {
		if len(key) != 9 {
			return false, fmt.Errorf("key %x is not of an event", key)
		}
		r.numbers = append(r.numbers, binary.BigEndian.Uint64(key[1:]))
		return true, nil
	})
}

func (r *ring) add(b *projectors.Batch, number uint64, row func(*bounded.Writer)) error {
	value, err := encode(row)
	if err != nil {
		return fmt.Errorf("event %d: %w", number, err)
	}
	for len(r.numbers) >= r.max {
		b.Delete(numberKey(r.prefix, r.numbers[0]))
		r.numbers = r.numbers[1:]
	}
	b.Replace(numberKey(r.prefix, number), nil, value)
	r.numbers = append(r.numbers, number)
	return nil
}

// Keys: a letter, then
//
//	m event    a status message
//	s event    a refused sign-in
//	q event    a file or record in quarantine
//	f name     the event that quarantined the file of this name last
//	l name     a listener
const (
	prefixMessage     = 'm'
	prefixRefusal     = 's'
	prefixQuarantined = 'q'
	prefixFile        = 'f'
	prefixListener    = 'l'
)

func numberKey(prefix byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, number)
}

func fileKey(name string) []byte { return append([]byte{prefixFile}, name...) }
