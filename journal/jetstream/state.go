package jetstream

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/block"
	"github.com/bugle-fleet/bugle/journal/commit"
	"github.com/bugle-fleet/bugle/journal/durable"
)

// A state is what is kept for the next start: what the engine knows, and what
// the files were like. FORMAT.md has its bytes. It is a cache.
type state struct {
	history [16]byte
	clean   bool // nothing was appended after it was written
	saved   commit.Saved
	kept    []keptGeneration // all of them
}

// A keptGeneration is what a generation was like.
type keptGeneration struct {
	end     journal.Head // zero: it was open
	digest  [32]byte     // of its archive; zero: there was none
	removed bool         // the live store did not hold it; then it has no more
	before  int64        // when the last event before it was accepted
	index   [32]byte     // SHA-256 of JetStream's summary; zero: there was none
	files   []keptFile
}

// A keptFile is what a file of pages was like.
type keptFile struct {
	number  uint32
	size    int64
	modTime int64 // Unix nanoseconds
	inode   uint64
	wrote   int64          // when its last page was written, by the clock of the machine
	after   block.Position // behind its last page
}

// same tells whether the file is as it was.
func (k *keptFile) same(f block.File) bool {
	return k.number == f.Number && k.size == f.Size && k.modTime == f.ModTime.UnixNano() && k.inode == f.Inode
}

const (
	stateMagic = "BGS1"
	maxState   = 1 << 30 // bytes
	maxFold    = 256 << 20

	sealedBySum = 0 // how the file ends: with a SHA-256,
	sealedByKey = 1 // or with an Ed25519 signature of one

	stateDomain = "bugle journal state v1\n" // what is signed begins with it
)

// errState is why a state is not used.
var errState = errors.New("file state is not used")

// seal returns the bytes of the file.
func (s *state) seal(key ed25519.PrivateKey) ([]byte, error) {
	b := s.encode()
	if len(b) > maxState {
		return nil, fmt.Errorf("%d bytes are more than the %d that are kept", len(b), maxState)
	}
	if key == nil {
		b = append(b, sealedBySum)
		sum := sha256.Sum256(b)
		return append(b, sum[:]...), nil
	}
	b = append(b, sealedByKey)
	return append(b, ed25519.Sign(key, signedState(b))...), nil
}

func signedState(b []byte) []byte {
	sum := sha256.Sum256(b)
	return append([]byte(stateDomain), sum[:]...)
}

// openState reads the bytes of a file. With a key only its signature will do;
// without one, only a checksum. The error wraps errState.
func openState(b []byte, key ed25519.PrivateKey) (*state, error) {
	tail, seal := sha256.Size, byte(sealedBySum)
	if key != nil {
		tail, seal = ed25519.SignatureSize, sealedByKey
	}
	if len(b) < len(stateMagic)+1+tail || string(b[:len(stateMagic)]) != stateMagic {
		return nil, fmt.Errorf("%w: it is of another version, or none", errState)
	}
	body, proof := b[:len(b)-tail], b[len(b)-tail:]
	if body[len(body)-1] != seal {
		return nil, fmt.Errorf("%w: it does not end as it must", errState)
	}
	if key == nil {
		if sum := sha256.Sum256(body); !bytes.Equal(sum[:], proof) {
			return nil, fmt.Errorf("%w: it is damaged", errState)
		}
	} else if !ed25519.Verify(key.Public().(ed25519.PublicKey), signedState(body), proof) {
		return nil, fmt.Errorf("%w: the key of this journal has not signed it", errState)
	}
	s, err := decodeState(body[:len(body)-1])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errState, err)
	}
	return s, nil
}

// readState returns the state in a journal's folder. The error wraps errState or
// os.ErrNotExist.
func readState(dir string, key ed25519.PrivateKey) (*state, error) {
	f, err := os.Open(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errState, err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxState+ed25519.SignatureSize+1 {
		return nil, fmt.Errorf("%w: it has %d bytes", errState, info.Size())
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("%w: %w", errState, err)
	}
	return openState(b, key)
}

// writeState makes s the state in a journal's folder, durably.
func writeState(dir string, s *state, key ed25519.PrivateKey) error {
	b, err := s.seal(key)
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return durable.Replace(filepath.Join(dir, stateFile), b)
}

func (s *state) encode() []byte {
	b := make([]byte, 0, 4096+len(s.saved.Index))
	b = append(b, stateMagic...)
	b = append(b, s.history[:]...)
	b = appendBool(b, s.clean)
	b = appendHead(b, s.saved.Head)
	b = binary.AppendUvarint(b, uint64(s.saved.Accepted))
	b = appendBytes(b, s.saved.Index)
	b = binary.AppendUvarint(b, uint64(len(s.saved.Folds)))
	for _, name := range slices.Sorted(maps.Keys(s.saved.Folds)) {
		b = appendBytes(appendBytes(b, []byte(name)), s.saved.Folds[name])
	}
	b = binary.AppendUvarint(b, uint64(len(s.kept)))
	for i := range s.kept {
		b = s.kept[i].append(b)
	}
	return b
}

func (g *keptGeneration) append(b []byte) []byte {
	b = appendHead(b, g.end)
	b = append(b, g.digest[:]...)
	if b = appendBool(b, g.removed); g.removed {
		return b
	}
	b = binary.AppendUvarint(b, uint64(g.before))
	b = append(b, g.index[:]...)
	b = binary.AppendUvarint(b, uint64(len(g.files)))
	for _, f := range g.files {
		b = binary.AppendUvarint(b, uint64(f.number))
		b = binary.AppendUvarint(b, uint64(f.size))
		b = binary.BigEndian.AppendUint64(b, uint64(f.modTime))
		b = binary.AppendUvarint(b, f.inode)
		b = binary.BigEndian.AppendUint64(b, uint64(f.wrote))
		b = appendHead(b, f.after.Head)
		b = binary.AppendUvarint(b, uint64(f.after.Accepted))
	}
	return b
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendHead(b []byte, h journal.Head) []byte {
	b = binary.AppendUvarint(b, h.Event)
	b = binary.AppendUvarint(b, h.Pages)
	return append(b, h.Hash[:]...)
}

func appendBytes(b, v []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(v))), v...) }

// decodeState reads what encode wrote: nothing else is accepted.
func decodeState(b []byte) (*state, error) {
	r := stateReader{b: b[len(stateMagic):]}
	s := &state{}
	r.fixed(s.history[:])
	s.clean = r.bool()
	s.saved.Head, s.saved.Accepted = r.head(), r.time()
	s.saved.Index = r.bytes(maxState)
	s.saved.Folds = make(map[string][]byte)
	last := ""
	for i := range r.count(2) {
		name := string(r.bytes(1 << 10))
		if i > 0 && name <= last {
			r.fail("folds are not in order")
		}
		last = name
		s.saved.Folds[name] = r.bytes(maxFold)
	}
	for range r.count(67) {
		s.kept = append(s.kept, r.generation())
	}
	if len(r.b) > 0 {
		r.fail("bytes are left over")
	}
	return s, r.err
}

// A stateReader reads parts from the front of b. After an error it returns zeros.
type stateReader struct {
	b   []byte
	err error
}

func (r *stateReader) fail(reason string) {
	if r.err == nil {
		r.err = fmt.Errorf("it is malformed: %s", reason)
	}
	r.b = nil
}

func (r *stateReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.fail("a number")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *stateReader) bool() bool {
	v := r.uint()
	if v > 1 {
		r.fail("a truth")
	}
	return v == 1
}

func (r *stateReader) fixed(to []byte) {
	if len(r.b) < len(to) {
		r.fail("it is cut short")
		return
	}
	r.b = r.b[copy(to, r.b):]
}

func (r *stateReader) bytes(most int) []byte {
	n := r.uint()
	if n > uint64(len(r.b)) || n > uint64(most) {
		r.fail("it is cut short")
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// count reads how many things of at least size bytes follow.
func (r *stateReader) count(size int) int {
	n := r.uint()
	if n > uint64(len(r.b)/size) {
		r.fail("it is cut short")
		return 0
	}
	return int(n)
}

func (r *stateReader) head() (h journal.Head) {
	h.Event, h.Pages = r.uint(), r.uint()
	r.fixed(h.Hash[:])
	return h
}

func (r *stateReader) time() int64 {
	v := r.uint()
	if v > math.MaxInt64 {
		r.fail("a time")
		return 0
	}
	return int64(v)
}

func (r *stateReader) generation() (g keptGeneration) {
	g.end = r.head()
	r.fixed(g.digest[:])
	if g.removed = r.bool(); g.removed {
		return g
	}
	g.before = r.time()
	r.fixed(g.index[:])
	for range r.count(54) {
		g.files = append(g.files, r.file())
	}
	return g
}

func (r *stateReader) file() (f keptFile) {
	n := r.uint()
	if n > math.MaxUint32 {
		r.fail("a number of a file")
	}
	f.number, f.size = uint32(n), r.time()
	var at [8]byte
	r.fixed(at[:])
	f.modTime, f.inode = int64(binary.BigEndian.Uint64(at[:])), r.uint()
	r.fixed(at[:])
	f.wrote = int64(binary.BigEndian.Uint64(at[:]))
	f.after.Head, f.after.Accepted = r.head(), r.time()
	return f
}

// keptOf describes a file of pages that ends at after.
func keptOf(f block.File, wrote int64, after block.Position) keptFile {
	return keptFile{number: f.Number, size: f.Size, modTime: f.ModTime.UnixNano(), inode: f.Inode, wrote: wrote, after: after}
}
