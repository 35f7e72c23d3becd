package box

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// MaxFile is the size of the largest file in bytes.
const MaxFile = 16 << 20

// A File is what a file of the box says; FORMAT.md describes the bytes.
type File struct {
	Name     Name
	Site     string    // the site that the listener belongs to, 1 to 16 bytes
	From, To time.Time // the time that the contents are about, by the listener's clock
	Contents Contents
	Bad      []BadRecord // records that are not in Contents; empty in a file that is written
	Digest   [32]byte    // SHA-256 of the whole file
}

// What can be wrong with a file as a whole. Every error of [Decode] wraps one of
// them.
var (
	ErrTooLarge  = errors.New("file is too large")
	ErrMalformed = errors.New("file is malformed")
	ErrVersion   = errors.New("file is of a later version")
	ErrChecksum  = errors.New("file is damaged")
	ErrListener  = errors.New("listener is not known")
	ErrSignature = errors.New("signature is not the listener's")
)

const (
	magic       = "BGBX"
	fileVersion = 2 // what is written; 1 is read too
	maxSite     = 16

	headerSize  = 4 + 2 + 1 + 1 + maxSite + MaxListener + 4 + 8 + 8 + 8 + 4 + 4
	trailerSize = 4 + ed25519.SignatureSize

	// What is signed is this and a digest. In version 1 it was the file, which
	// begins with magic: no signature is good in both.
	fileContext = "bugle box file 2\x00"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Append appends the file's bytes, in version 2, to dst, signed with key, and sets
// Digest. It refuses what [Decode] would refuse as a whole.
func (f *File) Append(dst []byte, key ed25519.PrivateKey) ([]byte, error) {
	if err := f.check(); err != nil {
		return dst, err
	}
	payload, err := encodePayload(f.Contents)
	if err != nil {
		return dst, fmt.Errorf("encode %s: %w", f.Name, err)
	}
	size := headerSize + len(payload) + trailerSize
	if size > MaxFile {
		return dst, fmt.Errorf("encode %s: %w: %d bytes, at most %d are taken", f.Name, ErrTooLarge, size, MaxFile)
	}
	start := len(dst)
	dst = f.appendHeader(dst, len(payload))
	dst = append(dst, payload...)
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	return f.sign(dst, start, key), nil
}

// sign appends the signature over what dst has from start on, and sets Digest.
// Ed25519 goes over what it signs twice, so it gets a digest; one pass makes that
// and Digest.
func (f *File) sign(dst []byte, start int, key ed25519.PrivateKey) []byte {
	h := sha256.New()
	h.Write(dst[start:])
	end := len(dst)
	dst = h.Sum(append(dst, fileContext...)) // for now, where the signature comes
	dst = append(dst[:end], ed25519.Sign(key, dst[end:])...)
	h.Write(dst[end:])
	h.Sum(f.Digest[:0])
	return dst
}

func (f *File) check() error {
	if err := f.Name.Check(); err != nil {
		return fmt.Errorf("encode file: %w", err)
	}
	switch {
	case f.Site == "" || len(f.Site) > maxSite:
		return fmt.Errorf("encode %s: site %q, must be 1 to %d bytes", f.Name, f.Site, maxSite)
	case f.Contents == nil || f.Contents.Kind() != f.Name.Kind:
		return fmt.Errorf("encode %s: contents are of another kind", f.Name)
	}
	return checkCount(f.Name.Kind, f.Contents.Len())
}

// ErrEmpty is wrapped by the error for contents without a record; only presence
// may have none.
var ErrEmpty = errors.New("file without a record")

// ErrTooMany is wrapped by the error for contents with more records than a file
// of their kind may have.
var ErrTooMany = errors.New("too many records")

func checkCount(k Kind, n int) error {
	if n == 0 && k != BOS {
		return fmt.Errorf("%w: %s", ErrEmpty, k)
	}
	if n > maxRecords(k) {
		return fmt.Errorf("%w: %d in a %s file, at most %d are taken", ErrTooMany, n, k, maxRecords(k))
	}
	return nil
}

func (f *File) appendHeader(b []byte, payload int) []byte {
	var site [maxSite]byte
	var listener [MaxListener]byte
	copy(site[:], f.Site)
	copy(listener[:], f.Name.Listener)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint16(b, fileVersion)
	b = append(b, byte(f.Name.Kind), 0)
	b = append(b, site[:]...)
	b = append(b, listener[:]...)
	b = binary.BigEndian.AppendUint32(b, f.Name.Epoch)
	b = binary.BigEndian.AppendUint64(b, f.Name.Number)
	b = binary.BigEndian.AppendUint64(b, uint64(nanos(f.From)))
	b = binary.BigEndian.AppendUint64(b, uint64(nanos(f.To)))
	b = binary.BigEndian.AppendUint32(b, uint32(f.Contents.Len()))
	return binary.BigEndian.AppendUint32(b, uint32(payload))
}

// Decode reads a file of either version and checks all of it: size, magic,
// version, lengths, checksum, signature, and then every record. key returns the
// key that a listener signs with in an epoch. Single bad records are in
// [File.Bad]; the error is about the file as a whole. The file keeps nothing of b.
//
// Whether Name is the name under which the file was found, and Site the site
// that reads it, is the caller's to check.
func Decode(b []byte, key func(listener string, epoch uint32) (ed25519.PublicKey, bool)) (*File, error) {
	f, count, err := decodeHeader(b)
	if err != nil {
		return nil, fmt.Errorf("decode file: %w", err)
	}
	signed := len(b) - ed25519.SignatureSize
	if sum := crc32.Checksum(b[:signed-4], castagnoli); sum != binary.BigEndian.Uint32(b[signed-4:]) {
		return nil, fmt.Errorf("decode file: %w: its checksum does not match", ErrChecksum)
	}
	if err := f.Name.Check(); err != nil {
		return nil, fmt.Errorf("decode file: %w: %w", ErrMalformed, err)
	}
	public, ok := key(f.Name.Listener, f.Name.Epoch)
	if !ok || len(public) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("decode file: %w: %s in epoch %d", ErrListener, f.Name.Listener, f.Name.Epoch)
	}
	if !f.verify(b[:signed], b[signed:], public) {
		return nil, fmt.Errorf("decode file: %w %s", ErrSignature, f.Name.Listener)
	}
	if err := checkCount(f.Name.Kind, count); err != nil {
		return nil, fmt.Errorf("decode file: %w: %w", ErrMalformed, err)
	}
	if f.Contents, f.Bad, err = decodePayload(f.Name.Kind, b[headerSize:signed-4], count); err != nil {
		return nil, fmt.Errorf("decode file: %w", err)
	}
	return f, nil
}

// verify tells whether the signature behind body is the key's, made as the
// version in body has it, and sets Digest.
func (f *File) verify(body, signature []byte, public ed25519.PublicKey) bool {
	h := sha256.New()
	h.Write(body)
	signed := body
	if version(body) > 1 {
		signed = h.Sum(append(make([]byte, 0, len(fileContext)+sha256.Size), fileContext...))
	}
	h.Write(signature)
	h.Sum(f.Digest[:0])
	return ed25519.Verify(public, signed, signature)
}

func version(b []byte) uint16 { return binary.BigEndian.Uint16(b[len(magic):]) }

func decodeHeader(b []byte) (f *File, count int, err error) {
	switch {
	case len(b) > MaxFile:
		return nil, 0, fmt.Errorf("%w: %d bytes, at most %d are taken", ErrTooLarge, len(b), MaxFile)
	case len(b) == 0:
		return nil, 0, fmt.Errorf("%w: it is empty", ErrMalformed)
	case len(b) < 6 || string(b[:4]) != magic:
		return nil, 0, fmt.Errorf("%w: it does not begin like a box file", ErrMalformed)
	}
	if v := version(b); v < 1 || v > fileVersion {
		return nil, 0, fmt.Errorf("%w: %d, this bugle reads 1 to %d", ErrVersion, v, fileVersion)
	}
	if len(b) < headerSize+trailerSize {
		return nil, 0, fmt.Errorf("%w: cut short at %d bytes", ErrMalformed, len(b))
	}
	n := uint64(binary.BigEndian.Uint32(b[headerSize-4:]))
	if want := headerSize + n + trailerSize; uint64(len(b)) != want {
		return nil, 0, fmt.Errorf("%w: %d bytes, its header says %d", ErrMalformed, len(b), want)
	}
	f = new(File)
	var ok1, ok2 bool
	f.Name.Kind = Kind(b[6])
	f.Site, ok1 = padded(b[8:24])
	f.Name.Listener, ok2 = padded(b[24:40])
	f.Name.Epoch = binary.BigEndian.Uint32(b[40:])
	f.Name.Number = binary.BigEndian.Uint64(b[44:])
	f.From = instant(int64(binary.BigEndian.Uint64(b[52:])))
	f.To = instant(int64(binary.BigEndian.Uint64(b[60:])))
	if !ok1 || !ok2 || b[7] != 0 || f.Site == "" {
		return nil, 0, fmt.Errorf("%w: header without a site, or not filled up with zeros", ErrMalformed)
	}
	return f, int(binary.BigEndian.Uint32(b[68:])), nil
}

// padded returns the text in a field that is filled up with zeros.
func padded(b []byte) (string, bool) {
	n := len(b)
	for n > 0 && b[n-1] == 0 {
		n--
	}
	for _, c := range b[:n] {
		if c == 0 {
			return "", false
		}
	}
	return string(b[:n]), true
}
