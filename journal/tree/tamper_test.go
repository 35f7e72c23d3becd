package tree

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
)

// clone copies drafts down to the bytes.
func clone(all []draft) []draft {
	out := make([]draft, len(all))
	for i, d := range all {
		out[i].accepted = d.accepted
		for _, b := range d.bodies {
			out[i].bodies = append(out[i].bodies, bytes.Clone(b))
		}
	}
	return out
}

func remove[T any](s []T, i int) []T { return append(s[:i:i], s[i+1:]...) }

// mutations are what somebody may do to history who can write every file but
// has no key. Each gets its own copy, and recomputes nothing: the pages are
// chained anew afterwards.
var mutations = map[string]func(r *rand.Rand, d []draft) []draft{
	"flip a bit": func(r *rand.Rand, d []draft) []draft {
		p := &d[r.IntN(len(d))]
		b := p.bodies[r.IntN(len(p.bodies))]
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		return d
	},
	"cut an event short": func(r *rand.Rand, d []draft) []draft {
		p := &d[r.IntN(len(d))]
		i := r.IntN(len(p.bodies))
		p.bodies[i] = p.bodies[i][:r.IntN(len(p.bodies[i]))]
		return d
	},
	"forge an event": func(r *rand.Rand, d []draft) []draft {
		p := &d[r.IntN(len(d))]
		p.bodies[r.IntN(len(p.bodies))] = body("forged")
		return d
	},
	"drop an event": func(r *rand.Rand, d []draft) []draft {
		i := r.IntN(len(d))
		if d[i].bodies = remove(d[i].bodies, r.IntN(len(d[i].bodies))); len(d[i].bodies) == 0 {
			return remove(d, i)
		}
		return d
	},
	"repeat an event": func(r *rand.Rand, d []draft) []draft {
		p := &d[r.IntN(len(d))]
		p.bodies = append(p.bodies, p.bodies[r.IntN(len(p.bodies))])
		return d
	},
	"swap two events": func(r *rand.Rand, d []draft) []draft {
		a, b := &d[r.IntN(len(d))], &d[r.IntN(len(d))]
		i, k := r.IntN(len(a.bodies)), r.IntN(len(b.bodies))
		a.bodies[i], b.bodies[k] = b.bodies[k], a.bodies[i]
		return d
	},
	"change a time": func(r *rand.Rand, d []draft) []draft {
		d[r.IntN(len(d))].accepted += int64(r.IntN(1000) + 1)
		return d
	},
	"swap two pages": func(r *rand.Rand, d []draft) []draft {
		i, k := r.IntN(len(d)), r.IntN(len(d))
		d[i], d[k] = d[k], d[i]
		return d
	},
	"drop a page": func(r *rand.Rand, d []draft) []draft { return remove(d, r.IntN(len(d))) },
	"put a page in": func(r *rand.Rand, d []draft) []draft {
		i := r.IntN(len(d))
		return append(d[:i:i], append([]draft{{d[i].accepted - 500, [][]byte{body("put in")}}}, d[i:]...)...)
	},
	"join two pages": func(r *rand.Rand, d []draft) []draft {
		i := r.IntN(len(d) - 1)
		d[i].bodies = append(d[i].bodies, d[i+1].bodies...)
		return remove(d, i+1)
	},
	"split a page": func(r *rand.Rand, d []draft) []draft {
		i := r.IntN(len(d))
		n := len(d[i].bodies)
		if n == 1 {
			return d
		}
		at := 1 + r.IntN(n-1)
		tail := draft{d[i].accepted + int64(at), d[i].bodies[at:]}
		d[i].bodies = d[i].bodies[:at:at]
		return append(d[:i+1:i+1], append([]draft{tail}, d[i+1:]...)...)
	},
	"cut the tail": func(r *rand.Rand, d []draft) []draft { return d[:r.IntN(len(d))] },
	"yesterday's copy, gone on": func(r *rand.Rand, d []draft) []draft {
		d = d[:r.IntN(len(d))]
		for range r.IntN(10) {
			d = append(d, draft{1_800_000_000_000_000_000, [][]byte{body("again")}})
		}
		return d
	},
	"another journal": func(r *rand.Rand, d []draft) []draft {
		for i := range d {
			d[i].accepted++
		}
		return d
	},
}

func content(h *history) []byte {
	var all []byte
	for _, p := range h.pages {
		all = append(all, p.Bytes()...)
	}
	return all
}

// firstDifference is the first of n pages, from 1, in which two histories differ.
func firstDifference(a, b *history, n int) uint64 {
	for i := range n {
		if i >= len(a.pages) || i >= len(b.pages) || !bytes.Equal(a.pages[i].Bytes(), b.pages[i].Bytes()) {
			return uint64(i + 1)
		}
	}
	return 0
}

// Whatever is done to what a checkpoint covers, with the chain recomputed and
// the journal gone on behind it, is found: by whoever has the checkpoint, and by
// the tree when it is opened, which names the first page.
func TestRewritingIsFound(t *testing.T) {
	const rounds, pages = 160, 16
	r := rand.New(rand.NewPCG(3, 1))
	dir, honest, kept := built(t, pages)
	found := 0
	for name, mutate := range mutations {
		for range rounds {
			forged := newHistory(mutate(r, clone(drafts(pages)))...)
			if bytes.HasPrefix(content(forged), content(honest)) {
				continue // swapped a thing with itself
			}
			for i := range r.IntN(5) {
				forged.add(draft{1_900_000_000_000_000_000 + int64(i)*1000, [][]byte{body("later")}})
			}
			reader, err := forged.Read(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			report, err := Verify(t.Context(), reader, []Checkpoint{kept}, nil)
			var tamper *TamperError
			if !errors.As(err, &tamper) || report.OK || report.Matched != 0 {
				t.Fatalf("%s: not found by the checkpoint: %+v, %v", name, report, err)
			}
			tr, err := Open(dir, options(forged))
			if err == nil {
				tr.Close()
			}
			want := firstDifference(honest, forged, pages)
			if !errors.As(err, &tamper) || !errors.Is(err, ErrTampered) || tamper.Page != want || want > 1 && tamper.Good != honest.pages[want-2].Head.Event {
				t.Fatalf("%s: want page %d: %+v, %v", name, want, tamper, err)
			}
			found++
		}
	}
	t.Logf("%d changes of %d sorts found", found, len(mutations))
	if found < 2000 {
		t.Error("too few")
	}
	honest.add(drafts(pages + 5)[pages:]...)
	reader, _ := honest.Read(t.Context(), 1)
	report, err := Verify(t.Context(), reader, []Checkpoint{kept}, nil)
	if err != nil || !report.OK || report.Matched != 1 || report.Covered != kept.Events {
		t.Errorf("the honest journal: %+v, %v", report, err)
	}
	catchUp(t, open(t, dir, options(honest)))
}

// Without the file hashes the page cannot be named, but the rest is known.
func TestRewritingIsFoundWithoutCache(t *testing.T) {
	dir, honest, kept := built(t, 12)
	if err := os.Remove(filepath.Join(dir, cacheFile)); err != nil {
		t.Fatal(err)
	}
	d := drafts(12)
	d[4].bodies[0] = body("forged")
	for what, h := range map[string]*history{"chain": newHistory(d...), "events": newHistory(drafts(13)[1:]...), "length": newHistory(drafts(11)...)} {
		_, err := Open(dir, options(h))
		var tamper *TamperError
		if !errors.As(err, &tamper) || tamper.What != what || tamper.Page != 0 || tamper.Signed != kept {
			t.Errorf("%s: %v", what, err)
		}
	}
	catchUp(t, open(t, dir, options(honest)))
}

// A checkpoint that is well signed but for another root: only the tree that is
// made anew can tell.
func TestOtherRootIsFoundByRun(t *testing.T) {
	dir, h, c := built(t, 6)
	c.Root = tlog.Hash{1}
	text, err := c.Sign(key(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, checkpointFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	tr := open(t, dir, options(h))
	err = tr.Run(t.Context())
	var tamper *TamperError
	if !errors.As(err, &tamper) || tamper.What != "root" {
		t.Error(err)
	}
	if err := tr.Wait(t.Context(), 1); !errors.Is(err, ErrTampered) {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, checkpointFile)); err != nil || !bytes.Equal(b, text) {
		t.Error("the checkpoint was replaced")
	}
}

func TestRewrittenPageIsNotProved(t *testing.T) {
	dir, h, _ := built(t, 8)
	tr := open(t, dir, options(h))
	d := drafts(8)
	d[3].bodies[2] = body("forged")
	h.pages = newHistory(d...).pages // behind the tree's back
	_, err := tr.Prove(t.Context(), h.pages[3].Head.Event)
	var tamper *TamperError
	if !errors.As(err, &tamper) || tamper.Page != 4 {
		t.Error(err)
	}
	if _, err := tr.Prove(t.Context(), 1); err != nil {
		t.Error(err)
	}
}

func TestVerifyComparesInOrder(t *testing.T) {
	h := newHistory(drafts(10)...)
	var kept []Checkpoint
	for _, n := range []int{9, 2, 5, 5} {
		_, _, c := built(t, n)
		kept = append(kept, c)
	}
	calls := 0
	r, _ := h.Read(t.Context(), 1)
	report, err := Verify(t.Context(), r, kept, func(p Report) {
		if calls++; p.Pages != uint64(calls) || p.OK {
			t.Errorf("call %d: %+v", calls, p)
		}
	})
	if err != nil || report.Matched != 4 || calls != 10 {
		t.Errorf("%+v, %d calls, %v", report, calls, err)
	}
	d := drafts(10)
	d[6].bodies[0] = body("forged")
	r, _ = newHistory(d...).Read(t.Context(), 1)
	report, err = Verify(t.Context(), r, kept, nil)
	var tamper *TamperError
	if !errors.As(err, &tamper) || report.Matched != 3 || tamper.Good != kept[2].Events || tamper.Signed != kept[0] {
		t.Errorf("%+v, %v", report, err)
	}
}

// A page that was changed without recomputing the chain is damage, not another
// history.
func TestDamageIsNamed(t *testing.T) {
	j := journaltest.NewMemory(journal.Options{})
	for i := range 200 {
		if err := j.Append(t.Context(), &event.Event{Payload: &event.TokenCreated{Token: string(rune('a' + i%26)), Uses: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	j.Damage(50, func(page []byte) []byte { page[60] ^= 1; return page })
	defer j.Close()
	tr := open(t, t.TempDir(), options(j))
	err := tr.Run(t.Context())
	var damage *journal.DamageError
	if !errors.As(err, &damage) || damage.Page < 50 || damage.Page > 51 {
		t.Errorf("run: %v", err)
	}
	// Page 50 was changed, which page 51 shows: what was signed ends before it.
	if _, c := tr.Checkpoint(); c.Pages != 49 {
		t.Errorf("signed %+v", c)
	}
	r, err := j.Read(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	report, err := Verify(t.Context(), r, nil, nil)
	if !errors.Is(err, journal.ErrDamaged) || report.OK || report.Pages == 0 {
		t.Errorf("verify: %+v, %v", report, err)
	}
}

// shown is a history whose head is another one than its last page's.
type shown struct {
	*history
	end journal.Head
}

func (s shown) Head() journal.Head { return s.end }

// The last page has no other behind it: the journal's head vouches for it.
func TestLastPageIsNotTheCommitted(t *testing.T) {
	for _, every := range []time.Duration{time.Millisecond, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			h := newHistory(drafts(5)...)
			end := h.Head()
			end.Hash[0] ^= 1
			opts := options(shown{h, end})
			opts.Every = every
			tr := open(t, t.TempDir(), opts)
			stop := start(tr)
			time.Sleep(time.Second)
			synctest.Wait()
			if err := stop(); !errors.Is(err, journal.ErrDamaged) {
				t.Errorf("every %v: %v", every, err)
			}
			if text, _ := tr.Checkpoint(); text != nil {
				t.Errorf("signed %s", text)
			}
		})
	}
}

// pages is a reader of whatever it is given.
type pages []*journal.Page

func (p *pages) Next(context.Context) (*journal.Page, error) {
	if len(*p) == 0 {
		return nil, io.EOF
	}
	next := (*p)[0]
	*p = (*p)[1:]
	return next, nil
}

func (p *pages) Close() error { return nil }

// Verify believes the bytes, not the reader.
func TestVerifyTrustsNoReader(t *testing.T) {
	h := newHistory(drafts(6)...)
	var given pages
	for _, s := range h.pages {
		given = append(given, s.Page())
	}
	for name, p := range map[string]pages{
		"one is left out":      {given[0], given[2]},
		"begins in the middle": {given[1]},
		"without bytes":        {&journal.Page{First: 1, Records: given[0].Records, Hash: given[0].Hash}},
	} {
		if report, err := Verify(t.Context(), &p, nil, nil); !errors.Is(err, journal.ErrDamaged) || report.OK {
			t.Errorf("%s: %v", name, err)
		}
	}
	var b Builder
	for _, p := range []*journal.Page{{First: 1}, {First: 2, Records: given[0].Records}, {First: 1, Previous: [32]byte{1}, Records: given[0].Records}} {
		if _, err := b.add(nil, p); !errors.Is(err, journal.ErrDamaged) {
			t.Error(err)
		}
	}
	stopped := errors.New("cannot read")
	if _, err := Verify(t.Context(), failing{stopped}, nil, nil); !errors.Is(err, stopped) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Next(context.Context) (*journal.Page, error) { return nil, f.err }
func (f failing) Close() error                                { return nil }
