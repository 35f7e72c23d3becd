package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

var id1 = task.ID{0x01, 0x93, 0x6f, 0x5e, 0x8a, 0x6b, 0x7c, 0x1d, 0x9e, 0x2f, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab}

// golden is one message of each type, as version 1 sends it.
var golden = map[string]Message{
	"sign-in": &SignIn{Version: 1, Agent: "1.0.0", Nonce: [16]byte{15: 1}, Open: []task.ID{id1, {15: 2}}, Pending: 3},
	"welcome": &Welcome{Version: 1, History: [16]byte{15: 9}, Listener: "LSN1", KeepAlive: 15 * time.Minute,
		Beacon: []byte("signed beacon"), Spread: 5 * time.Second},
	"task": &Task{Signed: task.Signed("signed task"), Proof: []byte("a proof of 32 bytes, more or less")},
	"result": &Result{Operation: id1, Attempt: 1, State: task.Failed, Code: -7, At: time.Unix(1_700_000_000, 5).UTC(),
		Detail: "scanner not found", MAC: [16]byte{0: 1, 15: 16}},
	"result-ack":        &ResultAck{Operation: id1, Attempt: 1, State: task.Failed},
	"keep-alive":        &KeepAlive{Nonce: [16]byte{0: 7}},
	"keep-alive-ack":    &KeepAliveAck{Beacon: []byte("signed beacon")},
	"policy-request":    &PolicyRequest{ETag: "00112233445566778899aabbccddeeff"},
	"policy":            &Policy{ETag: "00112233445566778899aabbccddeeff", Part: 1, Of: 2, Chunk: []byte("signed pol")},
	"policy-not-newer":  &Policy{ETag: "00112233445566778899aabbccddeeff"},
	"inventory":         &Inventory{ID: 42, At: time.Unix(1_700_000_000, 0).UTC(), Facts: []Fact{{"os.name", "linux"}, {"os.version", "12.11"}}},
	"inventory-ack":     &InventoryAck{ID: 42},
	"bye":               &Bye{},
	"close-going-away":  &Close{Code: GoingAway, RetryAfter: 1500 * time.Millisecond, Reason: "listener stops"},
	"close-blocked":     &Close{Code: Blocked, Reason: "device is blocked"},
	"keep-alive-simple": &KeepAlive{},
	"sign-in-keyring":   &SignIn{Version: 1, Agent: "1.0.0", Nonce: [16]byte{15: 1}, Pending: 3, Keyring: 2},
	"policy-of-user":    &PolicyRequest{ETag: "00112233445566778899aabbccddeeff", User: "ann"},
	"cancel":            &Cancel{Signed: []byte("signed cancel")},
	"keyring":           &Keyring{Signed: []byte("signed keyring")},
	"renew":             &Renew{CSR: []byte("certificate request")},
	"renew-proven":      &Renew{CSR: []byte("certificate request"), Proof: []byte("a signature")},
	"renewed":           &Renewed{Certificate: []byte("certificate"), Reason: ""},
	"not-renewed":       &Renewed{Reason: "device is blocked"},
	"policy-proofs":     &PolicyProofs{ETag: "00112233445566778899aabbccddeeff", Proofs: [][]byte{[]byte("a proof"), []byte("another")}},
}

var create = flag.Bool("create", false, "write golden files that do not exist yet; others are never changed")

// The bytes of a message of version 1 are the same for ever, both ways.
func TestGoldenFrames(t *testing.T) {
	for name, m := range golden {
		file := filepath.Join("testdata", "frames", name+".v1")
		got, err := Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(file); *create && os.IsNotExist(err) {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is encoded as %x, want %x", name, got, want)
		}
		back, _, err := ReadFrom(bufio.NewReader(bytes.NewReader(want)), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(m, back); diff != "" {
			t.Errorf("%s came back changed:\n%s", name, diff)
		}
	}
	files, _ := filepath.Glob("testdata/frames/*")
	if len(files) != len(golden) {
		t.Errorf("%d golden files, %d messages", len(files), len(golden))
	}
}

// A message with more fields than are known is taken; one with fewer is not.
func TestLaterFields(t *testing.T) {
	for name, m := range golden {
		if name == "sign-in" || name == "policy-request" || name == "renew" {
			continue // they lack a field that there is: the next would be that one
		}
		f, err := Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		body := append([]byte(nil), f[header:]...)
		body[0]++ // the array's length; all have fewer than 15 fields
		body = append(body, 0x93, 1, 2, 0xa1, 'x')
		got, err := Decode(m.Type(), body)
		if err != nil {
			t.Errorf("%s with one field more: %v", name, err)
		} else if diff := cmp.Diff(m, got); diff != "" {
			t.Errorf("%s with one field more:\n%s", name, diff)
		}
		if _, err := Decode(m.Type(), []byte{0x90}); !errors.Is(err, ErrFrame) {
			t.Errorf("%s without a field: %v", name, err)
		}
	}
}

func TestLaterVersion(t *testing.T) {
	for name, m := range golden {
		f, _ := Append(nil, m)
		f[header+1] = 9 // the version
		_, err := Decode(m.Type(), f[header:])
		// Those two negotiate: they say a version instead of having one.
		negotiates := m.Type() == TypeSignIn || m.Type() == TypeWelcome
		if negotiates != (err == nil) {
			t.Errorf("%s of version 9: %v", name, err)
		}
	}
}

func TestReadFromEnds(t *testing.T) {
	f, _ := Append(nil, golden["welcome"])
	for n := range f {
		_, _, err := ReadFrom(bufio.NewReader(bytes.NewReader(f[:n])), nil)
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if err != want {
			t.Fatalf("cut at %d: %v, want %v", n, err, want)
		}
	}
}

func TestFrameLength(t *testing.T) {
	for name, h := range map[string][]byte{"nothing": {0, 0, 0, 0, 1}, "one too many": {0, 0, 0xff, 0xfd, 1}, "all": {0xff, 0xff, 0xff, 0xff, 1}} {
		_, buf, err := ReadFrom(bufio.NewReader(bytes.NewReader(h)), nil)
		if !errors.Is(err, ErrFrame) || cap(buf) != 0 {
			t.Errorf("frame that claims %s: %v, buffer of %d", name, err, cap(buf))
		}
	}
	full := append([]byte{0, 0, 0xff, 0xfc, 99}, make([]byte, MaxFrame-header)...)
	m, buf, err := ReadFrom(bufio.NewReader(bytes.NewReader(full)), nil)
	if err != nil || m.Type() != 99 || len(buf) != MaxFrame-header {
		t.Fatalf("longest frame: %v, %v", m, err)
	}
}

func TestTooLongForAFrame(t *testing.T) {
	m := &Inventory{}
	for range 17 {
		m.Facts = append(m.Facts, Fact{"name", strings.Repeat("x", 4<<10)})
	}
	dst := []byte("before")
	got, err := Append(dst, m)
	if !errors.Is(err, ErrFrame) || string(got) != "before" {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, m := range map[string]Message{
		"negative duration": &Close{RetryAfter: -1},
		"endless duration":  &Welcome{Version: 1, KeepAlive: MaxDuration + 1},
		"no version":        &Welcome{},
		"no operation":      &Result{State: task.Failed},
		"fact without name": &Inventory{Facts: []Fact{{"", "value"}}},
		"name too long":     &Inventory{Facts: []Fact{{strings.Repeat("x", MaxText+1), ""}}},
		"state of the site": &Result{Operation: id1, State: task.Lost},
		"detail too long":   &Result{Operation: id1, State: task.Failed, Detail: strings.Repeat("x", task.MaxDetail+1)},
		"detail not UTF-8":  &Result{Operation: id1, State: task.Failed, Detail: "\xff"},
		"too many open":     &SignIn{Open: make([]task.ID, MaxOpen+1)},
		"too many facts":    &Inventory{Facts: make([]Fact, MaxFacts+1)},
		"beacon too long":   &KeepAliveAck{Beacon: make([]byte, MaxBeacon+1)},
		"chunk too long":    &Policy{Chunk: make([]byte, MaxChunk+1)},
		"a later message":   &Unknown{Of: 99},
	} {
		if _, err := Append(nil, m); !errors.Is(err, bounded.ErrOutOfBounds) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	inventory := []byte{0x94, 1, 1, 1, 0x93, 0xa1, 'a', 0xa1, 'b', 0xa1, 'c'}
	if _, err := Decode(TypeInventory, inventory); !errors.Is(err, ErrFrame) {
		t.Errorf("odd number of texts: %v", err)
	}
	nameless := []byte{0x94, 1, 1, 1, 0x92, 0xa0, 0xa1, 'b'}
	if _, err := Decode(TypeInventory, nameless); !errors.Is(err, ErrFrame) {
		t.Errorf("fact without a name: %v", err)
	}
	r, _ := Append(nil, golden["result"])
	clear(r[9:25])
	if _, err := Decode(TypeResult, r[header:]); !errors.Is(err, ErrFrame) {
		t.Errorf("result of no operation: %v", err)
	}
	r, _ = Append(nil, golden["result"])
	r[26] = byte(task.Lost)
	if _, err := Decode(TypeResult, r[header:]); !errors.Is(err, ErrFrame) {
		t.Errorf("state of the site: %v", err)
	}
	f, _ := Append(nil, golden["result-ack"])
	f[header] = 0x93 // one field fewer
	if _, err := Decode(TypeResultAck, f[header:len(f)-1]); !errors.Is(err, ErrFrame) {
		t.Errorf("missing field: %v", err)
	}
	if _, err := Decode(TypeBye, []byte{0x91, 1, 0}); !errors.Is(err, bounded.ErrMalformed) {
		t.Errorf("bytes left over: %v", err)
	}
}

// Message types that a rapid test draws.
func drawMessage(t *rapid.T) Message {
	id := rapid.Custom(func(t *rapid.T) (id task.ID) {
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		id[6] |= 0x10 // an operation's id is never all zeros
		return id
	})
	b16 := func(label string) [16]byte { return [16]byte(id.Draw(t, label)) }
	bytesOf := func(max int, label string) []byte {
		b := rapid.SliceOfN(rapid.Byte(), 0, max).Draw(t, label)
		if len(b) == 0 {
			return nil
		}
		return b
	}
	text := func(max int, label string) string { return bounded.Cut(rapid.String().Draw(t, label), max) }
	u8 := func(label string) uint8 { return rapid.Uint8().Draw(t, label) }
	span := func(label string) time.Duration {
		return time.Duration(rapid.Int64Range(0, int64(MaxDuration)).Draw(t, label))
	}
	at := func() time.Time { return time.Unix(0, rapid.Int64().Draw(t, "at")).UTC() }
	state := func() task.State {
		return task.State(rapid.IntRange(int(task.Delivered), int(task.NotApplicable)).Draw(t, "state"))
	}
	switch rapid.SampledFrom([]Type{TypeSignIn, TypeWelcome, TypeTask, TypeResult, TypeResultAck, TypeKeepAlive, TypeKeepAliveAck,
		TypePolicyRequest, TypePolicy, TypeInventory, TypeInventoryAck, TypeClose}).Draw(t, "type") {
	case TypeSignIn:
		open := rapid.SliceOfN(id, 0, 8).Draw(t, "open")
		if len(open) == 0 {
			open = nil
		}
		return &SignIn{Version: uint64(rapid.Uint32().Draw(t, "version")), Agent: text(MaxText, "agent"), Nonce: b16("nonce"),
			Open: open, Pending: rapid.Uint32().Draw(t, "pending")}
	case TypeWelcome:
		return &Welcome{Version: uint64(rapid.Uint32Min(1).Draw(t, "version")), History: b16("history"), Listener: text(MaxText, "listener"),
			KeepAlive: span("keep-alive"), Beacon: bytesOf(MaxBeacon, "beacon"), Spread: span("spread")}
	case TypeTask:
		return &Task{Signed: bytesOf(2000, "signed"), Proof: bytesOf(32*(task.MaxPath+1), "proof")}
	case TypeResult:
		return &Result{Operation: id.Draw(t, "id"), Attempt: u8("attempt"), State: state(), Code: rapid.Int32().Draw(t, "code"),
			At: at(), Detail: text(task.MaxDetail, "detail"), MAC: b16("mac")}
	case TypeResultAck:
		return &ResultAck{Operation: id.Draw(t, "id"), Attempt: u8("attempt"), State: task.State(u8("state"))}
	case TypeKeepAlive:
		return &KeepAlive{Nonce: b16("nonce")}
	case TypeKeepAliveAck:
		return &KeepAliveAck{Beacon: bytesOf(MaxBeacon, "beacon")}
	case TypePolicyRequest:
		return &PolicyRequest{ETag: text(MaxText, "etag")}
	case TypePolicy:
		return &Policy{ETag: text(MaxText, "etag"), Part: rapid.Uint32().Draw(t, "part"), Of: rapid.Uint32().Draw(t, "of"), Chunk: bytesOf(4000, "chunk")}
	case TypeInventory:
		m := &Inventory{ID: rapid.Uint64().Draw(t, "id"), At: at()}
		for range rapid.IntRange(0, 5).Draw(t, "facts") {
			m.Facts = append(m.Facts, Fact{"n" + text(MaxText-1, "name"), text(4<<10, "value")})
		}
		return m
	case TypeInventoryAck:
		return &InventoryAck{ID: rapid.Uint64().Draw(t, "id")}
	}
	return &Close{Code: CloseCode(rapid.Uint16().Draw(t, "code")), RetryAfter: span("retry"), Reason: text(MaxText, "reason")}
}

// Messages come out as they went in, in their order, through one buffer.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var sent []Message
		for range rapid.IntRange(1, 4).Draw(t, "messages") {
			m := drawMessage(t)
			var err error
			if stream, err = Append(stream, m); err != nil {
				t.Fatal(err)
			}
			sent = append(sent, m)
		}
		r := bufio.NewReaderSize(bytes.NewReader(stream), 16)
		var buf []byte
		for _, want := range sent {
			var got Message
			var err error
			if got, buf, err = ReadFrom(r, buf); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("got %+v, want %+v", got, want)
			}
		}
		if _, _, err := ReadFrom(r, buf); err != io.EOF {
			t.Fatalf("behind the last: %v", err)
		}
	})
}

func seed(f *testing.F, add func(frame []byte)) {
	files, err := filepath.Glob("testdata/frames/*")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds: ", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		add(b)
	}
}

// FuzzDecode: a decoder takes a body or refuses it, and what it takes is encoded
// to something that it decodes to the same.
func FuzzDecode(f *testing.F) {
	seed(f, func(frame []byte) { f.Add(frame[4], frame[header:]) })
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		m, err := Decode(Type(kind), body)
		if err != nil {
			if !errors.Is(err, ErrFrame) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if _, unknown := m.(*Unknown); unknown {
			return
		}
		again, err := Append(nil, m)
		if err != nil {
			t.Fatalf("%s was taken and cannot be sent: %v", m.Type(), err)
		}
		back, err := Decode(m.Type(), again[header:])
		if err != nil || !reflect.DeepEqual(m, back) {
			t.Fatalf("got %+v, then %+v, %v", m, back, err)
		}
	})
}

// FuzzReadFrom: any stream ends in an error, and no buffer is longer than the
// longest frame.
func FuzzReadFrom(f *testing.F) {
	var all []byte
	seed(f, func(frame []byte) {
		f.Add(frame)
		all = append(all, frame...)
	})
	f.Add(all)
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bufio.NewReader(bytes.NewReader(stream))
		var buf []byte
		for n := 0; ; n++ {
			m, b, err := ReadFrom(r, buf)
			if cap(b) > MaxFrame {
				t.Fatalf("buffer of %d bytes", cap(b))
			}
			if err != nil {
				return
			}
			if buf = b; m == nil || n > len(stream) {
				t.Fatalf("message %d is %v", n, m)
			}
		}
	})
}

// Who claims a long frame and sends little of it costs little.
func TestReadFromTakesMemoryAsBytesCome(t *testing.T) {
	for _, sent := range []int{0, 1, firstStep, firstStep + 1, 3 * firstStep} {
		claim := append(binary.BigEndian.AppendUint32(nil, MaxFrame-4), byte(TypeInventory))
		_, buf, err := ReadFrom(bufio.NewReader(bytes.NewReader(append(claim, make([]byte, sent)...))), nil)
		if !errors.Is(err, io.ErrUnexpectedEOF) || cap(buf) > max(firstStep, 2*sent) {
			t.Errorf("%d bytes sent: room for %d, %v", sent, cap(buf), err)
		}
	}
	body := make([]byte, MaxFrame)
	for i := range body {
		body[i] = byte(i * 7 >> 3)
	}
	for n := 0; n <= len(body); n += 997 {
		for _, room := range []int{0, 10, n, MaxFrame} {
			got, err := readBody(bytes.NewReader(body[:n]), make([]byte, 0, room), n)
			if err != nil || !bytes.Equal(got, body[:n]) {
				t.Fatalf("%d bytes, room for %d: %d bytes, %v", n, room, len(got), err)
			}
		}
	}
}
