package tree

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
)

// Bounds of what is read, in bytes.
const (
	MaxCheckpoint = 8 << 10 // a checkpoint with the signatures of witnesses
	MaxProof      = 1 << 20 // a proof of either sort
	MaxOrigin     = 256     // the name of a journal
)

// maxPages is more than any journal has, and little enough to calculate with.
const maxPages = 1 << 48

// A Checkpoint is the state of a journal that was signed.
type Checkpoint struct {
	Origin string    // which journal
	Pages  uint64    // how many pages, at least 1
	Root   tlog.Hash // of the tree over them
	Events uint64    // number of the last event
	Chain  [32]byte  // hash of the last page
	Signed time.Time // by the site's clock, whole seconds, UTC
}

// Head is where the journal ended.
func (c Checkpoint) Head() journal.Head {
	return journal.Head{Event: c.Events, Pages: c.Pages, Hash: c.Chain}
}

// body is the text that is signed.
func (c Checkpoint) body() string {
	return fmt.Sprintf("%s\n%d\n%s\nevents %d\nchain %x\ntime %s\n",
		c.Origin, c.Pages, c.Root, c.Events, c.Chain, c.Signed.UTC().Format(time.RFC3339))
}

// differs tells what of the journal at c.Pages pages is not as it was signed;
// it is empty if all is.
func (c Checkpoint) differs(head journal.Head, root tlog.Hash) string {
	switch {
	case head.Pages < c.Pages:
		return "length"
	case head.Event != c.Events:
		return "events"
	case head.Hash != c.Chain:
		return "chain"
	case root != c.Root:
		return "root"
	}
	return ""
}

// Sign makes the text of a checkpoint. That what it says is true is for the
// caller to know; a [Tree] signs its own.
func (c Checkpoint) Sign(key ed25519.PrivateKey) ([]byte, error) {
	v, err := verifier(c.Origin, key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	return note.Sign(&note.Note{Text: c.body()}, signer{v, key})
}

// A signer signs notes with an Ed25519 key, as note.NewSigner does with one that
// is written in its own form.
type signer struct {
	note.Verifier
	key ed25519.PrivateKey
}

// Sign implements [note.Signer].
func (s signer) Sign(text []byte) ([]byte, error) { return ed25519.Sign(s.key, text), nil }

func verifier(origin string, key ed25519.PublicKey) (note.Verifier, error) {
	s, err := VerifierKey(origin, key)
	if err != nil {
		return nil, err
	}
	return note.NewVerifier(s)
}

// VerifierKey is the key of a journal's checkpoints as other programs that read
// signed notes want it: origin, key id, key.
func VerifierKey(origin string, key ed25519.PublicKey) (string, error) {
	if err := checkOrigin(origin); err != nil {
		return "", err
	}
	s, err := note.NewEd25519VerifierKey(origin, key)
	if err != nil {
		return "", fmt.Errorf("use key for checkpoints of %s: %w", origin, err)
	}
	return s, nil
}

func checkOrigin(s string) error {
	space := func(r rune) bool { return unicode.IsSpace(r) || r < ' ' }
	if s == "" || len(s) > MaxOrigin || !utf8.ValidString(s) || strings.Contains(s, "+") || strings.IndexFunc(s, space) >= 0 {
		return fmt.Errorf("origin %.40q: %w: 1 to %d bytes without spaces and + are taken", s, ErrFormat, MaxOrigin)
	}
	return nil
}

// OpenCheckpoint reads the text of a checkpoint, and checks that key signed it
// for the journal origin; with origin "" it may be any journal that key signs
// for. Signatures of others may be there too; they are not looked at. The error wraps
// [ErrFormat], [ErrVersion], [ErrOrigin], [ErrKey] or [ErrSignature].
func OpenCheckpoint(text []byte, key ed25519.PublicKey, origin string) (Checkpoint, error) {
	c, err := openCheckpoint(text, key, origin)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("open checkpoint: %w", err)
	}
	return c, nil
}

func openCheckpoint(text []byte, key ed25519.PublicKey, origin string) (c Checkpoint, err error) {
	if len(text) > MaxCheckpoint {
		return c, fmt.Errorf("%w: %d bytes", ErrFormat, len(text))
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	name := string(first)
	if err := checkOrigin(name); err != nil {
		return c, err
	}
	if origin != "" && origin != name {
		return c, fmt.Errorf("%w: it is of %s, not of %s", ErrOrigin, name, origin)
	}
	v, err := verifier(name, key)
	if err != nil {
		return c, err
	}
	n, err := note.Open(text, note.VerifierList(v))
	if unknown := (*note.UnverifiedNoteError)(nil); errors.As(err, &unknown) {
		return c, fmt.Errorf("%w: key id %08x", ErrKey, v.KeyHash())
	}
	if bad := (*note.InvalidSignatureError)(nil); errors.As(err, &bad) {
		return c, ErrSignature
	}
	if err != nil {
		return c, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	// A signature has one spelling, so that a text is either as it was or refused.
	if _, err := base64.StdEncoding.Strict().DecodeString(n.Sigs[0].Base64); err != nil {
		return c, ErrSignature
	}
	return parseBody(n.Text)
}

// ParseCheckpoint reads the text of a checkpoint without asking who signed it:
// nothing it says may be believed. The error wraps [ErrFormat] or [ErrVersion].
func ParseCheckpoint(text []byte) (Checkpoint, error) {
	c, err := parseCheckpoint(text)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: %w", err)
	}
	return c, nil
}

func parseCheckpoint(text []byte) (c Checkpoint, err error) {
	if len(text) > MaxCheckpoint {
		return c, fmt.Errorf("%w: %d bytes", ErrFormat, len(text))
	}
	_, err = note.Open(text, note.VerifierList())
	unknown := (*note.UnverifiedNoteError)(nil)
	if !errors.As(err, &unknown) {
		return c, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if c, err = parseBody(unknown.Note.Text); err != nil {
		return c, err
	}
	return c, checkOrigin(c.Origin)
}

// parseBody reads the text that was signed. It must be spelled as [Checkpoint]
// writes it.
func parseBody(text string) (c Checkpoint, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 7 {
		return c, fmt.Errorf("%w: %d lines", ErrFormat, len(lines)-1)
	}
	var errs [6]error
	c.Origin = lines[0]
	c.Pages, errs[0] = strconv.ParseUint(lines[1], 10, 63)
	c.Root, errs[1] = tlog.ParseHash(lines[2])
	c.Events, errs[2] = strconv.ParseUint(strings.TrimPrefix(lines[3], "events "), 10, 63)
	chain, err := hex.DecodeString(strings.TrimPrefix(lines[4], "chain "))
	errs[3] = err
	c.Signed, errs[4] = time.Parse(time.RFC3339, strings.TrimPrefix(lines[5], "time "))
	if err := errors.Join(errs[:]...); err != nil || len(chain) != len(c.Chain) {
		return Checkpoint{}, fmt.Errorf("%w: not a checkpoint of a journal", ErrFormat)
	}
	c.Chain = [32]byte(chain)
	c.Signed = c.Signed.UTC()
	if body := c.body(); body != text {
		if strings.HasPrefix(text, body) {
			return Checkpoint{}, fmt.Errorf("%w: it says more than is known: %.40q", ErrVersion, text[len(body):])
		}
		return Checkpoint{}, fmt.Errorf("%w: not spelled as a checkpoint is", ErrFormat)
	}
	if c.Pages == 0 || c.Pages > maxPages || c.Events < c.Pages || c.Events > c.Pages*journal.MaxPageEvents {
		return Checkpoint{}, fmt.Errorf("%w: %d events in %d pages", ErrFormat, c.Events, c.Pages)
	}
	return c, nil
}
