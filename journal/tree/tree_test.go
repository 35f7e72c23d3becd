package tree

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/journaltest"
)

// rfc6962 is the hash of a list of leaves as RFC 6962, section 2.1, defines it.
func rfc6962(leaves [][]byte) [32]byte {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, leaves[0]...))
	default:
		k := 1
		for 2*k < n {
			k *= 2
		}
		l, r := rfc6962(leaves[:k]), rfc6962(leaves[k:])
		return sha256.Sum256(append(append([]byte{1}, l[:]...), r[:]...))
	}
}

// expectedRoot follows FORMAT.md by hand.
func expectedRoot(h *history) [32]byte {
	var outer [][]byte
	for _, s := range h.pages {
		var inner [][]byte
		for i := range s.Page().Records {
			r := &s.Page().Records[i]
			b := binary.BigEndian.AppendUint64(nil, r.Number)
			b = binary.BigEndian.AppendUint64(b, uint64(r.Accepted))
			inner = append(inner, append(b, r.Body...))
		}
		root := rfc6962(inner)
		b := binary.BigEndian.AppendUint64([]byte("BGT1"), s.Page().First)
		b = binary.BigEndian.AppendUint32(b, uint32(len(inner)))
		b = append(b, root[:]...)
		outer = append(outer, append(b, s.Head.Hash[:]...))
	}
	return rfc6962(outer)
}

func TestRootIsThatOfRFC6962(t *testing.T) {
	for n := 1; n <= 40; n++ {
		h := newHistory(drafts(n)...)
		r, _ := h.Read(t.Context(), 1)
		report, err := Verify(t.Context(), r, nil, nil)
		if err != nil || !report.OK {
			t.Fatal(report, err)
		}
		if want := expectedRoot(h); report.Root != want {
			t.Fatalf("%d pages: root %x, want %x", n, report.Root, want)
		}
		if head := h.Head(); report.Events != head.Event || report.Pages != head.Pages || report.Head != head.Hash {
			t.Fatalf("report %+v, head %+v", report, head)
		}
	}
}

func TestEveryEventIsProved(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 8, 33} {
		dir, h, c := built(t, n)
		tr := open(t, dir, options(h))
		for number := uint64(1); number <= c.Events; number++ {
			proof, err := tr.Prove(t.Context(), number)
			if err != nil {
				t.Fatal(err)
			}
			e, signed, err := Check(proof, public(key(1)), origin)
			if err != nil {
				t.Fatal(err)
			}
			page, _ := tr.load(t.Context(), number)
			want, _ := page.Records[number-page.First].Event()
			if e.Number != number || signed != c || !e.Accepted.Equal(want.Accepted) || e.Key != want.Key {
				t.Fatalf("event %d of %d pages: %+v, %+v", number, n, e, signed)
			}
		}
		for _, number := range []uint64{0, c.Events + 1, 1 << 63} {
			if _, err := tr.Prove(t.Context(), number); !errors.Is(err, ErrNotCovered) {
				t.Errorf("event %d: %v", number, err)
			}
		}
	}
}

func TestConsistency(t *testing.T) {
	h := newHistory()
	tr := open(t, t.TempDir(), options(h))
	if text, _ := tr.Checkpoint(); text != nil {
		t.Fatalf("a checkpoint of nothing: %s", text)
	}
	stop := start(tr)
	var texts [][]byte
	for _, d := range drafts(20) {
		h.add(d)
		if err := tr.Wait(t.Context(), h.Head().Event); err != nil {
			t.Fatal(err)
		}
		text, _ := tr.Checkpoint()
		texts = append(texts, text)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	newest := texts[len(texts)-1]
	for i, text := range texts {
		older, err := OpenCheckpoint(text, public(key(1)), origin)
		if err != nil {
			t.Fatal(err)
		}
		proof, newer, err := tr.ConsistencyProof(t.Context(), older)
		if err != nil || !bytes.Equal(newer, newest) {
			t.Fatal(err)
		}
		o, n, err := CheckConsistency(text, newer, proof, public(key(1)), origin)
		if err != nil || o != older || n.Pages != 20 {
			t.Fatal(o, n, err)
		}
		for k := range texts {
			if k == i {
				continue
			}
			if _, _, err := CheckConsistency(texts[k], newer, proof, public(key(1)), ""); !errors.Is(err, ErrMismatch) {
				t.Fatalf("proof for checkpoint %d taken for %d: %v", i, k, err)
			}
		}
	}
}

// What a checkpoint that was kept elsewhere says is not what the service has now.
func TestConsistencyOfAnotherHistory(t *testing.T) {
	other := drafts(9)
	other[3].bodies[0] = body("forged")
	dir, h := t.TempDir(), newHistory(other...)
	tr := open(t, dir, options(h))
	catchUp(t, tr)
	for pages, what := range map[int]string{5: "root", 9: "root", 12: "length"} {
		_, _, kept := built(t, pages)
		_, _, err := tr.ConsistencyProof(t.Context(), kept)
		var tamper *TamperError
		if !errors.As(err, &tamper) || tamper.What != what {
			t.Errorf("%d pages: %v", pages, err)
		}
	}
	_, _, kept := built(t, 2)
	kept.Origin = "elsewhere"
	if _, _, err := tr.ConsistencyProof(t.Context(), kept); !errors.Is(err, ErrOrigin) {
		t.Error(err)
	}
	if _, _, err := tr.ConsistencyProof(t.Context(), Checkpoint{Origin: origin}); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

func TestSignsAboutOncePerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := journaltest.NewMemory(journal.Options{})
		defer j.Close()
		dir := t.TempDir()
		tr := open(t, dir, Options{Journal: j, Origin: origin, Key: key(1), Log: quiet()})
		stop := start(tr)
		signed, last := 0, uint64(0)
		begin := time.Now()
		for i := range 100 { // ten seconds
			e := &event.Event{Payload: &event.TokenCreated{Token: fmt.Sprint("t", i), Uses: 1}}
			if err := j.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			_, c := tr.Checkpoint()
			if c.Pages != last {
				signed, last = signed+1, c.Pages
			}
			if behind := uint64(i + 1); c.Events+10 < behind {
				t.Fatalf("after %v %d events are signed, %d are there", time.Since(begin), c.Events, behind)
			}
		}
		if signed < 9 || signed > 11 {
			t.Errorf("%d checkpoints in ten seconds", signed)
		}
		time.Sleep(2 * time.Second)
		before, _ := tr.Checkpoint()
		time.Sleep(time.Hour)
		if after, _ := tr.Checkpoint(); !bytes.Equal(before, after) {
			t.Error("signed again without anything new")
		}
		onDisk, err := os.ReadFile(filepath.Join(dir, checkpointFile))
		if err != nil || !bytes.Equal(onDisk, before) {
			t.Errorf("the file holds %q: %v", onDisk, err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A stop signs what is new at once; what is new while it is stopped is signed
// by the next run.
func TestStopSigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := newHistory(drafts(3)...), t.TempDir()
		opts := options(h)
		opts.Every = time.Hour
		tr := open(t, dir, opts)
		stop := start(tr)
		synctest.Wait()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if _, c := tr.Checkpoint(); c.Pages != 3 {
			t.Fatalf("%+v", c)
		}
		if err := tr.Wait(t.Context(), 7); !errors.Is(err, journal.ErrClosed) {
			t.Error(err)
		}
		h.add(drafts(4)[3])
		tr = open(t, dir, opts)
		stop = start(tr)
		synctest.Wait()
		h.close()
		synctest.Wait()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if _, c := tr.Checkpoint(); c.Pages != 4 || c.Root != expectedRoot(h) {
			t.Fatalf("%+v", c)
		}
	})
}

func TestGoesOnWhenTheDiskDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := newHistory(drafts(3)...), t.TempDir()
		tr := open(t, dir, options(h))
		inTheWay := filepath.Join(dir, checkpointFile+".tmp")
		if err := os.Mkdir(inTheWay, 0o700); err != nil {
			t.Fatal(err)
		}
		stop := start(tr)
		time.Sleep(time.Minute)
		synctest.Wait()
		if text, _ := tr.Checkpoint(); text != nil {
			t.Fatal("signed without a file")
		}
		h.add(drafts(6)[3:]...)
		if err := os.Remove(inTheWay); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*longestRetry)
		defer cancel()
		if err := tr.Wait(ctx, h.Head().Event); err != nil {
			t.Fatal(err)
		}
		if _, c := tr.Checkpoint(); c.Root != expectedRoot(h) {
			t.Errorf("%+v", c)
		}
		if _, err := tr.Prove(ctx, 7); err != nil {
			t.Error(err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// away is a journal that cannot be read at first.
type away struct {
	*history
	left int
}

func (a *away) Follow(ctx context.Context, from uint64) (journal.Reader, error) {
	if a.left > 0 {
		a.left--
		return nil, fmt.Errorf("follow: %w", journal.ErrUnavailable)
	}
	return a.history.Follow(ctx, from)
}

func TestGoesOnWhenTheJournalDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := open(t, t.TempDir(), options(&away{newHistory(drafts(5)...), 4}))
		stop := start(tr)
		if err := tr.Wait(t.Context(), 15); err != nil {
			t.Error(err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestStopsWhileTheJournalIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := open(t, t.TempDir(), options(&away{newHistory(drafts(5)...), 1 << 30}))
		stop := start(tr)
		time.Sleep(10 * time.Minute)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if text, _ := tr.Checkpoint(); text != nil {
			t.Errorf("signed %s", text)
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	tr := open(t, t.TempDir(), options(newHistory()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tr.Wait(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir, h, _ := built(t, 3)
	name := filepath.Join(dir, checkpointFile)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(what string, text []byte, want error, change func(*Options)) {
		t.Helper()
		opts := options(h)
		if change != nil {
			change(&opts)
		}
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		tr, err := Open(dir, opts)
		if err == nil {
			tr.Close()
		}
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
		if b, err := os.ReadFile(name); err != nil || !bytes.Equal(b, text) {
			t.Errorf("%s: the checkpoint was changed: %v", what, err)
		}
	}
	refuse("no key", good, nil, func(o *Options) { o.Key = nil })
	refuse("bad origin", good, ErrFormat, func(o *Options) { o.Origin = "two words" })
	refuse("other origin", good, ErrOrigin, func(o *Options) { o.Origin = "bugle.P02/1" })
	refuse("other key", good, ErrKey, func(o *Options) { o.Key = key(2) })
	refuse("empty", nil, ErrFormat, nil)
	refuse("cut short", good[:len(good)-9], ErrFormat, nil)
	refuse("huge", bytes.Repeat(good, 100), ErrFormat, nil)
	refuse("altered", []byte(strings.Replace(string(good), "events 6", "events 7", 1)), ErrSignature, nil)
}

func TestCheckpointIsReadByOthers(t *testing.T) {
	dir, _, c := built(t, 5)
	text, err := os.ReadFile(filepath.Join(dir, checkpointFile))
	if err != nil {
		t.Fatal(err)
	}
	// As the tools of the checksum database read it, but for their first line.
	lines := strings.SplitN(string(text), "\n", 4)
	tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + lines[1] + "\n" + lines[2] + "\n"))
	if err != nil || tree.N != 5 || tree.Hash != c.Root || lines[0] != origin {
		t.Errorf("%+v: %v", tree, err)
	}
	vkey, err := VerifierKey(origin, public(key(1)))
	if err != nil || !strings.HasPrefix(vkey, origin+"+") {
		t.Error(vkey, err)
	}
}

// Proofs are made, of the old and of the newest, while the tree grows.
func TestProofsWhileGrowing(t *testing.T) {
	j := journaltest.NewMemory(journal.Options{})
	defer j.Close()
	tr := open(t, t.TempDir(), options(j))
	stop := start(tr)
	grown := make(chan error, 1)
	go func() {
		for i := range 300 {
			if err := j.Append(t.Context(), &event.Event{Payload: &event.TokenCreated{Token: fmt.Sprint("t", i), Uses: 1}}); err != nil {
				grown <- err
				return
			}
		}
		grown <- nil
	}()
	for number := uint64(1); number <= 300; number += 7 {
		if err := tr.Wait(t.Context(), number); err != nil {
			t.Fatal(err)
		}
		_, older := tr.Checkpoint()
		for _, n := range []uint64{1, number, older.Events} {
			proof, err := tr.Prove(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			if e, _, err := Check(proof, public(key(1)), origin); err != nil || e.Payload.(*event.TokenCreated).Token != fmt.Sprint("t", n-1) {
				t.Fatal(err)
			}
		}
		if _, _, err := tr.ConsistencyProof(t.Context(), older); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(<-grown, stop()); err != nil {
		t.Fatal(err)
	}
	if _, c := tr.Checkpoint(); c.Events != 300 {
		t.Errorf("%+v", c)
	}
}
