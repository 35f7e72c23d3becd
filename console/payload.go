package console

import (
	"encoding"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// eventJSON is an event as the API shows it.
func eventJSON(e *event.Event) Event {
	out := Event{
		Number: e.Number, Accepted: e.Accepted, Observed: instant(e.Observed), Delay: delay(e), Kind: string(e.Kind()),
		Who: who(e), Where: where(e),
		Actor:   EventActor{e.Actor.Issuer, e.Actor.Subject, e.Actor.Session, e.Actor.Behalf, e.Actor.Address},
		Payload: payloadJSON(e.Payload),
	}
	out.Why = why(out.Payload)
	if s := e.Source; s != nil {
		out.Source = &EventSource{s.Listener, s.Epoch, s.File.String(), s.Number, s.Part, s.Of, hex.EncodeToString(s.Digest[:])}
	}
	return out
}

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// payloadJSON shows what an event says: field names with a small first letter,
// bytes in hexadecimal, numbers with names by name; a task and sets of devices
// are shown as what they hold.
func payloadJSON(p event.Payload) any {
	switch p := p.(type) {
	case *event.OperationRequested:
		fields := object(reflect.ValueOf(*p))
		fields["task"] = taskJSON(p.Task)
		fields["targets"] = setJSON(p.Targets)
		fields["offline"] = setJSON(p.Offline)
		return fields
	case *event.OperationReleased:
		fields := object(reflect.ValueOf(*p))
		fields["devices"], fields["online"] = setJSON(p.Devices), setJSON(p.Online)
		return fields
	case *event.CollectionChanged:
		return map[string]any{"id": p.ID, "before": rawDefinition(p.Before), "after": rawDefinition(p.After), "reason": p.Reason}
	case *event.CollectionsEvaluated:
		fields := object(reflect.ValueOf(*p))
		fields["results"] = resultsJSON(p.Results)
		return fields
	case *event.ClassesDefined:
		return map[string]any{"classes": rawClasses(p.Classes), "reason": p.Reason}
	case *event.WindowChanged:
		return map[string]any{"collection": p.Collection, "name": p.Name, "before": rawJSON(p.Before), "after": rawJSON(p.After), "reason": p.Reason}
	case *event.PolicyChanged:
		fields := map[string]any{"body": rawJSON(p.Body), "reason": p.Reason}
		if p.User != "" {
			fields["user"] = p.User
		}
		return fields
	}
	return plain(reflect.ValueOf(p))
}

// maxShown is how many device numbers of a set are shown.
const maxShown = 1000

func setJSON(raw []byte) any {
	b := roaring.New()
	if err := b.UnmarshalBinary(raw); err != nil {
		return hex.EncodeToString(raw)
	}
	return numbersJSON(b)
}

func numbersJSON(b *roaring.Bitmap) map[string]any { return firstNumbers(b, maxShown) }

// firstNumbers shows a set with at most so many of its numbers.
func firstNumbers(b *roaring.Bitmap, most int) map[string]any {
	out := map[string]any{"count": b.GetCardinality()}
	first := make([]uint32, 0, min(b.GetCardinality(), uint64(most)))
	for n := range roaring.Values(b) {
		if len(first) == most {
			out["cut"] = true
			break
		}
		first = append(first, n)
	}
	out["devices"] = first
	return out
}

// maxShownMembers is how many device numbers of all results of an event are shown.
const maxShownMembers = 10 * maxShown

// resultsJSON shows what became of collections. An event may be about thousands, so
// their numbers share a bound.
func resultsJSON(results []event.CollectionResult) any {
	shown, room := make([]any, 0, len(results)), maxShownMembers
	for i := range results {
		fields := object(reflect.ValueOf(results[i]))
		for _, of := range []struct {
			name string
			raw  []byte
		}{{"added", results[i].Added}, {"removed", results[i].Removed}} {
			if set, err := event.ParseSet(of.raw); err == nil {
				most := min(room, maxShown)
				fields[of.name] = firstNumbers(set, most)
				room -= min(most, int(set.GetCardinality()))
			}
		}
		shown = append(shown, fields)
	}
	return shown
}

func taskJSON(s task.Signed) any {
	t, err := s.Task()
	if err != nil {
		return hex.EncodeToString(s)
	}
	fields := object(reflect.ValueOf(t))
	fields["params"] = rawJSON(t.Params)
	fields["runTimeout"] = t.RunTimeout.String()
	return fields
}

var (
	textType  = reflect.TypeFor[encoding.TextMarshaler]()
	printType = reflect.TypeFor[fmt.Stringer]()
	timeType  = reflect.TypeFor[time.Time]()
)

// plain turns a value of an event into what encoding/json shows well.
func plain(v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	switch {
	case v.Type() == timeType:
		return instant(v.Interface().(time.Time))
	case v.Type().Implements(textType):
		return v.Interface()
	case v.Type().Implements(printType) && v.Kind() != reflect.Struct:
		return v.Interface().(fmt.Stringer).String()
	}
	switch v.Kind() {
	case reflect.Struct:
		return object(v)
	case reflect.Array, reflect.Slice:
		return list(v)
	}
	return v.Interface()
}

func object(v reflect.Value) map[string]any {
	out := map[string]any{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			for name, value := range object(v.Field(i)) {
				out[name] = value
			}
		case f.IsExported():
			out[smallFirst(f.Name)] = plain(v.Field(i))
		}
	}
	return out
}

func list(v reflect.Value) any {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		b := make([]byte, v.Len())
		reflect.Copy(reflect.ValueOf(b), v)
		return hex.EncodeToString(b)
	}
	out := make([]any, v.Len())
	for i := range out {
		out[i] = plain(v.Index(i))
	}
	return out
}

// smallFirst makes "id" of "ID", "os" of "OS" and "publicKey" of "PublicKey".
func smallFirst(name string) string {
	if strings.IndexFunc(name, unicode.IsLower) < 0 {
		return strings.ToLower(name)
	}
	return strings.ToLower(name[:1]) + name[1:]
}

// rawJSON is JSON as it came, or text if it is none.
func rawJSON(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	if json.Valid(b) {
		return json.RawMessage(b)
	}
	return string(b)
}
