package feed

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// samples are one of each sort, whose bytes are in testdata for ever.
func samples(t testing.TB) map[string]*Message {
	t.Helper()
	g := [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	operation := openUntil(t, moment.Add(time.Hour), 7, 1, 255, 256, 100_000, task.MaxDevice)
	operation.Done, operation.Priority, operation.Durable, operation.Held = set(t, 255), 3, true, true
	return map[string]*Message{
		"begin":   {Generation: g, Number: 1, Begin: true},
		"whole":   {Generation: g, Number: 300, Update: listener.Whole{}},
		"open":    {Generation: g, Number: 2, Update: operation},
		"release": {Generation: g, Number: 3, Update: listener.ReleaseWave{ID: task.ID{15: 7}, Wave: 2, Devices: set(t, 1, 256), At: moment, Spread: time.Minute}},
		"end":     {Generation: g, Number: 4, Update: listener.EndOperation{ID: task.ID{15: 7}, Cancel: []byte("signed word"), Until: moment}},
		"ended":   {Generation: g, Number: 5, Update: listener.EndOperation{ID: task.ID{15: 7}}},
		"keys":    {Generation: g, Number: 6, Update: listener.ChangeKeys{Ring: []byte("signed ring")}},
		"block":   {Generation: g, Number: 1 << 40, Update: listener.BlockDevice{Device: task.MaxDevice}},
		"unblock": {Generation: g, Number: 8, Update: listener.UnblockDevice{Device: 1}},
	}
}

func TestGoldenMessages(t *testing.T) {
	for name, m := range samples(t) {
		b, err := m.Append(nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		file := filepath.Join("testdata", name+".v1.hex")
		want, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) && os.Getenv("UPDATE_GOLDEN") != "" {
			want = []byte(hex.EncodeToString(b) + "\n")
			err = os.WriteFile(file, want, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(b); got != strings.TrimSpace(string(want)) {
			t.Errorf("%s is\n%s, not\n%s", name, got, want)
		}
		back, err := Decode(b)
		if err != nil || !same(&back, m) {
			t.Errorf("%s: read back %+v, %v", name, back, err)
		}
	}
}

// same compares what devices are in a set, not how it is kept.
func same(a, b *Message) bool {
	return a.Generation == b.Generation && a.Number == b.Number && a.Begin == b.Begin && describe(a.Update) == describe(b.Update)
}

func describe(u listener.Update) string {
	v := reflect.ValueOf(u)
	if !v.IsValid() {
		return ""
	}
	var b strings.Builder
	for i := range v.NumField() {
		switch f := v.Field(i).Interface().(type) {
		case *task.Targets:
			if f != nil {
				fmt.Fprint(&b, slices.Collect(f.All()))
			}
		case time.Time:
			fmt.Fprint(&b, nanos(f))
		default:
			fmt.Fprintf(&b, "%v", f)
		}
		b.WriteByte('|')
	}
	return v.Type().Name() + b.String()
}

// A message that a later bugle wrote, with more at its end or of another type, is
// read as far as it is known.
func TestLaterMessages(t *testing.T) {
	b, err := (&Message{Generation: [16]byte{1}, Number: 9, Update: listener.BlockDevice{Device: 5}}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	longer := bytes.Clone(b)
	longer[0]++ // an element more
	longer = append(longer, 0xa3, 'n', 'e', 'w')
	if m, err := Decode(longer); err != nil || m.Update != (listener.BlockDevice{Device: 5}) {
		t.Errorf("with another field: %+v, %v", m, err)
	}
	unknown := bytes.Clone(b)
	unknown[len(unknown)-2] = 99
	if m, err := Decode(unknown); err != nil || m.Update != nil || m.Begin || m.Number != 9 {
		t.Errorf("of another type: %+v, %v", m, err)
	}
	version := bytes.Clone(b)
	version[1] = 2
	if _, err := Decode(version); !errors.Is(err, ErrMessage) {
		t.Errorf("of another version: %v", err)
	}
}

func TestMessagesOutOfBounds(t *testing.T) {
	for name, u := range map[string]listener.Update{
		"nothing":       nil,
		"a long ring":   listener.ChangeKeys{Ring: make([]byte, task.MaxKeyring+1)},
		"a long cancel": listener.EndOperation{ID: task.ID{1}, Cancel: make([]byte, task.MaxCancel+1)},
	} {
		if b, err := (&Message{Number: 1, Update: u}).Append([]byte("x")); !errors.Is(err, ErrMessage) || string(b) != "x" {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
	for name, leaves := range map[string][]byte{
		"half a leaf":   make([]byte, 20),
		"an empty leaf": make([]byte, leafSize),
		"not rising":    append(leaf(2), leaf(1)...),
		"twice":         append(leaf(2), leaf(2)...),
		"too large":     leaf(task.MaxDevice/256 + 1),
		"device 0":      {4: 1, leafSize - 1: 0},
	} {
		b, err := (&Message{Number: 1, Update: listener.ChangeKeys{Ring: leaves}}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		// A release whose devices are these bytes.
		r, err := (&Message{Number: 1, Update: listener.ReleaseWave{ID: task.ID{1}, Wave: 1, Devices: nil}}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.LastIndex(r, []byte{0xc4, 0})
		ring := b[len(b)-len(leaves)-2:]
		whole := append(append(bytes.Clone(r[:at]), ring...), r[at+2:]...)
		if m, err := Decode(whole); err == nil {
			t.Errorf("%s: taken as %+v", name, m)
		}
	}
}

func leaf(n uint32) []byte {
	b := make([]byte, leafSize)
	b[0], b[1], b[2], b[3], b[4] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n), 1
	return b
}

// The largest operation that there can be fits.
func TestLargestMessage(t *testing.T) {
	all, err := task.NewTargets(func(yield func(uint32) bool) {
		for n := uint32(255); n <= task.MaxDevice; n += 256 { // one in each leaf
			if !yield(n) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	m := Message{Number: 1, Update: listener.OpenOperation{Signed: make([]byte, maxSigned), Targets: all, Done: all}}
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(b)
	if u, ok := back.Update.(listener.OpenOperation); err != nil || !ok || u.Targets.Root() != all.Root() {
		t.Errorf("%d bytes: %v", len(b), err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range samples(f) {
		b, err := m.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil || m.Update == nil && !m.Begin {
			return
		}
		again, err := m.Append(nil)
		if err != nil {
			t.Fatalf("%+v is read and cannot be written: %v", m, err)
		}
		back, err := Decode(again)
		if err != nil || !same(&m, &back) {
			t.Fatalf("%+v became %+v, %v", m, back, err)
		}
	})
}

func FuzzPlace(f *testing.F) {
	b, err := encodePlace(begin{generation: [16]byte{1}, number: 3}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	b, err = encodePlace(begin{}, errors.New("not now"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		at, err := decodePlace(b)
		if err != nil {
			return
		}
		again, err := encodePlace(at, nil)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodePlace(again); err != nil || back != at {
			t.Fatalf("%+v became %+v, %v", at, back, err)
		}
	})
}
