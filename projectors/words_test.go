package projectors_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors"
	"github.com/bugle-fleet/bugle/projectors/projectorstest"
)

// words is a small view: status messages are its commands, and its rows are what
// they say.
//
//	set KEY VALUE    del KEY    many N VALUE    huge VALUE    fail    key    wait
type words struct {
	*projectors.View
	broken atomic.Bool // fail fails
	twist  atomic.Bool // set writes something else
	gate   chan struct{}
	during func() // called by huge when it has written
}

func newWords(name string) *words {
	w := &words{gate: make(chan struct{})}
	w.View = &projectors.View{Name: name, Schema: 1, Kinds: []event.Kind{event.KindStatusMessage},
		Fold: func() projectors.Fold { return &wordsFold{words: w} }}
	return w
}

type wordsFold struct {
	*words
	sets uint64 // kept in memory and in a row
}

var setsKey = []byte{'n'}

func (f *wordsFold) Load(s *projectors.Snapshot) error {
	_, err := s.Get(setsKey, func(v []byte) error {
		f.sets = binary.BigEndian.Uint64(v)
		return nil
	})
	return err
}

func (f *wordsFold) Publish() any { return f.sets }

func (f *wordsFold) Apply(b *projectors.Batch, e *event.Event) error {
	text := e.Payload.(*event.StatusMessage).Text
	var n int
	var key, value string
	switch verb, rest, _ := strings.Cut(text, " "); verb {
	case "set":
		fmt.Sscan(rest, &key, &value)
		if f.twist.Load() {
			value += "!"
		}
		b.Set([]byte("w"+key), []byte(value))
		f.sets++
		b.Set(setsKey, binary.BigEndian.AppendUint64(nil, f.sets))
	case "del":
		b.Delete([]byte("w" + rest))
	case "many":
		fmt.Sscan(rest, &n, &value)
		many(b, n, value)
	case "huge":
		many(b, hugeRows, strings.Repeat(rest, hugeBytes/len(rest)))
		if f.during != nil {
			f.during()
		}
	case "fail":
		many(b, hugeRows, strings.Repeat("failed", hugeBytes/6))
		if f.broken.Load() {
			return errors.New("told to fail")
		}
	case "key":
		b.Set([]byte{0, 1}, nil)
	case "wait":
		<-f.gate
	}
	return nil
}

// What huge writes: more bytes than Badger takes in one transaction.
const (
	hugeRows  = 60
	hugeBytes = 100 << 10
)

// many writes rows of which each holds the same value.
func many(b *projectors.Batch, n int, value string) {
	for i := range n {
		b.Set(binary.BigEndian.AppendUint32([]byte{'x'}, uint32(i)), []byte(value))
	}
}

// say is the event of a command.
func say(format string, args ...any) *event.Event {
	return &event.Event{Payload: &event.StatusMessage{Component: "test", Severity: event.Info, Text: fmt.Sprintf(format, args...)}}
}

// other is an event that the view does not fold.
func other() *event.Event {
	return &event.Event{Payload: &event.DeviceBlocked{Device: 1}}
}

func value(t *testing.T, w *words, key string) (value string) {
	t.Helper()
	err := w.Read(func(s *projectors.Snapshot) error {
		_, err := s.Get([]byte("w"+key), func(v []byte) error {
			value = string(v)
			return nil
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), projectorstest.Patience)
	t.Cleanup(cancel)
	return ctx
}

// status returns the status of the one view there is.
func status(s *projectorstest.Site) projectors.Status { return s.Views.Status()[0] }

func TestSuite(t *testing.T) {
	projectorstest.Run(t, projectorstest.Suite{
		New:    func() *projectors.View { return newWords("words").View },
		Golden: "testdata/rows.golden",
		Events: []*event.Event{
			say("set a 1"), say("set b 2"), other(), say("del a"), say("many 10 x"), say("set b 3"), other(), other(),
			say("set c 4"), say("many 12 y"), say("del b"), say("set a 5"),
		},
	})
}
