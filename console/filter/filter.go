package filter

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A Filter says which events are wanted. The zero Filter wants all. It is not
// changed once it is used, and then safe for concurrent use.
type Filter struct {
	Kinds     []string // names of kinds, or prefixes that end with a dot; [CheckKind] tells which there are
	Actor     Actor
	Device    uint32  // a device's number, or 0
	Operation task.ID // or zero

	Collection string // the id of a collection, or empty
}

// An Actor is who made something happen. Subject also stands for a listener whose
// file an event was made of, unless Issuer names another issuer than listeners.
type Actor struct {
	Issuer  string // empty means any
	Subject string // empty means that no actor is asked for
}

// Issuers are who may vouch for an actor.
var Issuers = []string{"certificate", issuerListener, "local", "site", "token"}

const issuerListener = "listener"

// ParseActor reads SUBJECT or ISSUER:SUBJECT. ISSUER/SUBJECT, as actors are shown,
// is taken too.
func ParseActor(s string) (Actor, error) {
	issuer, subject, ok := strings.Cut(s, ":")
	if !ok {
		issuer, subject, ok = strings.Cut(s, "/")
		ok = ok && slices.Contains(Issuers, issuer)
	}
	if !ok {
		issuer, subject = "", s
	}
	switch {
	case ok && !slices.Contains(Issuers, issuer):
		return Actor{}, fmt.Errorf("there is no issuer %q, only %s", issuer, strings.Join(Issuers, ", "))
	case subject == "" || len(subject) > event.MaxName:
		return Actor{}, fmt.Errorf("an actor is SUBJECT or ISSUER:SUBJECT, with a subject of 1 to %d bytes", event.MaxName)
	}
	return Actor{issuer, subject}, nil
}

// CheckKind tells why s is neither a kind nor the beginning of one that ends with
// a dot.
func CheckKind(s string) error {
	if _, ok := event.AppenderOf(event.Kind(s)); ok {
		return nil
	}
	if strings.HasSuffix(s, ".") && slices.ContainsFunc(event.Kinds(), func(k event.Kind) bool { return strings.HasPrefix(string(k), s) }) {
		return nil
	}
	return fmt.Errorf("there are no events %q; names look like device.joined, and device. stands for all that begin so", s)
}

// deviceKinds, operationKinds and collectionKinds are the events that can be about
// one.
var (
	deviceKinds = kindSet(event.KindDeviceJoined, event.KindDeviceDiscovered, event.KindDeviceBlocked, event.KindDeviceUnblocked,
		event.KindPresenceSnapshot, event.KindPresenceDelta, event.KindResultsReported, event.KindOperationRequest, event.KindOperationReleased,
		event.KindStatusMessage, event.KindSiteMessage, event.KindCertificateIssued, event.KindDevicesImported, event.KindDeviceRemoved,
		event.KindCollectionChanged, event.KindCollectionsEvaluated)
	operationKinds = kindSet(event.KindOperationRequest, event.KindOperationCancel, event.KindOperationExpired, event.KindOperationClosed,
		event.KindOperationReleased, event.KindOperationStopped, event.KindResultsReported)
	collectionKinds = kindSet(event.KindCollectionChanged, event.KindWindowChanged, event.KindEvaluationRequested, event.KindCollectionsEvaluated,
		event.KindOperationRequest)
)

func kindSet(kinds ...event.Kind) map[event.Kind]bool {
	set := make(map[event.Kind]bool, len(kinds))
	for _, k := range kinds {
		set[k] = true
	}
	return set
}

// Wants tells whether an event of kind k can be wanted at all.
func (f *Filter) Wants(k event.Kind) bool {
	if len(f.Kinds) > 0 && !slices.ContainsFunc(f.Kinds, func(name string) bool { return isOf(k, name) }) {
		return false
	}
	return (f.Device == 0 || deviceKinds[k]) && (f.Operation.IsZero() || operationKinds[k]) && (f.Collection == "" || collectionKinds[k])
}

func isOf(k event.Kind, name string) bool {
	return string(k) == name || strings.HasSuffix(name, ".") && strings.HasPrefix(string(k), name)
}

// Matches tells whether the event of a record is wanted. It decodes the event
// only if it cannot tell otherwise; the error is that of decoding it.
func (f *Filter) Matches(r *journal.Record) (bool, error) {
	kind := r.Kind()
	switch {
	case !f.Wants(kind):
		return false, nil
	case f.Actor.Subject == "" && f.Device == 0 && f.Operation.IsZero() && f.Collection == "":
		return true, nil
	case !f.Operation.IsZero() && !bytes.Contains(r.Body, f.Operation[:]):
		return false, nil // an id is in an event as it is
	case f.Collection != "" && !bytes.Contains(r.Body, []byte(f.Collection)):
		return false, nil
	}
	if wanted, sure := f.inPlace(kind, r.Body); sure {
		return wanted, nil
	}
	e, err := event.Decode(r.Body) // not r.Event, which keeps it for as long as the page is kept
	if err != nil {
		return false, fmt.Errorf("event %d: %w", r.Number, err)
	}
	return f.MatchesEvent(e), nil
}

// inPlace looks at the bytes of an event; sure is false if it has to be decoded.
func (f *Filter) inPlace(kind event.Kind, body []byte) (wanted, sure bool) {
	e, ok := readEnvelope(body)
	if !ok {
		return false, false
	}
	if !f.Actor.matches(e.issuer, e.subject, e.listener) {
		return false, true
	}
	switch {
	case !f.Operation.IsZero() || f.Collection != "":
		return false, false
	case f.Device == 0:
		return true, true
	}
	return e.names(kind, f.Device)
}

// matches is for texts and for bytes in place.
func (a Actor) matches(issuer, subject, listener []byte) bool {
	if a.Subject == "" {
		return true
	}
	if string(subject) == a.Subject && (a.Issuer == "" || string(issuer) == a.Issuer) {
		return true
	}
	return string(listener) == a.Subject && (a.Issuer == "" || a.Issuer == issuerListener)
}

// MatchesEvent is [Filter.Matches] for an event that is decoded already.
func (f *Filter) MatchesEvent(e *event.Event) bool {
	var listener []byte
	if e.Source != nil {
		listener = []byte(e.Source.Listener)
	}
	return f.Wants(e.Kind()) && f.Actor.matches([]byte(e.Actor.Issuer), []byte(e.Actor.Subject), listener) &&
		(f.Device == 0 || concerns(e.Payload, f.Device)) && (f.Operation.IsZero() || touches(e.Payload, f.Operation)) &&
		(f.Collection == "" || isAbout(e.Payload, f.Collection))
}

// concerns tells whether a payload is about a device.
func concerns(p event.Payload, device uint32) bool {
	switch p := p.(type) {
	case *event.DeviceJoined:
		return p.Device == device
	case *event.DeviceDiscovered:
		return p.Device == device
	case *event.DeviceBlocked:
		return p.Device == device
	case *event.DeviceUnblocked:
		return p.Device == device
	case *event.DeviceRemoved:
		return p.Device == device
	case *event.DevicesImported:
		return slices.ContainsFunc(p.Devices, func(d event.ImportedDevice) bool { return d.Device == device })
	case *event.StatusMessage:
		return p.Device == device
	case *event.SiteMessage:
		return p.Device == device
	case *event.CertificateIssued:
		return p.Device == device
	case *event.PresenceSnapshot:
		return slices.ContainsFunc(p.Entries, func(e event.PresenceEntry) bool { return e.Device == device })
	case *event.PresenceDelta:
		return slices.ContainsFunc(p.Entries, func(e event.PresenceEntry) bool { return e.Device == device })
	case *event.ResultsReported:
		return slices.ContainsFunc(p.Rows, func(r event.ResultRow) bool { return r.Device == device })
	case *event.OperationRequested:
		return contains(p.Targets, device)
	case *event.OperationReleased:
		return contains(p.Devices, device)
	case *event.CollectionChanged:
		return isDirect(p.Before, device) != isDirect(p.After, device)
	case *event.CollectionsEvaluated:
		return slices.ContainsFunc(p.Results, func(r event.CollectionResult) bool {
			return inSet(r.Added, device) || inSet(r.Removed, device)
		})
	}
	return false
}

func isDirect(c *event.Collection, device uint32) bool {
	return c != nil && len(c.Direct) > 0 && contains(c.Direct, device)
}

func inSet(b []byte, device uint32) bool {
	set, err := event.ParseSet(b)
	return err == nil && set.Contains(device)
}

// isAbout tells whether a payload is about a collection: its definition, its
// windows, its evaluation, its members, or a push to it.
func isAbout(p event.Payload, id string) bool {
	switch p := p.(type) {
	case *event.CollectionChanged:
		return p.ID == id
	case *event.WindowChanged:
		return p.Collection == id
	case *event.EvaluationRequested:
		return slices.Contains(p.Collections, id)
	case *event.CollectionsEvaluated:
		return slices.ContainsFunc(p.Results, func(r event.CollectionResult) bool { return r.ID == id })
	case *event.OperationRequested:
		return p.Collection == id
	}
	return false
}

func contains(bitmap []byte, device uint32) bool {
	set := roaring.New()
	return set.UnmarshalBinary(bitmap) == nil && set.Contains(device)
}

// touches tells whether a payload is about an operation.
func touches(p event.Payload, id task.ID) bool {
	switch p := p.(type) {
	case *event.OperationRequested:
		t, err := p.Task.Task()
		return err == nil && t.Operation == id || p.RetryOf == id
	case *event.OperationCancelled:
		return p.Operation == id
	case *event.OperationExpired:
		return p.Operation == id
	case *event.OperationClosed:
		return p.Operation == id
	case *event.OperationReleased:
		return p.Operation == id
	case *event.OperationStopped:
		return p.Operation == id
	case *event.ResultsReported:
		return slices.ContainsFunc(p.Rows, func(r event.ResultRow) bool { return r.Operation == id })
	}
	return false
}
