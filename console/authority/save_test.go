package authority

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

var _ journal.SavingFold = (*Authority)(nil)

// ringKey signs the rings of these tests.
var ringKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))

// newFold is an authority that knows nothing of a journal. Of keys it knows those
// of the first ring.
func newFold() *Authority {
	public := ringKey.Public().(ed25519.PublicKey)
	a := &Authority{site: "P01", keys: &keys{first: task.Keyring{Site: "P01", Number: 1,
		Task: []ed25519.PublicKey{public}, Policy: []ed25519.PublicKey{public}, CA: [][]byte{{1}}}}}
	a.forget()
	return a
}

// someRing is a ring, signed by the key of all, or by another.
func someRing(number uint32, genuine bool) *event.KeysChanged {
	key := ringKey
	if !genuine {
		key = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	}
	public := ringKey.Public().(ed25519.PublicKey)
	r := task.Keyring{Site: "P01", Number: number, At: time.Unix(1_700_000_000, 0).UTC(),
		Task: []ed25519.PublicKey{public}, Policy: []ed25519.PublicKey{public}, CA: [][]byte{{byte(number)}, {1}}}
	signed, err := r.Sign(key)
	if err != nil {
		panic(err)
	}
	return &event.KeysChanged{Number: number, Ring: signed, What: KeyCA}
}

func someScope(devices ...uint32) []byte {
	b, err := roaring.BitmapOf(devices...).ToBytes()
	if err != nil {
		panic(err)
	}
	return b
}

func savedBy(t interface{ Fatal(...any) }, a *Authority) []byte {
	b, err := a.Save()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// drawEvent is one of the events that an authority knows something of, some of
// them such as no guard lets through.
func drawEvent(t *rapid.T, number uint64) *event.Event {
	e := &event.Event{Number: number, Accepted: time.Unix(1_700_000_000+int64(number), 5).UTC()}
	tokens := rapid.SampledFrom([]string{"red", "green", "blue", ""})
	device := rapid.Uint32Range(0, 9).Draw(t, "device")
	later := rapid.SampledFrom([]time.Time{{}, time.Unix(1_800_000_000, 0).UTC(), time.Unix(-5, 7).UTC()})
	names := rapid.SampledFrom([]string{"BGL", "BGL2"})
	scopes := rapid.SampledFrom([][]byte{nil, {1}, someScope(3, 70_000)})
	keys := rapid.SampledFrom([][]byte{nil, {4, 1}, {4, 2}})
	switch rapid.IntRange(0, 10).Draw(t, "kind") {
	case 0:
		e.Payload = &event.DeviceJoined{Device: device, ID: task.ID{byte(device), 6: 0x70}, Token: tokens.Draw(t, "token"), Expires: later.Draw(t, "expires"),
			PublicKey: rapid.SampledFrom([][]byte{nil, {4, 1}, {4, 2}}).Draw(t, "key"), Serial: rapid.SampledFrom([][]byte{nil, {1}}).Draw(t, "serial")}
	case 1:
		e.Payload = &event.DeviceBlocked{Device: device}
	case 2:
		e.Payload = &event.DeviceUnblocked{Device: device}
	case 3:
		e.Payload = &event.TokenCreated{Token: tokens.Draw(t, "token"), Hash: [32]byte{byte(number)}, Uses: rapid.Uint32Range(0, 3).Draw(t, "uses"), Expires: later.Draw(t, "expires"),
			Listener: rapid.SampledFrom([]string{"", "BGL"}).Draw(t, "for"), Scope: scopes.Draw(t, "scope"), Device: rapid.SampledFrom([]uint32{0, 3, 1 << 31}).Draw(t, "become")}
	case 4:
		e.Payload = &event.TokenRevoked{Token: tokens.Draw(t, "token")}
	case 5:
		e.Payload = &event.ListenerRevoked{Listener: names.Draw(t, "listener")}
	case 6:
		e.Payload = &event.CertificateIssued{Device: device, Listener: names.Draw(t, "listener"), PublicKey: keys.Draw(t, "key"), Serial: []byte{byte(number)}, Expires: later.Draw(t, "expires")}
	case 7:
		e.Payload = someRing(rapid.Uint32Range(2, 5).Draw(t, "ring"), rapid.Bool().Draw(t, "genuine"))
	case 8:
		e.Payload = &event.DevicesImported{Devices: []event.ImportedDevice{{Device: device, New: rapid.Bool().Draw(t, "new"), ID: task.ID{byte(device), 6: 0x71}}, {Device: 10, New: true, ID: task.ID{10}}}}
	case 9:
		e.Payload = &event.DeviceRemoved{Device: device}
	default:
		e.Payload = &event.ListenerGranted{Listener: names.Draw(t, "listener"), Epoch: rapid.Uint32Range(0, 4).Draw(t, "epoch"), PublicKey: rapid.SampledFrom([][]byte{nil, {7}, {8}}).Draw(t, "key"),
			Token: tokens.Draw(t, "token"), TCP: []string{"a:1"}, HTTPS: rapid.SampledFrom([][]string{nil, {"b:1", "c:2"}}).Draw(t, "https"), Scope: scopes.Draw(t, "scope")}
	}
	return e
}

// An authority that was saved anywhere, restored and told the rest knows what
// one does that was told all, to the byte.
func TestSaveAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(0, 60).Draw(t, "events")
		cut := rapid.IntRange(0, count).Draw(t, "cut")
		all, prefix, restored := newFold(), newFold(), newFold()
		restored.Apply(drawEvent(t, 999)) // what it knew before does not matter
		var events []*event.Event
		for i := range count {
			events = append(events, drawEvent(t, uint64(i+1)))
		}
		for i, e := range events {
			all.Apply(e)
			if i < cut {
				prefix.Apply(e)
			}
		}
		b := savedBy(t, prefix)
		if err := restored.Restore(b); err != nil {
			t.Fatal(err)
		}
		if again := savedBy(t, restored); !bytes.Equal(again, b) {
			t.Fatalf("saved\n%x\nrestored\n%x", b, again)
		}
		for _, e := range events[cut:] {
			restored.Apply(e)
		}
		if got, want := savedBy(t, restored), savedBy(t, all); !bytes.Equal(got, want) {
			t.Fatalf("restored and told the rest:\n%x\ntold all:\n%x", got, want)
		}
		sameAnswers(t, restored, all)
	})
}

func sameAnswers(t *rapid.T, got, want *Authority) {
	if !slices.Equal(got.Devices(), want.Devices()) || !slices.Equal(got.Blocked(), want.Blocked()) || len(got.devices) != len(want.devices) {
		t.Fatalf("devices %v, %v, want %v, %v", got.Devices(), got.Blocked(), want.Devices(), want.Blocked())
	}
	active := len(slices.DeleteFunc(want.Devices(), func(n uint32) bool { return slices.Contains(want.Blocked(), n) }))
	if got.Active() != active || want.Active() != active {
		t.Fatalf("active %d, and %d where all was told, want %d", got.Active(), want.Active(), active)
	}
	for _, id := range []string{"red", "green", "blue", "", "none"} {
		gotToken, gotThere := got.Token(id)
		wantToken, wantThere := want.Token(id)
		if gotToken != wantToken || gotThere != wantThere {
			t.Fatalf("token %q: %+v, want %+v", id, gotToken, wantToken)
		}
		for _, public := range [][]byte{nil, {4, 1}, {4, 2}} {
			if g, w := got.joined[joinKeyOf(id, public)], want.joined[joinKeyOf(id, public)]; g != w {
				t.Fatalf("token %q: device %d has joined, want %d", id, g, w)
			}
		}
	}
	if !slices.EqualFunc(got.Keyrings(), want.Keyrings(), bytes.Equal) || got.ring().Number != want.ring().Number {
		t.Fatalf("rings up to %d, want %d", got.ring().Number, want.ring().Number)
	}
	if g, w := fmt.Sprintf("%+v", got.Listeners()), fmt.Sprintf("%+v", want.Listeners()); g != w {
		t.Fatalf("listeners %s, want %s", g, w)
	}
	for _, name := range []string{"BGL", "BGL2"} {
		for epoch := range uint32(5) {
			gotKey, gotThere := got.ListenerKey(name, epoch)
			wantKey, wantThere := want.ListenerKey(name, epoch)
			if !bytes.Equal(gotKey, wantKey) || gotThere != wantThere {
				t.Fatalf("%s %d: %x, want %x", name, epoch, gotKey, wantKey)
			}
		}
	}
}

// What is kept under the name authority/3 is spelled as it is in testdata, for
// ever: another spelling needs another name. What was kept as authority/2 is read,
// authority/1 is not.
func TestSaveGolden(t *testing.T) {
	a := fleet(2)
	for i, p := range []event.Payload{
		&event.CertificateIssued{Device: 1, PublicKey: []byte{4, 9}, Serial: []byte{7}, Expires: time.Unix(1_800_000_001, 0)},
		&event.TokenCreated{Token: "1111111111111111", Uses: 1, Listener: "BGL2", Scope: someScope(1, 2)},
		&event.ListenerGranted{Listener: "BGL2", Epoch: 1, PublicKey: []byte{5}, Token: "1111111111111111", TCP: []string{"a:1"}, HTTPS: []string{"a:2"}, Scope: someScope(1, 2)},
		&event.CertificateIssued{Listener: "BGL2", PublicKey: []byte{4, 8}, Serial: []byte{8}, Expires: time.Unix(1_800_000_002, 0)},
		someRing(2, true), &event.ListenerRevoked{Listener: "BGL2", Reason: "lost"},
	} {
		a.Apply(&event.Event{Number: uint64(50 + i), Accepted: time.Unix(1_700_000_500, 0).UTC(), Payload: p})
	}
	for i, p := range []event.Payload{&event.DeviceBlocked{Device: 2}, &event.DeviceJoined{Device: 4, PublicKey: []byte{4}}, &event.TokenRevoked{Token: "0000000000000000"}} {
		a.Apply(&event.Event{Number: uint64(100 + i), Payload: p})
	}
	second(t, a, "authority.v2.hex")
	// A second renewal leaves the first as the one before.
	a.Apply(&event.Event{Number: 110, Accepted: time.Unix(1_700_000_600, 0).UTC(),
		Payload: &event.CertificateIssued{Device: 1, PublicKey: []byte{4, 10}, Serial: []byte{9}, Expires: time.Unix(1_800_000_003, 0)}})
	second(t, a, "authority.v2-renewed.hex")
	for i, p := range []event.Payload{&event.DevicesImported{Devices: []event.ImportedDevice{{Device: 6, New: true, ID: task.ID{6}}, {Device: 7, New: true, ID: task.ID{7}}, {Device: 8}}},
		&event.DeviceRemoved{Device: 7}, &event.DeviceRemoved{Device: 1}, &event.DeviceRemoved{Device: 9}} {
		a.Apply(&event.Event{Number: uint64(120 + i), Payload: p})
	}
	spelled(t, a, "authority.v3.hex")
	a.Apply(&event.Event{Number: 130, Accepted: time.Unix(1_700_000_700, 0).UTC(),
		Payload: &event.TokenCreated{Token: "2222222222222222", Uses: 1, Expires: time.Unix(1_800_000_000, 0).UTC(), Device: 6}})
	spelled(t, a, "authority.v3-device.hex")
	older, err := os.ReadFile(filepath.Join("testdata", "authority.v1.hex"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(older)))
	if err != nil {
		t.Fatal(err)
	}
	if err := newFold().Restore(b); !errors.Is(err, bounded.ErrMalformed) {
		t.Errorf("version 1: %v", err)
	}
}

// spelled compares what an authority saves with a file.
func spelled(t *testing.T, a *Authority, name string) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("testdata", name))
	if got := hex.EncodeToString(savedBy(t, a)) + "\n"; err != nil || got != string(want) {
		t.Errorf("saved\n%s, want\n%s, %v", got, want, err)
	}
}

// second compares an authority that has no removed devices with what one of version 2
// kept: it differs in the version alone.
func second(t *testing.T, a *Authority, name string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	restored := newFold()
	if err := restored.Restore(b); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	b[1] = saveVersion
	if got := savedBy(t, a); !bytes.Equal(got, b) || !bytes.Equal(savedBy(t, restored), b) {
		t.Errorf("saved\n%x, want\n%x", got, b)
	}
}

// hostile are saved authorities that cannot be.
func hostile(t testing.TB) map[string][]byte {
	join := func(w *bounded.Writer, device uint64, key byte) {
		w.Array(2)
		w.Uint(device)
		w.Raw(bytes.Repeat([]byte{key}, 32))
	}
	token := func(w *bounded.Writer, id string) { (&token{}).save(w, id) }
	name := func(w *bounded.Writer, id string) { (&listener{}).save(w, id) }
	begin := func(w *bounded.Writer, id string) {
		w.Array(9)
		w.Exact(id, 9)
		w.Uint(1)
		w.Uint(0)
		w.Exact("", 9)
		for range 4 {
			w.Array(0)
		}
	}
	whole := func(devices int, joins, tokens, listeners func(w *bounded.Writer)) []byte {
		b, err := bounded.Encode(nil, func(w *bounded.Writer) {
			w.Array(6)
			w.Uint(2)
			w.Array(devices)
			for range devices {
				(&device{id: task.ID{1}}).save(w)
			}
			for _, write := range []func(*bounded.Writer){joins, tokens, listeners} {
				if write == nil {
					w.Array(0)
				} else {
					w.Array(2)
					write(w)
				}
			}
			w.Array(0)
		})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	gaps, err := bounded.Encode(nil, func(w *bounded.Writer) {
		w.Array(6)
		w.Uint(2)
		w.Array(maxGaps + 1)
		for range maxGaps + 4 {
			w.Array(0)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"nothing":            nil,
		"no array":           {0x01},
		"a later version":    {0x96, 0x04, 0x90, 0x90, 0x90, 0x90, 0x90},
		"too little":         {0x95, 0x02, 0x90, 0x90, 0x90, 0x90},
		"more behind":        append(savedBy(t, newFold()), 0x90),
		"nobody's joins":     whole(1, func(w *bounded.Writer) { join(w, 1, 1); join(w, 2, 1) }, nil, nil),
		"joins of nobody":    whole(1, func(w *bounded.Writer) { join(w, 0, 1); join(w, 1, 1) }, nil, nil),
		"joins out of order": whole(2, func(w *bounded.Writer) { join(w, 2, 1); join(w, 1, 1) }, nil, nil),
		"the same join":      whole(2, func(w *bounded.Writer) { join(w, 2, 1); join(w, 2, 1) }, nil, nil),
		"tokens":             whole(0, nil, func(w *bounded.Writer) { token(w, "b"); token(w, "a") }, nil),
		"the same token":     whole(0, nil, func(w *bounded.Writer) { token(w, ""); token(w, "") }, nil),
		"listeners":          whole(0, nil, nil, func(w *bounded.Writer) { name(w, "b"); name(w, "a") }),
		"gaps":               gaps,
		"a gap of rings":     {0x96, 0x02, 0x90, 0x90, 0x90, 0x90, 0x91, 0xc4, 0x01, 0x00},
		"an odd end": whole(0, nil, nil, func(w *bounded.Writer) {
			name(w, "a")
			begin(w, "b")
			w.Array(1)
			w.Uint(1)
		}),
		"epochs": whole(0, nil, nil, func(w *bounded.Writer) {
			name(w, "a")
			begin(w, "b")
			w.Array(6)
			for range 2 {
				w.Uint(1)
				w.Raw([]byte{1})
				w.Raw(nil)
			}
		}),
	}
}

func TestRestoreRefuses(t *testing.T) {
	empty := savedBy(t, newFold())
	for name, b := range hostile(t) {
		a := newFold()
		a.Apply(&event.Event{Number: 1, Payload: &event.TokenCreated{Token: "t"}})
		if err := a.Restore(b); !errors.Is(err, bounded.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(savedBy(t, a), empty) {
			t.Errorf("%s: the authority is not as new", name)
		}
	}
}

// A history with more gaps than are restored is not saved either.
func TestSaveRefusesGaps(t *testing.T) {
	a := newFold()
	a.Apply(&event.Event{Number: 1, Payload: &event.DeviceJoined{Device: maxGaps + 2, PublicKey: []byte{4}}})
	if b, err := a.Save(); !errors.Is(err, bounded.ErrOutOfBounds) || b != nil {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// FuzzRestore: what is restored is saved as the same knowledge, what is refused
// leaves an authority as new.
func FuzzRestore(f *testing.F) {
	f.Add(savedBy(f, fleet(3)))
	for name, b := range hostile(f) {
		if name != "gaps" { // which is long
			f.Add(b)
		}
	}
	empty := savedBy(f, newFold())
	f.Fuzz(func(t *testing.T, b []byte) {
		a := newFold()
		err := a.Restore(b)
		again := savedBy(t, a)
		if err != nil && !bytes.Equal(again, empty) {
			t.Fatal("not as new after", err)
		}
		other := newFold()
		if err := other.Restore(again); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(savedBy(t, other), again) {
			t.Error("saved again it is something else")
		}
	})
}

// fleet is an authority with so many devices, a token for every thousand, and a
// few listeners.
func fleet(devices int) *Authority {
	a := newFold()
	number := uint64(0)
	apply := func(p event.Payload) {
		number++
		a.Apply(&event.Event{Number: number, Accepted: time.Unix(1_700_000_000, int64(number)).UTC(), Payload: p})
	}
	for n := range devices {
		token := fmt.Sprintf("%016x", n/1000*2654435761)
		if n%1000 == 0 {
			apply(&event.TokenCreated{Token: token, Uses: 1000, Expires: time.Unix(1_800_000_000, 0).UTC(), Hash: [32]byte{byte(n)}})
		}
		public := make([]byte, 65)
		public[0] = 4
		binary.BigEndian.PutUint64(public[9:], uint64(n)*2654435761)
		apply(&event.DeviceJoined{Device: uint32(n + 1), ID: task.ID{1, 6: 0x70, 14: byte(n >> 8), 15: byte(n)}, Token: token, PublicKey: public,
			Serial: public[9:25], Expires: time.Unix(1_800_000_000, 0).UTC()})
	}
	for epoch := range uint32(20) {
		apply(&event.ListenerGranted{Listener: "BGL1", Epoch: epoch + 1, PublicKey: make(ed25519.PublicKey, ed25519.PublicKeySize)})
	}
	return a
}

// BenchmarkSave is an authority of 100,000 devices.
func BenchmarkSave(b *testing.B) {
	a := fleet(100_000)
	kept := savedBy(b, a)
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			savedBy(b, a)
		}
		b.ReportMetric(float64(len(kept)), "bytes")
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			if err := newFold().Restore(kept); err != nil {
				b.Fatal(err)
			}
		}
	})
}
