package archive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// told tells whether an error is one of those that are promised for bad bytes.
func told(err error) bool {
	for _, want := range []error{ErrForeign, ErrVersion, ErrHistory, ErrSeal, journal.ErrDamaged, tree.ErrFormat, tree.ErrVersion, tree.ErrKey, tree.ErrSignature} {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}

// FuzzStream: whatever comes is either read to its end, and then as a file too
// and written anew to the same pages, or refused with an error that says what it
// is.
func FuzzStream(f *testing.F) {
	m := small(f)
	f.Add(m.bytes)
	f.Add(m.bytes[:len(m.bytes)/2])
	f.Add(archived(f, 0, tree.NewBuilder()).bytes)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := NewStream(bytes.NewReader(b))
		n := uint64(0)
		for err == nil {
			if _, err = s.Next(context.Background()); err == nil {
				n++
			}
		}
		r, opening := opened(b)
		if err != io.EOF {
			if !told(err) {
				t.Fatal(err)
			}
			if opening == nil {
				if _, err := r.Verify(context.Background(), nil, nil); !told(err) {
					t.Fatalf("a stream is refused, and as a file: %v", err)
				}
			} else if !told(opening) {
				t.Fatal(opening)
			}
			return
		}
		i, ok := s.Info()
		if !ok || i.Pages() != n || opening != nil {
			t.Fatalf("%d pages, %+v, %v", n, i, opening)
		}
		if _, err := r.Verify(context.Background(), nil, nil); err != nil && !told(err) {
			t.Fatal(err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	m := small(f)
	f.Add(m.info.Header.encode())
	f.Add((&Header{History: identity}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerFixed {
			return
		}
		n, err := headerSize(b)
		if err != nil || n > len(b) {
			return
		}
		for _, c := range [][]byte{b[:n], summed(bytes.Clone(b[:n-32]))} { // as it is, and with a good sum
			h, err := parseHeader(c)
			if err == nil && !bytes.Equal(h.encode(), c) {
				t.Errorf("%x became %+v", c, h)
			}
		}
	})
}

func FuzzIndex(f *testing.F) {
	m := small(f)
	frames := mustOpen(f, m.bytes).frames
	first := frames[0].offset
	index := encodeIndex(frames)
	f.Add(index[:len(index)-32])
	f.Add(encodeIndex(nil)[:indexFixed])
	f.Fuzz(func(t *testing.T, b []byte) {
		b = summed(b)
		got, err := parseIndex(b, first, m.info.Before)
		if err != nil {
			if !errors.Is(err, errIndex) {
				t.Error(err)
			}
			return
		}
		if !bytes.Equal(encodeIndex(got), b) {
			t.Errorf("%x became %+v", b, got)
		}
	})
}
