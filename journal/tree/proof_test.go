package tree

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/mod/sumdb/note"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
)

// samples are a proof of an event, a checkpoint of before, and the proof that
// leads from it to the last one.
func samples(t testing.TB) (proof, older, consistency, newer []byte) {
	t.Helper()
	dir, h, _ := built(t, 5)
	older, err := os.ReadFile(filepath.Join(dir, checkpointFile))
	if err != nil {
		t.Fatal(err)
	}
	h.add(drafts(13)[5:]...)
	tr := open(t, dir, options(h))
	catchUp(t, tr)
	if proof, err = tr.Prove(t.Context(), 20); err != nil { // the second of page 8
		t.Fatal(err)
	}
	c, err := OpenCheckpoint(older, public(key(1)), origin)
	if err != nil {
		t.Fatal(err)
	}
	if consistency, newer, err = tr.ConsistencyProof(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return proof, older, consistency, newer
}

// typed are the errors of what is checked; each refusal is one of them.
var typed = []error{ErrFormat, ErrVersion, ErrOrigin, ErrKey, ErrSignature, ErrMismatch}

func isTyped(err error) bool {
	for _, want := range typed {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}

// Every byte is changed in several ways, dropped, doubled, and everything behind
// it cut off.
func TestEveryByteCounts(t *testing.T) {
	proof, older, consistency, newer := samples(t)
	texts := [][]byte{proof, older, consistency, newer}
	check := func(which int, all [][]byte) error {
		if which == 0 {
			_, _, err := Check(all[0], public(key(1)), origin)
			return err
		}
		_, _, err := CheckConsistency(all[1], all[3], all[2], public(key(1)), origin)
		return err
	}
	tried := 0
	for which, text := range texts {
		if err := check(which, texts); err != nil {
			t.Fatal(err)
		}
		try := func(what string, i int, changed []byte) {
			all := [][]byte{proof, older, consistency, newer}
			all[which] = changed
			tried++
			if err := check(which, all); !isTyped(err) {
				t.Fatalf("text %d, byte %d %s: %v\n%s", which, i, what, err, changed)
			}
		}
		for i := range text {
			changed := bytes.Clone(text)
			changed[i] ^= 0x01
			try("flipped", i, changed)
			if changed[i] = text[i] ^ 0x20; unicode.IsLetter(rune(text[i])) {
				try("in the other case", i, changed)
			}
			try("cut", i, text[:i:i])
			if i == 0 || text[i] != text[i-1] {
				try("dropped", i, append(text[:i:i], text[i+1:]...))
				try("doubled", i, append(text[:i+1:i+1], text[i:]...))
			}
		}
		for _, tail := range []string{"\n", "x", " \n", "\n\n", "hash AAAA\n", "\x00"} {
			try("appended to", len(text), append(text[:len(text):len(text)], tail...))
		}
	}
	t.Logf("%d changes refused", tried)
}

func TestWrongKeyOriginVersion(t *testing.T) {
	proof, older, consistency, newer := samples(t)
	replace := func(b []byte, old, new string) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
	for name, c := range map[string]struct {
		text   []byte
		key    byte
		origin string
		want   error
	}{
		"other key":             {proof, 2, origin, ErrKey},
		"other origin":          {proof, 1, "bugle.P02/1", ErrOrigin},
		"any origin":            {proof, 1, "", nil},
		"later version":         {replace(proof, "proof v1", "proof v2"), 1, origin, ErrVersion},
		"version nought":        {replace(proof, "proof v1", "proof v0"), 1, origin, ErrFormat},
		"empty":                 {nil, 1, origin, ErrFormat},
		"another text":          {[]byte("hello\n"), 1, origin, ErrFormat},
		"a checkpoint":          {newer, 1, origin, ErrFormat},
		"a consistency proof":   {consistency, 1, origin, ErrFormat},
		"huge":                  {bytes.Repeat(proof, 1000), 1, origin, ErrFormat},
		"another checkpoint":    {append(proof[:bytes.Index(proof, []byte("\n\n"))+2:len(proof)-len(newer)], older...), 1, origin, ErrMismatch},
		"another event's place": {replace(proof, "event 20", "event 19"), 1, origin, ErrMismatch},
		"another page":          {replace(proof, "page 8", "page 7"), 1, origin, ErrMismatch},
		"a page of none":        {replace(proof, "page 8", "page 0"), 1, origin, ErrMismatch},
		"beyond the tree":       {replace(proof, "page 8", "page 14"), 1, origin, ErrMismatch},
	} {
		_, _, err := Check(c.text, public(key(c.key)), c.origin)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, _, err := CheckConsistency(newer, older, consistency, public(key(1)), origin); !errors.Is(err, ErrMismatch) {
		t.Error(err)
	}
	if _, _, err := CheckConsistency(older, newer, replace(consistency, "v1", "v7"), public(key(1)), origin); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
	if _, _, err := Check(proof, ed25519.PublicKey("short"), origin); err == nil {
		t.Error("a key of five bytes was taken")
	}
}

// A site that signs two histories of the same size is found by comparing.
func TestTwoHistoriesAreNotConsistent(t *testing.T) {
	dir, _, _ := built(t, 5)
	other := drafts(5)
	other[4].accepted++
	dir2 := t.TempDir()
	catchUp(t, open(t, dir2, options(newHistory(other...))))
	a, err1 := os.ReadFile(filepath.Join(dir, checkpointFile))
	b, err2 := os.ReadFile(filepath.Join(dir2, checkpointFile))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	proof := (&consistency{older: 5, newer: 5}).encode()
	if _, _, err := CheckConsistency(a, a, proof, public(key(1)), origin); err != nil {
		t.Error(err)
	}
	if _, _, err := CheckConsistency(a, b, proof, public(key(1)), origin); !errors.Is(err, ErrMismatch) {
		t.Error(err)
	}
}

func TestCheckpointBounds(t *testing.T) {
	_, _, good := built(t, 5)
	signed := func(text string) []byte {
		v, err := verifier(origin, public(key(1)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := note.Sign(&note.Note{Text: text}, signer{v, key(1)})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	with := func(change func(*Checkpoint)) string {
		c := good
		change(&c)
		return c.body()
	}
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"as it is":         {good.body(), nil},
		"no pages":         {with(func(c *Checkpoint) { c.Pages, c.Events = 0, 0 }), ErrFormat},
		"too many pages":   {with(func(c *Checkpoint) { c.Pages, c.Events = 1<<62, 1<<62 }), ErrFormat},
		"fewer events":     {with(func(c *Checkpoint) { c.Events = 4 }), ErrFormat},
		"too many events":  {with(func(c *Checkpoint) { c.Events = 5*journal.MaxPageEvents + 1 }), ErrFormat},
		"one line more":    {good.body() + "witness 7\n", ErrVersion},
		"one line less":    {strings.TrimSuffix(good.body(), "time 2023-11-14T22:15:00Z\n"), ErrFormat},
		"leading zero":     {strings.Replace(good.body(), "\n5\n", "\n05\n", 1), ErrFormat},
		"capital letters":  {strings.Replace(good.body(), fmt.Sprintf("%x", good.Chain), fmt.Sprintf("%X", good.Chain), 1), ErrFormat},
		"time with offset": {strings.Replace(good.body(), "22:15:00Z", "22:15:00+00:00", 1), ErrFormat},
		"another note":     {origin + "\nif you think\ncryptography\nis\nthe\nanswer\n", ErrFormat},
	} {
		if got, err := OpenCheckpoint(signed(c.text), public(key(1)), origin); !errors.Is(err, c.want) || c.want == nil && got != good {
			t.Errorf("%s: %+v, %v, want %v", name, got, err, c.want)
		}
	}
	for _, name := range []string{"", "a b", "a+b", "a\tb", "\xff", strings.Repeat("x", MaxOrigin+1)} {
		if _, err := VerifierKey(name, public(key(1))); !errors.Is(err, ErrFormat) {
			t.Errorf("origin %q: %v", name, err)
		}
	}
}

// Witnesses add their signatures; the site's is still the one that counts.
func TestCosignedCheckpoint(t *testing.T) {
	dir, _, c := built(t, 5)
	text, err := os.ReadFile(filepath.Join(dir, checkpointFile))
	if err != nil {
		t.Fatal(err)
	}
	v, err := verifier("witness.example/w", public(key(9)))
	if err != nil {
		t.Fatal(err)
	}
	ours, _ := verifier(origin, public(key(1)))
	n, err := note.Open(text, note.VerifierList(ours))
	if err != nil {
		t.Fatal(err)
	}
	cosigned, err := note.Sign(n, signer{v, key(9)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenCheckpoint(cosigned, public(key(1)), origin); err != nil || got != c {
		t.Errorf("%+v: %v", got, err)
	}
	if _, err := OpenCheckpoint(cosigned, public(key(9)), origin); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
}

// The largest events and pages there are fit into a proof.
func TestLargestProof(t *testing.T) {
	big := bytes.Repeat([]byte{7}, event.MaxEncoded)
	d := draft{accepted: 1}
	for range journal.MaxPageEvents {
		d.bodies = append(d.bodies, body("small"))
	}
	h := newHistory(draft{1, [][]byte{big, big}}, d)
	tr := open(t, t.TempDir(), options(h))
	catchUp(t, tr)
	proof, err := tr.Prove(t.Context(), 1)
	if err != nil || len(proof) > MaxProof || len(proof) < base64.StdEncoding.EncodedLen(len(big)) {
		t.Fatal(len(proof), err)
	}
	// It holds, but no event looks like that.
	if _, _, err := Check(proof, public(key(1)), origin); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "cannot be read") {
		t.Error(err)
	}
	if proof, err = tr.Prove(t.Context(), 1002); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Check(proof, public(key(1)), origin); err != nil {
		t.Error(err)
	}
}

func FuzzCheck(f *testing.F) {
	proof, older, consistency, newer := samples(f)
	for _, b := range [][]byte{proof, older, consistency, newer, nil, []byte(proofName + "1\n"), []byte(proofName + "2\n")} {
		f.Add(b)
	}
	pub := public(key(1))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, _, err := Check(b, pub, origin); err == nil && !bytes.Equal(b, proof) {
			t.Fatalf("event %d is proved by\n%s", e.Number, b)
		} else if err != nil && !isTyped(err) {
			t.Fatal(err)
		}
		if _, _, err := CheckConsistency(older, newer, b, pub, origin); err == nil != bytes.Equal(b, consistency) {
			t.Fatalf("%v:\n%s", err, b)
		} else if err != nil && !isTyped(err) {
			t.Fatal(err)
		}
	})
}

// FuzzCheckpoint reads texts that are not signed, by themselves and as signed.
func FuzzCheckpoint(f *testing.F) {
	_, older, _, newer := samples(f)
	f.Add(older)
	f.Add(newer)
	body, _, _ := bytes.Cut(newer, []byte("\n\n"))
	f.Add(append(body, '\n'))
	f.Add([]byte(origin + "\n1\n"))
	pub := public(key(1))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, o := range []string{origin, ""} {
			c, err := OpenCheckpoint(b, pub, o)
			if err != nil && (!isTyped(err) || c != Checkpoint{}) {
				t.Fatal(c, err)
			}
			if err == nil && !bytes.HasPrefix(b, []byte(c.body())) {
				t.Fatalf("%+v is read from\n%s", c, b)
			}
		}
		if c, err := parseBody(string(b)); err == nil && c.body() != string(b) {
			t.Fatalf("%+v is read from\n%s", c, b)
		} else if err != nil && !isTyped(err) {
			t.Fatal(err)
		}
	})
}
