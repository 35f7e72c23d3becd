package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// small is an archive of a few short frames behind a tree with peaks.
func small(t testing.TB) made {
	t.Helper()
	before := archived(t, 1, tree.NewBuilder(), 1, 2, 1, 1, 3, 1, 1)
	return framed(t, 600, 2, before.after, 2, 1, 1, 3, 1)
}

// streamed verifies bytes as a stream.
func streamed(t testing.TB, b []byte) error {
	t.Helper()
	s, err := NewStream(bytes.NewReader(b))
	if err == nil {
		_, err = s.Verify(t.Context(), public(1), nil)
	}
	return err
}

// verify verifies bytes as a file and as a stream, which must agree.
func verify(t testing.TB, b []byte) error {
	t.Helper()
	streamed := streamed(t, b)
	r, err := opened(b)
	if err == nil {
		_, err = r.Verify(t.Context(), public(1), nil)
	}
	if (err == nil) != (streamed == nil) {
		t.Errorf("as a file: %v; as a stream: %v", err, streamed)
	}
	return streamed
}

// firstBad is the first event that cannot be trusted if byte at is bad, 0 if no
// event is bad by that.
func firstBad(frames []frame, at int64) uint64 {
	for _, f := range frames {
		if at >= f.offset && at < f.offset+f.length() {
			return f.start.Event + 1
		}
	}
	return 0
}

// Every flipped bit is found, and the first event that cannot be trusted is
// named: the first one of its frame.
func TestEveryFlippedBitIsFound(t *testing.T) {
	m := small(t)
	if m.info.Frames < 3 {
		t.Fatalf("%d frames", m.info.Frames)
	}
	frames := mustOpen(t, m.bytes).frames
	if err := verify(t, m.bytes); err != nil {
		t.Fatal(err)
	}
	flips := 0
	for at := range m.bytes {
		for bit := range 8 {
			b := bytes.Clone(m.bytes)
			b[at] ^= 1 << bit
			check := streamed
			if bit == at%8 {
				check = verify // as a file, too
			}
			err := check(t, b)
			flips++
			if err == nil {
				t.Fatalf("bit %d of byte %d flipped: not found", bit, at)
			}
			if at < 8 {
				if !errors.Is(err, ErrForeign) && !errors.Is(err, ErrVersion) {
					t.Errorf("bit %d of byte %d: %v", bit, at, err)
				}
				continue
			}
			d, ok := errors.AsType[*DamageError](err)
			if !ok || !errors.Is(err, journal.ErrDamaged) {
				t.Fatalf("bit %d of byte %d: %v", bit, at, err)
			}
			if want := firstBad(frames, int64(at)); d.Event != want && !(want == 0 && d.Event == m.info.End.Event+1) {
				t.Fatalf("bit %d of byte %d: first bad event %d, want %d: %v", bit, at, d.Event, want, err)
			}
		}
	}
	t.Logf("%d flips in %d bytes", flips, len(m.bytes))
}

func TestEveryTruncationIsFound(t *testing.T) {
	m := small(t)
	for n := range m.bytes {
		err := verify(t, m.bytes[:n])
		if _, ok := errors.AsType[*DamageError](err); !ok && (n >= len(magic) || !errors.Is(err, ErrForeign)) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	for _, more := range []string{"\x00", "F", string(m.bytes)} {
		if err := verify(t, append(bytes.Clone(m.bytes), more...)); !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("%d bytes behind the end: %v", len(more), err)
		}
	}
}

// rebuilt is an archive with parts that somebody else has chosen, and all sums
// made anew.
func rebuilt(h Header, frames []frame, packed [][]byte, i Info) []byte {
	out := h.encode()
	for n := range frames {
		f := &frames[n]
		f.offset = int64(len(out))
		out = append(out, summed(append(f.encode(), packed[n]...))...)
	}
	f := footer{index: int64(len(out))}
	out = append(out, encodeIndex(frames)...)
	f.end = int64(len(out))
	out = append(out, i.encodeEnd()...)
	f.sum = sha256.Sum256(append(bytes.Clone(out), f.encode()[:16]...))
	return append(out, f.encode()...)
}

// parts takes an archive apart.
func parts(t testing.TB, m made) (h Header, frames []frame, packed [][]byte, i Info) {
	r := mustOpen(t, m.bytes)
	for _, f := range r.frames {
		packed = append(packed, bytes.Clone(m.bytes[f.offset+frameHeader:][:f.size]))
	}
	return r.info.Header, r.frames, packed, r.info
}

// Who calculates all sums anew is found by chain, tree and signature.
func TestInformedChangesAreFound(t *testing.T) {
	m := small(t)
	first := m.info.Before.Event + 1
	forged := func(k byte, origin string) (h Header, frames []frame, packed [][]byte, i Info) {
		// Other events, chained and signed well.
		other := framed(t, 600, 2, archived(t, 1, tree.NewBuilder(), 1, 2, 1, 1, 3, 1, 1).after, 1, 2, 1, 3, 1)
		h, frames, packed, i = parts(t, other)
		i.Checkpoint = sealAs(t, key(k), origin, other.after).Checkpoint
		return h, frames, packed, i
	}
	for name, c := range map[string]struct {
		change func() (Header, []frame, [][]byte, Info)
		want   error
		event  uint64
	}{
		"nothing": {func() (Header, []frame, [][]byte, Info) { return parts(t, m) }, nil, 0},
		"frames swapped": {func() (Header, []frame, [][]byte, Info) {
			h, f, p, i := parts(t, m)
			f[0].size, f[1].size, f[0].raw, f[1].raw, f[0].pages, f[1].pages = f[1].size, f[0].size, f[1].raw, f[0].raw, f[1].pages, f[0].pages
			p[0], p[1] = p[1], p[0]
			return h, f, p, i
		}, journal.ErrDamaged, first},
		"a frame left out": {func() (Header, []frame, [][]byte, Info) {
			h, f, p, i := parts(t, m)
			return h, append(f[:1:1], f[2:]...), append(p[:1:1], p[2:]...), i
		}, journal.ErrDamaged, 0},
		"the last frame left out": {func() (Header, []frame, [][]byte, Info) {
			h, f, p, i := parts(t, m)
			f, p = f[:len(f)-1], p[:len(p)-1]
			i.End = f[len(f)-1].end
			return h, f, p, i
		}, journal.ErrDamaged, 0},
		"another history": {func() (Header, []frame, [][]byte, Info) {
			h, f, p, i := parts(t, m)
			h.History[3]++
			return h, f, p, i
		}, ErrHistory, 0},
		"other peaks": {func() (Header, []frame, [][]byte, Info) {
			h, f, p, i := parts(t, m)
			h.Peaks[1][3]++
			return h, f, p, i
		}, journal.ErrDamaged, 0},
		"another root": {func() (Header, []frame, [][]byte, Info) {
			h, f, p, i := parts(t, m)
			i.Root[3]++
			return h, f, p, i
		}, journal.ErrDamaged, 0},
		"another history, signed by the key":  {func() (Header, []frame, [][]byte, Info) { return forged(1, "bugle.P01/beef") }, ErrHistory, 0},
		"other events, signed by another key": {func() (Header, []frame, [][]byte, Info) { return forged(2, origin(identity)) }, tree.ErrKey, 0},
		"other events and the old checkpoint": {func() (Header, []frame, [][]byte, Info) {
			h, f, p, i := forged(1, origin(identity))
			i.Checkpoint = m.info.Checkpoint
			return h, f, p, i
		}, ErrSeal, 0},
		"a checkpoint that was altered": {func() (Header, []frame, [][]byte, Info) {
			h, f, p, i := parts(t, m)
			i.Checkpoint = bytes.Replace(i.Checkpoint, []byte("time 2023"), []byte("time 2024"), 1)
			return h, f, p, i
		}, tree.ErrSignature, 0},
		"a checkpoint that is none": {func() (Header, []frame, [][]byte, Info) {
			h, f, p, i := parts(t, m)
			i.Checkpoint = []byte("all is well\n")
			return h, f, p, i
		}, tree.ErrFormat, 0},
	} {
		b := rebuilt(c.change())
		err := verify(t, b)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if read := readAll(t, b); (read == nil) != (c.want != journal.ErrDamaged) || read != nil && !errors.Is(read, journal.ErrDamaged) {
			t.Errorf("%s, without a key: %v", name, read)
		}
		if d, ok := errors.AsType[*DamageError](err); c.event > 0 && (!ok || d.Event != c.event) {
			t.Errorf("%s: %v, want event %d", name, err, c.event)
		}
	}
}

// readAll reads a stream, page by page.
func readAll(t *testing.T, b []byte) error {
	s, err := NewStream(bytes.NewReader(b))
	for err == nil {
		_, err = s.Next(t.Context())
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// An archive without a checkpoint is whole, and nobody vouches for it.
func TestUnsigned(t *testing.T) {
	m := small(t)
	h, f, p, i := parts(t, m)
	i.Checkpoint = nil
	s, err := NewStream(bytes.NewReader(rebuilt(h, f, p, i)))
	if err != nil {
		t.Fatal(err)
	}
	report, err := s.Verify(t.Context(), public(1), nil)
	if err != nil || !report.OK || report.Signed || report.Checkpoint != (tree.Checkpoint{}) {
		t.Errorf("%+v, %v", report, err)
	}
	report, err = mustOpen(t, m.bytes).Verify(t.Context(), nil, nil)
	if err != nil || !report.OK || report.Signed || report.Checkpoint.Events != m.info.End.Event {
		t.Errorf("without a key: %+v, %v", report, err)
	}
}

// What a page in a frame is not, is found when that page is read, without
// reading all.
func TestReadFindsDamage(t *testing.T) {
	m := small(t)
	r := mustOpen(t, m.bytes)
	at := r.frames[1].offset + frameHeader + 9
	b := bytes.Clone(m.bytes)
	b[at] ^= 0x10
	r = mustOpen(t, b)
	pages, err := r.Read(t.Context(), m.info.Before.Event+1)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = pages.Next(t.Context())
	}
	d, ok := errors.AsType[*DamageError](err)
	if !ok || d.Event != r.frames[1].start.Event+1 || d.File != "test.bga" || d.Offset != r.frames[1].offset || !strings.Contains(err.Error(), "test.bga") {
		t.Errorf("%v", err)
	}
	if jd, ok := errors.AsType[*journal.DamageError](err); !ok || jd.Event != d.Event || jd.Page != d.Page {
		t.Errorf("as damage of a journal: %v", jd)
	}
	if _, err := r.Load(t.Context(), r.frames[1].end.Pages, 99); !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("load: %v", err)
	}
	if _, err := r.Load(t.Context(), r.frames[2].end.Pages, 99); err != nil {
		t.Errorf("a frame that is well: %v", err)
	}
}

// An index that does not fit its frames, all sums made anew, is found where it
// matters.
func TestIndexThatDoesNotFit(t *testing.T) {
	m := small(t)
	first := m.info.Before.Event + 1
	h, f, p, i := parts(t, m)
	f[0].end.Hash[7]++
	pages, err := mustOpen(t, rebuilt(h, f, p, i)).Read(t.Context(), first)
	for err == nil {
		_, err = pages.Next(t.Context())
	}
	if d, ok := errors.AsType[*DamageError](err); !ok || d.Event != first+2 && d.Event != first {
		t.Errorf("a frame that ends with another hash: %v", err)
	}

	_, f, _, _ = parts(t, m)
	f[1].offset++
	if _, err := parseIndex(encodeIndex(f), f[0].offset, m.info.Before); !errors.Is(err, errIndex) {
		t.Errorf("another offset: %v", err)
	}

	b := bytes.Clone(m.bytes)
	frame := b[f[0].offset:][:f[0].length()]
	frame[12]++ // how many pages
	copy(frame, summed(frame[:len(frame)-32:len(frame)-32]))
	if _, err := mustOpen(t, b).Load(t.Context(), f[0].start.Pages+1, 99); !errors.Is(err, journal.ErrDamaged) || !strings.Contains(err.Error(), "index") {
		t.Errorf("a frame with another beginning: %v", err)
	}
}

// A checkpoint of the right end with another root is not that of the pages, even
// if the key has signed it.
func TestSignedOtherRoot(t *testing.T) {
	m := small(t)
	h, f, p, i := parts(t, m)
	c := tree.Checkpoint{Origin: origin(identity), Pages: i.End.Pages, Root: tree.NewBuilder().Root(), Events: i.End.Event, Chain: i.End.Hash}
	var err error
	if i.Checkpoint, err = c.Sign(key(1)); err != nil {
		t.Fatal(err)
	}
	if err := verify(t, rebuilt(h, f, p, i)); !errors.Is(err, ErrSeal) {
		t.Error(err)
	}
}

// A frame that promises little and becomes much is refused before it does.
func TestBombs(t *testing.T) {
	huge, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := huge.EncodeAll(make([]byte, 64<<20), nil)
	var streamed bytes.Buffer
	w, err := zstd.NewWriter(&streamed)
	if err != nil {
		t.Fatal(err)
	}
	for range 64 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, packed := range map[string][]byte{"size told": bomb, "size not told": streamed.Bytes(), "many frames": bytes.Repeat(huge.EncodeAll(make([]byte, 1<<20), nil), 50)} {
		f := frame{size: uint32(len(packed)), raw: MaxFrame, pages: 1}
		allocated := testing.AllocsPerRun(1, func() {
			if _, err := f.unpack(packed); err == nil {
				t.Errorf("%s: %d bytes became pages", name, len(packed))
			}
		})
		if allocated > 1000 {
			t.Errorf("%s: %v allocations", name, allocated)
		}
	}
}

// An index that promises more than there is reserves nothing.
func TestIndexPromises(t *testing.T) {
	m := small(t)
	h, f, p, i := parts(t, m)
	b := rebuilt(h, f, p, i)
	at := mustOpen(t, b).frames[2].offset // somewhere before the index
	for ; b[at] != tagIndex || binary.BigEndian.Uint32(b[at+1:]) != uint32(len(f)); at++ {
	}
	binary.BigEndian.PutUint32(b[at+1:], MaxFrames)
	if err := verify(t, b); !errors.Is(err, journal.ErrDamaged) {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	m := small(t)
	dir := t.TempDir()
	later := bytes.Clone(m.bytes)
	later[7] = 2
	for name, c := range map[string]struct {
		bytes []byte
		want  error
	}{
		"empty":         {nil, ErrForeign},
		"short":         {[]byte("BGA"), ErrForeign},
		"text":          {bytes.Repeat([]byte("not an archive "), 100), ErrForeign},
		"a later one":   {later, ErrVersion},
		"only a header": {m.bytes[:200], journal.ErrDamaged},
		"a cut one":     {m.bytes[:len(m.bytes)-1], journal.ErrDamaged},
		"a longer one":  {append(bytes.Clone(m.bytes), 0), journal.ErrDamaged},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, c.bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(file)
		if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), file) {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := os.ReadFile(file); err != nil || !bytes.Equal(b, c.bytes) {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
	if _, err := Open(dir); !errors.Is(err, ErrForeign) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}

// What the network or the disk says is what the caller gets, and not damage.
func TestErrorsOfTheReaderPass(t *testing.T) {
	m := small(t)
	broken := errors.New("line broken")
	for n := range m.bytes {
		s, err := NewStream(io.MultiReader(bytes.NewReader(m.bytes[:n]), iotest.ErrReader(broken)))
		if err == nil {
			_, err = s.Verify(t.Context(), public(1), nil)
		}
		if !errors.Is(err, broken) || errors.Is(err, journal.ErrDamaged) {
			t.Fatalf("behind %d bytes: %v", n, err)
		}
	}
}
