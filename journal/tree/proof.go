package tree

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

const (
	proofName       = "bugle journal proof v"
	consistencyName = "bugle journal consistency v"
	proofVersion    = "1"
	maxPath         = 64 // hashes of a path
)

// A proof says that an event is in a page, and the page in a tree.
type proof struct {
	number   uint64
	accepted int64
	body     []byte
	inner    []tlog.Hash // path from the event to leaf.root
	page     uint64      // from 1
	leaf     pageLeaf
	outer    []tlog.Hash // path from the page to the root that the checkpoint signs
	signed   []byte      // the checkpoint
}

func (p *proof) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%s\nevent %d\naccepted %d\nbody %s\n", proofName, proofVersion, p.number, p.accepted, base64.StdEncoding.EncodeToString(p.body))
	writeHashes(&b, "inner", p.inner)
	fmt.Fprintf(&b, "page %d\nfirst %d\ncount %d\nroot %s\nchain %x\n", p.page, p.leaf.first, p.leaf.count, p.leaf.root, p.leaf.chain)
	writeHashes(&b, "outer", p.outer)
	b.WriteByte('\n')
	b.Write(p.signed)
	return b.Bytes()
}

func writeHashes(b *bytes.Buffer, name string, hashes []tlog.Hash) {
	for _, h := range hashes {
		fmt.Fprintf(b, "%s %s\n", name, h)
	}
}

// parseProof reads what encode wrote, in that spelling only.
func parseProof(b []byte) (*proof, error) {
	l, signed, err := readLines(b, proofName)
	if err != nil {
		return nil, err
	}
	p := &proof{signed: signed}
	p.number = l.number("event", math.MaxInt64)
	p.accepted = int64(l.number("accepted", math.MaxInt64))
	p.body = l.bytes("body", event.MaxEncoded)
	p.inner = l.hashes("inner")
	p.page = l.number("page", maxPages)
	p.leaf.first = l.number("first", math.MaxInt64)
	p.leaf.count = uint32(l.number("count", journal.MaxPageEvents))
	p.leaf.root = l.hash("root")
	p.leaf.chain = l.hex("chain")
	p.outer = l.hashes("outer")
	if l.failed || len(l.rest) > 0 || !bytes.Equal(p.encode(), b) {
		return nil, fmt.Errorf("%w: not spelled as a proof is", ErrFormat)
	}
	return p, nil
}

// Check reads a proof that [Tree.Prove] made and checks that key signed a
// checkpoint of the journal origin that covers the event; with origin "" it may
// be any journal that key signs for. It needs nothing but what it is given.
//
// The error wraps [ErrFormat] or [ErrVersion] for what is no proof of this
// version, [ErrMismatch] if the hashes do not lead to what was signed, else it is
// that of [OpenCheckpoint].
func Check(b []byte, key ed25519.PublicKey, origin string) (*event.Event, Checkpoint, error) {
	e, c, err := check(b, key, origin)
	if err != nil {
		return nil, Checkpoint{}, fmt.Errorf("check proof: %w", err)
	}
	return e, c, nil
}

func check(b []byte, key ed25519.PublicKey, origin string) (*event.Event, Checkpoint, error) {
	p, err := parseProof(b)
	if err != nil {
		return nil, Checkpoint{}, err
	}
	c, err := openCheckpoint(p.signed, key, origin)
	if err != nil {
		return nil, c, err
	}
	if err := p.holds(c); err != nil {
		return nil, c, err
	}
	e, err := event.Decode(p.body)
	if err != nil {
		return nil, c, fmt.Errorf("%w: the event is in the journal but cannot be read: %w", ErrFormat, err)
	}
	e.Number, e.Accepted = p.number, time.Unix(0, p.accepted).UTC()
	return e, c, nil
}

// holds tells whether the hashes lead from the event to what was signed.
func (p *proof) holds(c Checkpoint) error {
	leaf, _ := eventLeaf(nil, p.number, p.accepted, p.body)
	if p.page == 0 || p.number < p.leaf.first || p.number-p.leaf.first >= uint64(p.leaf.count) || p.number > c.Events {
		return fmt.Errorf("%w: event %d is not in page %d", ErrMismatch, p.number, p.page)
	}
	if tlog.CheckRecord(p.inner, int64(p.leaf.count), p.leaf.root, int64(p.number-p.leaf.first), leaf) != nil {
		return fmt.Errorf("%w: event %d is not this one in page %d", ErrMismatch, p.number, p.page)
	}
	if tlog.CheckRecord(p.outer, int64(c.Pages), c.Root, int64(p.page-1), p.leaf.hash()) != nil {
		return fmt.Errorf("%w: page %d is not this one in the journal", ErrMismatch, p.page)
	}
	return nil
}

// A lines reads lines of the form NAME VALUE, one after the other. After the
// first that is not as it should be it returns nothing.
type lines struct {
	rest   []string
	failed bool
}

// readLines checks the first line and splits off what stands behind the first
// empty line.
func readLines(b []byte, name string) (l *lines, behind []byte, err error) {
	if len(b) > MaxProof {
		return nil, nil, fmt.Errorf("%w: %d bytes", ErrFormat, len(b))
	}
	text, ok := bytes.CutPrefix(b, []byte(name))
	version, text, found := bytes.Cut(text, []byte("\n"))
	n, err := strconv.ParseUint(string(version), 10, 32)
	if !ok || !found || err != nil {
		return nil, nil, fmt.Errorf("%w: it does not begin with %q", ErrFormat, name+proofVersion)
	}
	if n > 1 {
		return nil, nil, fmt.Errorf("%w: version %d, up to %s is known", ErrVersion, n, proofVersion)
	}
	head, behind, _ := bytes.Cut(text, []byte("\n\n"))
	l = &lines{rest: strings.SplitN(string(head), "\n", 2*maxPath+16)}
	if len(head) == 0 {
		l.rest = nil
	}
	return l, behind, nil
}

func (l *lines) value(name string) string {
	if len(l.rest) > 0 && !l.failed {
		if v, ok := strings.CutPrefix(l.rest[0], name+" "); ok {
			l.rest = l.rest[1:]
			return v
		}
	}
	l.failed = true
	return ""
}

func (l *lines) number(name string, most uint64) uint64 {
	n, err := strconv.ParseUint(l.value(name), 10, 64)
	if err != nil || n > most {
		l.failed = true
		return 0
	}
	return n
}

func (l *lines) bytes(name string, most int) []byte {
	v := l.value(name)
	if base64.StdEncoding.DecodedLen(len(v)) > most+2 {
		l.failed = true
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(v)
	l.failed = l.failed || err != nil || len(b) > most
	return b
}

func (l *lines) hash(name string) tlog.Hash {
	h, err := tlog.ParseHash(l.value(name))
	l.failed = l.failed || err != nil
	return h
}

func (l *lines) hex(name string) (h [32]byte) {
	b, err := hex.DecodeString(l.value(name))
	if l.failed = l.failed || err != nil || len(b) != len(h); !l.failed {
		h = [32]byte(b)
	}
	return h
}

func (l *lines) hashes(name string) []tlog.Hash {
	var hashes []tlog.Hash
	for len(l.rest) > 0 && !l.failed && strings.HasPrefix(l.rest[0], name+" ") {
		if len(hashes) == maxPath {
			l.failed = true
			break
		}
		hashes = append(hashes, l.hash(name))
	}
	return hashes
}
