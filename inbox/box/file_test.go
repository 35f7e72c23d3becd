package box_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto/ed25519"
	"crypto/sha256"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files anew; only for a new version of the format")

func at(second int) time.Time { return time.Date(2026, 3, 1, 8, 0, second, 0, time.UTC) }

// samples has contents of each kind, with every field in use.
func samples() []box.Contents {
	row := box.ResultRow{Result: task.Result{Operation: task.ID{1, 2, 3}, Device: 70_000, Attempt: 2, State: task.Failed, Code: -5,
		At: at(3), Detail: "2 findings in /home/günther"}, MAC: [16]byte{9, 8, 7}}
	sent := box.ResultRow{Result: task.Result{Operation: task.ID{1, 2, 3}, Device: 3, Attempt: 1, State: task.Sent, At: at(2)}}
	return []box.Contents{
		&box.Results{Rows: []box.ResultRow{sent, row}},
		&box.Presence{Full: true, Entries: []box.PresenceEntry{
			{Device: 1, Online: true, Carrier: 1, Since: at(4)},
			{Device: 300, Online: true, Carrier: 2, Since: at(1)},
			{Device: 1<<32 - 1, Online: true, Carrier: 7, Since: at(2).Add(5 * time.Millisecond)}}},
		&box.Presence{Entries: []box.PresenceEntry{{Device: 9, Reason: 8, Carrier: 1, Since: at(1)}}},
		&box.Presence{Full: true, Entries: []box.PresenceEntry{}},
		&box.Status{Records: []box.StatusRecord{
			{Type: box.Started, At: at(1), Version: "0.1.0", Address: "[2001:db8::1]:10123"},
			{Type: box.Refused, At: at(2), Where: "join", Address: "192.0.2.1", Text: "token has expired", Count: 12},
			{Type: box.Message, At: at(3), Component: "listener", Number: 4711, Severity: 2, Device: 5, Text: "slow"},
			{Type: box.Stopped, At: at(4)}}},
		&box.Discovery{Records: []box.DiscoveryRecord{
			{Device: 5, At: at(1), Facts: []box.Fact{{Name: "os.version", Value: "12.11"}, {Name: "empty"}}},
			{Device: 6, At: at(2), Facts: []box.Fact{}}}},
	}
}

func sampleFile(i int, c box.Contents) *box.File {
	return &box.File{Name: box.Name{Listener: "BGL01", Epoch: 3, Number: uint64(i + 1), Kind: c.Kind()}, Site: "LAB",
		From: at(0), To: at(5), Contents: c}
}

func encode(t testing.TB, f *box.File) []byte {
	t.Helper()
	b, err := f.Append(nil, private)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEveryKindComesBack(t *testing.T) {
	for i, c := range samples() {
		want := sampleFile(i, c)
		got, err := box.Decode(encode(t, want), anyKey)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", want.Name, diff)
		}
	}
}

// TestGoldenFiles: what was written once is read for ever, and written the same.
func TestGoldenFiles(t *testing.T) {
	for i, c := range samples() {
		f := sampleFile(i, c)
		path := filepath.Join("testdata", "v2", f.Name.String())
		b := encode(t, f)
		if *update {
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if golden := readGolden(t, path, f); !bytes.Equal(golden, b) {
			t.Errorf("%s is written differently now", path)
		}
	}
}

// TestGoldenFilesOfVersion1 are read for ever, and differ from those of today by
// their version, and what follows from it, alone.
func TestGoldenFilesOfVersion1(t *testing.T) {
	for i, c := range samples() {
		f := sampleFile(i, c)
		path := filepath.Join("testdata", "v1", f.Name.String())
		if golden := readGolden(t, path, f); !bytes.Equal(golden, ofVersion1(encode(t, f))) {
			t.Errorf("%s differs by more than its version", path)
		}
	}
}

// readGolden returns the file's bytes, which must say what want does.
func readGolden(t *testing.T, path string, want *box.File) []byte {
	t.Helper()
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := box.Decode(golden, anyKey)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return golden
	}
	if got.Digest != sha256.Sum256(golden) {
		t.Errorf("%s: digest %x is not of its bytes", path, got.Digest)
	}
	same := *want
	same.Digest = got.Digest
	if diff := cmp.Diff(&same, got); diff != "" {
		t.Errorf("%s: %s", path, diff)
	}
	return golden
}

// TestPL5_AnyFlippedBit and any cut is found, in every kind of file and version.
func TestPL5_AnyFlippedBit(t *testing.T) {
	for i, c := range samples() {
		b := encode(t, sampleFile(i, c))
		for _, b := range [][]byte{b, ofVersion1(b)} {
			anyFlippedBit(t, c.Kind(), b)
		}
	}
}

func anyFlippedBit(t *testing.T, kind box.Kind, b []byte) {
	t.Helper()
	for bit := range 8 * len(b) {
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := box.Decode(b, anyKey); err == nil {
			t.Fatalf("%s of version %d: bit %d flipped and nobody saw", kind, b[5], bit)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	for n := range b {
		if _, err := box.Decode(b[:n], anyKey); err == nil {
			t.Fatalf("%s of version %d: cut at %d and nobody saw", kind, b[5], n)
		}
	}
}

// What each version signs of a file whose bytes before the signature are body.
func signedBy1(body []byte) []byte { return body }
func signedBy2(body []byte) []byte {
	digest := sha256.Sum256(body)
	return append([]byte("bugle box file 2\x00"), digest[:]...)
}

// seal makes the checksum right, and the signature one over what signed returns.
func seal(b []byte, signed func(body []byte) []byte) {
	sum(b)
	body := len(b) - ed25519.SignatureSize
	copy(b[body:], ed25519.Sign(private, signed(b[:body])))
}

func sum(b []byte) {
	at := len(b) - ed25519.SignatureSize - 4
	binary.BigEndian.PutUint32(b[at:], crc32.Checksum(b[:at], crc32.MakeTable(crc32.Castagnoli)))
}

// forge makes a file with a valid checksum and signature out of changed bytes.
func forge(b []byte, change func(b []byte)) []byte {
	b = bytes.Clone(b)
	change(b)
	if binary.BigEndian.Uint16(b[4:]) == 1 {
		seal(b, signedBy1)
	} else {
		seal(b, signedBy2)
	}
	return b
}

// ofVersion1 is a file as it was written before version 2.
func ofVersion1(b []byte) []byte { return forge(b, func(b []byte) { b[5] = 1 }) }

// TestEachVersionHasItsSignature, and takes that of no other.
func TestEachVersionHasItsSignature(t *testing.T) {
	for i, c := range samples() {
		made := encode(t, sampleFile(i, c))
		for what, f := range map[string]struct {
			version byte
			signed  func([]byte) []byte
			want    error
		}{
			"version 1":                 {1, signedBy1, nil},
			"version 2":                 {2, signedBy2, nil},
			"version 1 signed as 2":     {1, signedBy2, box.ErrSignature},
			"version 2 signed as 1":     {2, signedBy1, box.ErrSignature},
			"version 2, a bare digest":  {2, func(b []byte) []byte { return signedBy2(b)[17:] }, box.ErrSignature},
			"version 2, nothing before": {2, func(b []byte) []byte { return signedBy2(nil) }, box.ErrSignature},
		} {
			b := bytes.Clone(made)
			b[5] = f.version
			seal(b, f.signed)
			if _, err := box.Decode(b, anyKey); !errors.Is(err, f.want) {
				t.Errorf("%s, %s: %v, want %v", c.Kind(), what, err, f.want)
			}
			b[5] = 3 - f.version // what was signed stays; the checksum is right again
			sum(b)
			if _, err := box.Decode(b, anyKey); !errors.Is(err, box.ErrSignature) {
				t.Errorf("%s, %s, then made the other version: %v, want %v", c.Kind(), what, err, box.ErrSignature)
			}
		}
	}
}

func TestBadFilesHaveTheirErrors(t *testing.T) {
	good := encode(t, sampleFile(0, samples()[0]))
	for _, good := range [][]byte{good, ofVersion1(good)} {
		t.Run(fmt.Sprint("version ", good[5]), func(t *testing.T) { badFilesHaveTheirErrors(t, good) })
	}
}

func badFilesHaveTheirErrors(t *testing.T, good []byte) {
	change := func(at int, to ...byte) []byte { return forge(good, func(b []byte) { copy(b[at:], to) }) }
	flipped := bytes.Clone(good)
	flipped[90] ^= 1
	for what, c := range map[string]struct {
		file []byte
		want error
	}{
		"empty":             {nil, box.ErrMalformed},
		"text":              {[]byte("hello, world"), box.ErrMalformed},
		"cut":               {good[:len(good)-1], box.ErrMalformed},
		"longer":            {append(bytes.Clone(good), 0), box.ErrMalformed},
		"huge":              {make([]byte, box.MaxFile+1), box.ErrTooLarge},
		"flipped":           {flipped, box.ErrChecksum},
		"version 3":         {change(5, 3), box.ErrVersion},
		"version 0":         {change(5, 0), box.ErrVersion},
		"version 256 more":  {change(4, 1), box.ErrVersion},
		"kind 0":            {change(6, 0), box.ErrMalformed},
		"kind 5":            {change(6, 5), box.ErrMalformed},
		"another kind":      {change(6, byte(box.BOS)), box.ErrMalformed},
		"reserved byte":     {change(7, 1), box.ErrMalformed},
		"zero in the site":  {change(9, 0), box.ErrMalformed},
		"no site":           {change(8, make([]byte, 16)...), box.ErrMalformed},
		"small letters":     {change(24, 'b'), box.ErrMalformed},
		"epoch 0":           {change(40, 0, 0, 0, 0), box.ErrMalformed},
		"epoch of 9 digits": {change(40, 0xff), box.ErrMalformed},
		"number 0":          {change(44, 0, 0, 0, 0, 0, 0, 0, 0), box.ErrMalformed},
		"no records":        {change(68, 0, 0, 0, 0), box.ErrMalformed},
		"3 records of 2":    {change(68, 0, 0, 0, 3), box.ErrMalformed},
		"1 record of 2":     {change(68, 0, 0, 0, 1), box.ErrMalformed},
		"2^32-1 records":    {change(68, 255, 255, 255, 255), box.ErrMalformed},
		"payload version 2": {change(77, 2), box.ErrMalformed},
	} {
		if _, err := box.Decode(c.file, anyKey); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	nobody := func(string, uint32) (ed25519.PublicKey, bool) { return nil, false }
	if _, err := box.Decode(flipped, nobody); !errors.Is(err, box.ErrChecksum) {
		t.Errorf("flipped, of an unknown listener: %v", err)
	}
	if _, err := box.Decode(good, nobody); !errors.Is(err, box.ErrListener) {
		t.Errorf("unknown listener: %v", err)
	}
	other := func(string, uint32) (ed25519.PublicKey, bool) { return make([]byte, 32), true }
	if _, err := box.Decode(good, other); !errors.Is(err, box.ErrSignature) {
		t.Errorf("another key: %v", err)
	}
}

// TestDeviceNumbersDoNotWrap: a step so long that the sum of the steps is no
// number of 64 bits is not taken for a small one.
func TestDeviceNumbersDoNotWrap(t *testing.T) {
	c := &box.Presence{Entries: []box.PresenceEntry{{Device: 5, Online: true}, {Device: 1<<32 - 1, Online: true}}}
	good := encode(t, sampleFile(0, c))
	at := bytes.Index(good, []byte{0xce, 0xff, 0xff, 0xff, 0xfa}) // the second step
	if at < 0 {
		t.Fatal("the second step is not where it is looked for")
	}
	for _, step := range []uint64{math.MaxInt64 - 4, math.MaxInt64 - 3, math.MaxInt64} {
		long := binary.BigEndian.AppendUint64([]byte{0xcf}, step)
		b := append(append(bytes.Clone(good[:at]), long...), good[at+5:]...)
		size := 72 // of the payload, in the header
		binary.BigEndian.PutUint32(b[size:], binary.BigEndian.Uint32(b[size:])+4)
		if f, err := box.Decode(forge(b, func([]byte) {}), anyKey); !errors.Is(err, box.ErrMalformed) {
			t.Errorf("step %d behind device 5: %+v, %v", step, f, err)
		}
	}
}

// TestBadRecordsStayAlone: one bad record takes none of the others with it.
func TestBadRecordsStayAlone(t *testing.T) {
	row := func(change func(*box.ResultRow)) box.ResultRow {
		r := samples()[0].(*box.Results).Rows[1]
		change(&r)
		return r
	}
	c := &box.Results{Rows: []box.ResultRow{
		row(func(*box.ResultRow) {}),
		row(func(r *box.ResultRow) { r.Device = 0 }),
		row(func(r *box.ResultRow) { r.State = 99 }),
		row(func(r *box.ResultRow) { r.Operation = task.ID{} }),
		row(func(r *box.ResultRow) { r.Detail = "@@text@@" }),
		row(func(r *box.ResultRow) { r.Device = 5 }),
	}}
	b := forge(encode(t, sampleFile(0, c)), func(b []byte) { copy(b[bytes.Index(b, []byte("@@text@@")):], "\xff\xfe") })
	f, err := box.Decode(b, anyKey)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Contents.Len(); got != 2 || f.Contents.(*box.Results).Rows[1].Device != 5 {
		t.Errorf("%d good rows, want the first and the last", got)
	}
	var got []string
	for _, bad := range f.Bad {
		if len(bad.Raw) == 0 {
			t.Errorf("record %d: no bytes", bad.Index)
		}
		got = append(got, fmt.Sprint(bad.Index, " ", bad.Reason[strings.Index(bad.Reason, ": ")+2:]))
	}
	want := []string{"1 device 0 does not exist", "2 state 99 does not exist", "3 no operation", "4 string is not UTF-8"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTooManyBadRecords(t *testing.T) {
	c := &box.Results{Rows: make([]box.ResultRow, box.MaxBad+1)}
	if _, err := box.Decode(encode(t, sampleFile(0, c)), anyKey); !errors.Is(err, box.ErrMalformed) {
		t.Errorf("%d bad records: %v", box.MaxBad+1, err)
	}
	c.Rows = c.Rows[1:]
	f, err := box.Decode(encode(t, sampleFile(0, c)), anyKey)
	if err != nil || len(f.Bad) != box.MaxBad {
		t.Errorf("%d bad records: %v", box.MaxBad, err)
	}
}

func TestWriterRefuses(t *testing.T) {
	for what, c := range map[string]box.Contents{
		"no rows":               &box.Results{},
		"an empty delta's kind": &box.Status{},
		"too many entries":      full(box.MaxRecords + 1),
		"too many records":      &box.Discovery{Records: make([]box.DiscoveryRecord, box.MaxDiscovery+1)},
		"falling devices":       &box.Presence{Entries: []box.PresenceEntry{{Device: 2}, {Device: 1}}},
		"device 0":              &box.Presence{Entries: []box.PresenceEntry{{Device: 0}}},
		"a device twice":        &box.Presence{Entries: []box.PresenceEntry{{Device: 2}, {Device: 2}}},
		"reason 9":              &box.Presence{Entries: []box.PresenceEntry{{Device: 2, Reason: 9}}},
		"too many facts":        &box.Discovery{Records: []box.DiscoveryRecord{{Device: 1, Facts: make([]box.Fact, box.MaxFacts+1)}}},
		"too many facts in all": &box.Discovery{Records: manyFacts()},
		"16 MiB":                &box.Discovery{Records: bulky()},
	} {
		dst := []byte("before")
		if b, err := sampleFile(0, c).Append(dst, private); err == nil || string(b) != "before" {
			t.Errorf("%s: wrote %d bytes, %v", what, len(b), err)
		}
	}
	f := sampleFile(0, samples()[0])
	f.Name.Kind = box.BOS
	if _, err := f.Append(nil, private); err == nil {
		t.Error("wrote results as presence")
	}
	f = sampleFile(0, samples()[0])
	f.Site = strings.Repeat("S", 17)
	if _, err := f.Append(nil, private); err == nil {
		t.Error("wrote a site of 17 bytes")
	}
}

// manyFacts are small, and one more than a file may have.
func manyFacts() []box.DiscoveryRecord {
	facts := make([]box.Fact, box.MaxFacts)
	for i := range facts {
		facts[i].Name = "n"
	}
	all := make([]box.DiscoveryRecord, box.MaxFileFacts/box.MaxFacts+1)
	for i := range all {
		all[i] = box.DiscoveryRecord{Device: 1, Facts: facts}
	}
	all[0].Facts = facts[:1]
	return all
}

func bulky() []box.DiscoveryRecord {
	all := make([]box.DiscoveryRecord, 5000)
	for i := range all {
		all[i] = box.DiscoveryRecord{Device: 1, Facts: []box.Fact{{Name: "n", Value: strings.Repeat("v", box.MaxText)}}}
	}
	return all
}

// FuzzDecode: no bytes of either version make Decode panic, and what it takes is
// written back the same, bad records aside.
func FuzzDecode(f *testing.F) {
	for i, c := range samples() {
		b := encode(f, sampleFile(i, c))
		for _, b := range [][]byte{b, ofVersion1(b)} {
			f.Add(b, false)
			f.Add(b[:len(b)/2], false)
			f.Add(b, true)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, sign bool) {
		if sign && len(b) > ed25519.SignatureSize+4 {
			b = forge(b, func([]byte) {}) // so that the fuzzer gets past the checksum
		}
		file, err := box.Decode(b, anyKey)
		if err != nil || len(file.Bad) > 0 {
			return
		}
		again, err := file.Append(nil, private)
		if err != nil {
			t.Fatalf("taken, but not written again: %v", err)
		}
		twice, err := box.Decode(again, anyKey)
		if err != nil {
			t.Fatal(err)
		}
		file.Digest, twice.Digest = [32]byte{}, [32]byte{}
		if diff := cmp.Diff(file, twice); diff != "" {
			t.Error(diff)
		}
	})
}
