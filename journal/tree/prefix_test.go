package tree

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/bugle-fleet/bugle/journal"
)

// grow adds pages, from 0, to a builder.
func grow(t testing.TB, b *Builder, h *history, from, to int) {
	t.Helper()
	for _, s := range h.pages[from:to] {
		if err := b.Add(s.Page()); err != nil {
			t.Fatal(err)
		}
	}
}

// heads are all heads of a history, that of nothing first.
func heads(h *history) []journal.Head {
	all := []journal.Head{{}}
	for _, s := range h.pages {
		all = append(all, s.Head)
	}
	return all
}

// A tree that was stopped anywhere, kept as peaks and head, and gone on with is
// the same tree.
func TestBuilderGoesOn(t *testing.T) {
	h := newHistory(drafts(37)...)
	want := NewBuilder()
	grow(t, want, h, 0, 37)
	if want.Root() != expectedRoot(h) || want.Head() != h.Head() {
		t.Fatal("another root than that of RFC 6962")
	}
	for cut := range 38 {
		b := NewBuilder()
		grow(t, b, h, 0, cut)
		again, err := RestoreBuilder(b.Peaks(), b.Head())
		if err != nil {
			t.Fatal(err)
		}
		grow(t, b, h, cut, 37) // goes on by itself: the other one has its own
		grow(t, again, h, cut, 37)
		if again.Root() != want.Root() || again.Head() != want.Head() || b.Root() != want.Root() {
			t.Errorf("cut behind page %d: another tree", cut)
		}
	}
}

func TestBuilderRefuses(t *testing.T) {
	h := newHistory(drafts(5)...)
	b := NewBuilder()
	grow(t, b, h, 0, 3)
	root := b.Root()
	for _, i := range []int{0, 2, 4} {
		if err := b.Add(h.pages[i].Page()); !errors.Is(err, journal.ErrDamaged) {
			t.Errorf("page %d behind page 3: %v", i+1, err)
		}
	}
	if b.Root() != root || b.Head() != h.pages[2].Head {
		t.Error("a page that was refused has changed the tree")
	}
	for n, head := range []journal.Head{{}, {Event: 1, Pages: 1}, {Event: 9, Pages: 4}, {Event: 1 << 62, Pages: 1 << 62}} {
		if _, err := RestoreBuilder(b.Peaks(), head); !errors.Is(err, ErrFormat) {
			t.Errorf("%d: two peaks over %d pages: %v", n, head.Pages, err)
		}
	}
}

// At every head of the journal the tree is the one that it was there, and its
// checkpoint one that was taken then.
func TestEveryPrefix(t *testing.T) {
	dir, h, last := built(t, 33)
	tr := open(t, dir, options(h))
	for n, head := range heads(h) {
		want := NewBuilder()
		grow(t, want, h, 0, n)
		got, err := tr.BuilderAt(t.Context(), head)
		if err != nil {
			t.Fatal(err)
		}
		root, err := tr.RootAt(t.Context(), head)
		if err != nil || got.Root() != want.Root() || root != want.Root() || got.Head() != head {
			t.Fatalf("%d pages: %v, %v", n, got.Head(), err)
		}
		grow(t, got, h, n, 33)
		if got.Root() != last.Root {
			t.Fatalf("%d pages: it does not grow into the whole tree", n)
		}
		text, c, err := tr.CheckpointAt(t.Context(), head)
		if n == 0 {
			if !errors.Is(err, ErrNotPrefix) {
				t.Errorf("a checkpoint of nothing: %v", err)
			}
			continue
		}
		again, opened := OpenCheckpoint(text, public(key(1)), origin)
		if err != nil || opened != nil || again != c || c.Head() != head || c.Root != root {
			t.Fatalf("%d pages: %+v, %v, %v", n, c, err, opened)
		}
	}
	if _, c := tr.Checkpoint(); c != last {
		t.Errorf("the last checkpoint has become %+v", c)
	}
}

// Checkpoints of any two prefixes are consistent, whichever way they were taken,
// and a proof for two is a proof for no others.
func TestConsistencyOfPrefixes(t *testing.T) {
	dir, h, _ := built(t, 21)
	tr := open(t, dir, options(h))
	var texts [][]byte
	var all []Checkpoint
	for _, head := range heads(h)[1:] {
		text, c, err := tr.CheckpointAt(t.Context(), head)
		if err != nil {
			t.Fatal(err)
		}
		texts, all = append(texts, text), append(all, c)
	}
	for o := range all {
		for n := range all {
			proof, err := tr.ConsistencyBetween(t.Context(), all[o], all[n])
			if o > n {
				if !errors.Is(err, ErrMismatch) {
					t.Errorf("from %d to %d pages: %v", o+1, n+1, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			older, newer, err := CheckConsistency(texts[o], texts[n], proof, public(key(1)), origin)
			if err != nil || older != all[o] || newer != all[n] {
				t.Fatalf("from %d to %d pages: %v", o+1, n+1, err)
			}
			if n > 0 {
				if _, _, err := CheckConsistency(texts[o], texts[n-1], proof, public(key(1)), origin); !errors.Is(err, ErrMismatch) {
					t.Fatalf("a proof to %d pages taken for %d: %v", n+1, n, err)
				}
			}
		}
		proof, newest, err := tr.ConsistencyProof(t.Context(), all[o])
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := CheckConsistency(texts[o], newest, proof, public(key(1)), origin); err != nil {
			t.Error(err)
		}
	}
}

func TestConsistencyBetweenRefuses(t *testing.T) {
	dir, h, c := built(t, 9)
	tr := open(t, dir, options(h))
	_, _, longer := built(t, 12)
	forged := drafts(7)
	forged[2].bodies[0] = body("forged")
	other := newHistory(forged...)
	otherTree := open(t, t.TempDir(), options(other))
	catchUp(t, otherTree)
	_, rewritten := otherTree.Checkpoint()
	elsewhere := c
	elsewhere.Origin = "elsewhere"
	for name, k := range map[string]struct {
		older, newer Checkpoint
		want         error
	}{
		"longer than the journal": {c, longer, ErrTampered},
		"of a rewritten one":      {c, rewritten, ErrTampered},
		"older is rewritten":      {rewritten, c, ErrTampered},
		"of another journal":      {elsewhere, c, ErrOrigin},
		"to another journal":      {c, elsewhere, ErrOrigin},
		"of nothing":              {Checkpoint{Origin: origin}, c, ErrFormat},
	} {
		if proof, err := tr.ConsistencyBetween(t.Context(), k.older, k.newer); !errors.Is(err, k.want) || proof != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tr.ConsistencyBetween(ctx, c, c); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestPrefixRefuses(t *testing.T) {
	dir, h, c := built(t, 9)
	h.add(drafts(12)[9:]...)
	tr := open(t, dir, options(h))
	good := h.pages[4].Head
	for name, k := range map[string]struct {
		head journal.Head
		want error
	}{
		"another hash":        {journal.Head{Event: good.Event, Pages: good.Pages, Hash: [32]byte{1}}, ErrNotPrefix},
		"within a page":       {journal.Head{Event: good.Event - 1, Pages: good.Pages, Hash: good.Hash}, ErrNotPrefix},
		"another page":        {journal.Head{Event: good.Event, Pages: good.Pages + 1, Hash: good.Hash}, ErrNotPrefix},
		"no page":             {journal.Head{Event: good.Event, Hash: good.Hash}, ErrNotPrefix},
		"no event":            {journal.Head{Pages: 1}, ErrNotPrefix},
		"a hash of nothing":   {journal.Head{Hash: [32]byte{1}}, ErrNotPrefix},
		"more pages than any": {journal.Head{Event: 1 << 62, Pages: 1 << 61}, ErrNotCovered},
		"pages out of bounds": {journal.Head{Event: c.Events, Pages: c.Pages + 1, Hash: c.Chain}, ErrNotPrefix},
		"not signed yet":      {h.Head(), ErrNotCovered},
	} {
		if _, err := tr.BuilderAt(t.Context(), k.head); !errors.Is(err, k.want) {
			t.Errorf("%s: %v", name, err)
		}
		if text, _, err := tr.CheckpointAt(t.Context(), k.head); !errors.Is(err, k.want) || text != nil {
			t.Errorf("checkpoint of %s: %v", name, err)
		}
	}
}

// Nothing is believed that the stored hashes say and the journal does not, nor
// what the journal says and was not signed.
func TestPrefixOfDamage(t *testing.T) {
	dir, h, c := built(t, 33)
	tr := open(t, dir, options(h))
	name := filepath.Join(dir, cacheFile)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for at := len(cacheMagic); at < len(good); at += 13 {
		bad := bytes.Clone(good)
		bad[at] ^= 4
		if err := os.WriteFile(name, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		for i, head := range heads(h) {
			if i == 0 || (i+at)%3 > 0 {
				continue
			}
			root, err := tr.RootAt(t.Context(), head)
			if err != nil {
				refused++
				if !errors.Is(err, ErrCache) && !errors.Is(err, ErrNotPrefix) {
					t.Fatalf("byte %d: %v", at, err)
				}
				continue
			}
			want := NewBuilder()
			grow(t, want, h, 0, int(head.Pages))
			if root != want.Root() {
				t.Fatalf("byte %d: a root that the journal does not have", at)
			}
		}
	}
	if refused == 0 {
		t.Error("no damage was met")
	}
	if err := os.WriteFile(name, good, 0o600); err != nil {
		t.Fatal(err)
	}
	forged := drafts(33)
	forged[3].bodies[0] = body("forged")
	other := newHistory(forged...)
	h.mu.Lock()
	h.pages = other.pages
	h.mu.Unlock()
	_, _, err = tr.CheckpointAt(t.Context(), other.pages[9].Head)
	tamper, ok := errors.AsType[*TamperError](err)
	if !ok || tamper.Page != 4 || tamper.Signed != c {
		t.Errorf("of a rewritten journal: %v", err)
	}
}

// onePage is a journal that can read one page.
type onePage struct {
	*history
	asked int
}

func (o *onePage) Page(_ context.Context, event uint64) (*journal.Page, error) {
	o.asked++
	for _, s := range o.pages {
		if s.Head.Event >= event {
			return s.Page(), nil
		}
	}
	return nil, journal.ErrAhead
}

func (o *onePage) Read(context.Context, uint64) (journal.Reader, error) {
	return nil, errors.New("read more than a page")
}

// A journal that can read one page is asked for no more.
func TestReadsOnePage(t *testing.T) {
	dir, h, c := built(t, 9)
	tr := open(t, dir, options(h))
	j := &onePage{history: h}
	tr.opts.Journal = j
	for number := uint64(1); number <= c.Events; number++ {
		proof, err := tr.Prove(t.Context(), number)
		if err != nil {
			t.Fatal(err)
		}
		if e, _, err := Check(proof, public(key(1)), origin); err != nil || e.Number != number {
			t.Fatal(e, err)
		}
	}
	if _, _, err := tr.CheckpointAt(t.Context(), h.pages[4].Head); err != nil {
		t.Error(err)
	}
	if j.asked != int(c.Events)+1 {
		t.Errorf("asked for %d pages", j.asked)
	}
}

func TestParseCheckpoint(t *testing.T) {
	dir, _, c := built(t, 3)
	text, err := os.ReadFile(filepath.Join(dir, checkpointFile))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseCheckpoint(text); err != nil || got != c {
		t.Errorf("%+v, %v", got, err)
	}
	later := bytes.Replace(text, []byte("\n\n"), []byte("\nmore\n\n"), 1)
	for name, k := range map[string]struct {
		text []byte
		want error
	}{
		"nothing":   {nil, ErrFormat},
		"no note":   {[]byte("hello\n"), ErrFormat},
		"huge":      {bytes.Repeat(text, 100), ErrFormat},
		"a later":   {later, ErrVersion},
		"misspelt":  {bytes.Replace(text, []byte("events "), []byte("events 0"), 1), ErrFormat},
		"two words": {bytes.Replace(text, []byte("bugle.P01"), []byte("bugle P01"), 1), ErrFormat},
	} {
		if _, err := ParseCheckpoint(k.text); !errors.Is(err, k.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
