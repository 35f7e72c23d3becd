package event_test

import (
	"bytes"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// drawInto fills v with random values that the formats allow.
func drawInto(t *rapid.T, v reflect.Value) {
	switch v.Interface().(type) {
	case time.Time:
		ns := rapid.Int64().Draw(t, "ns")
		if ns == 0 {
			ns = 1
		}
		v.Set(reflect.ValueOf(time.Unix(0, ns).UTC()))
		return
	case event.PresenceEntry:
		v.Set(reflect.ValueOf(drawEntry(t)))
		return
	case task.State:
		v.Set(reflect.ValueOf(rapid.SampledFrom(task.States).Draw(t, "state")))
		return
	case event.Value:
		v.Set(reflect.ValueOf(drawValue(t)))
		return
	case *event.Collection:
		if rapid.Bool().Draw(t, "there") {
			v.Set(reflect.New(v.Type().Elem()))
			drawInto(t, v.Elem())
		}
		return
	case event.Severity:
		v.SetUint(rapid.Uint64Range(0, 3).Draw(t, "severity"))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			drawInto(t, v.Field(i))
		}
	case reflect.String:
		v.SetString(rapid.StringN(0, 16, 16).Draw(t, "string"))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rapid.IntRange(0, 5).Draw(t, "length"), 5))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			drawInto(t, v.Index(i))
		}
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64Range(0, 1<<v.Type().Bits()-1).Draw(t, "uint"))
	case reflect.Int32, reflect.Int64:
		n := v.Type().Bits() - 1
		v.SetInt(rapid.Int64Range(-1<<n, 1<<n-1).Draw(t, "int"))
	default:
		t.Fatalf("a field of type %s: teach the generator", v.Type())
	}
}

func drawValue(t *rapid.T) (v event.Value) {
	v.Type = event.ValueType(rapid.IntRange(0, int(event.ListValue)).Draw(t, "type"))
	switch v.Type {
	case event.TextValue:
		drawInto(t, reflect.ValueOf(&v.Text).Elem())
	case event.NumberValue, event.DateValue:
		drawInto(t, reflect.ValueOf(&v.Number).Elem())
	case event.ListValue:
		drawInto(t, reflect.ValueOf(&v.List).Elem())
	}
	return v
}

func drawEntry(t *rapid.T) event.PresenceEntry {
	return event.PresenceEntry{
		Device:  rapid.Uint32Min(1).Draw(t, "device"),
		Online:  rapid.Bool().Draw(t, "online"),
		Reason:  event.PresenceReason(rapid.IntRange(0, int(event.NotInSnapshot)).Draw(t, "reason")),
		Carrier: event.Carrier(rapid.IntRange(0, 7).Draw(t, "carrier")),
		Since:   time.UnixMilli(rapid.Int64Range(-1<<50, 1<<50).Draw(t, "since")).UTC(),
	}
}

func drawEvent(t *rapid.T) *event.Event {
	e := &event.Event{Key: rapid.StringN(0, 16, 16).Draw(t, "key")}
	drawInto(t, reflect.ValueOf(&e.Observed).Elem())
	drawInto(t, reflect.ValueOf(&e.Actor).Elem())
	if rapid.Bool().Draw(t, "has source") {
		of := rapid.Uint16Range(1, 1<<16-1).Draw(t, "of")
		e.Source = &event.Source{
			Listener: rapid.StringMatching(`[A-Z0-9]{3,16}`).Draw(t, "listener"), Epoch: rapid.Uint32().Draw(t, "epoch"),
			File:   event.FileKind(rapid.IntRange(int(event.BTS), int(event.DDR)).Draw(t, "file")),
			Number: rapid.Uint64().Draw(t, "number"), Part: rapid.Uint16Range(1, of).Draw(t, "part"), Of: of,
		}
		drawInto(t, reflect.ValueOf(&e.Source.Digest).Elem())
	}
	of := reflect.TypeOf(rapid.SampledFrom(samples).Draw(t, "type")).Elem()
	p := reflect.New(of)
	drawInto(t, p.Elem())
	e.Payload = p.Interface().(event.Payload)
	return e
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		b, err := e.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := event.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, got, equal); diff != "" {
			t.Fatalf("event reads back changed (-written +read):\n%s", diff)
		}
		if k := event.KindOf(b); k != e.Kind() {
			t.Fatalf("KindOf says %q, the event is %q", k, e.Kind())
		}
	})
}

// KindOf reads what it can of any bytes, and never more than there is.
func TestKindOfCut(t *testing.T) {
	for _, p := range samples {
		b := mustEncode(t, sample(p))
		for n := range b {
			if k := event.KindOf(b[:n:n]); k != "" && k != p.Kind() {
				t.Fatalf("the first %d bytes of %s are of kind %q", n, p.Kind(), k)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.hex")
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		f.Add(readGolden(f, file))
	}
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0x98, 0x01, 0xa3, 'a', '.', 'b'})
	f.Add(bytes.Repeat([]byte{0x91}, 1000))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := event.Decode(b)
		if err != nil {
			return
		}
		again, err := e.Append(nil)
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		// An older version becomes the newest one, which has more fields.
		if goldenOf(e.Payload) == string(e.Kind())+".v1.hex" && len(again) > len(b) {
			t.Errorf("%d bytes became %d", len(b), len(again))
		}
		e2, err := event.Decode(again)
		if err != nil {
			t.Fatalf("what was encoded cannot be decoded: %v", err)
		}
		if diff := cmp.Diff(e, e2, equal); diff != "" {
			t.Errorf("event changed on its way:\n%s", diff)
		}
		if k := event.KindOf(again); k != e.Kind() {
			t.Errorf("KindOf says %q, the event is %q", k, e.Kind())
		}
	})
}
