package salvage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/offline"
	"github.com/bugle-fleet/bugle/journal/offlinetest"
	"github.com/bugle-fleet/bugle/journal/salvage"
)

// shape draws a journal.
func shape(t *rapid.T) offlinetest.Shape {
	s := offlinetest.Shape{
		Pages:   rapid.SliceOfN(rapid.IntRange(1, 6), 3, 30).Draw(t, "pages"),
		PerFile: rapid.IntRange(1, 8).Draw(t, "pages per file"),
	}
	for i := 1; i < len(s.Pages)-1; i++ {
		if rapid.IntRange(0, 7).Draw(t, "seal") == 0 {
			s.Sealed = append(s.Sealed, i)
		}
	}
	s.Archived = rapid.IntRange(0, len(s.Sealed)).Draw(t, "archived")
	s.Removed = rapid.IntRange(0, s.Archived).Draw(t, "removed")
	return s
}

// Whatever is done to the files of a journal of whatever shape: its checkpoint
// finds it and the first event is named; and all that was not touched is in the
// journal that is salvaged, and exactly the rest is listed as lost.
func TestEveryMutation(t *testing.T) {
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		m := rapid.SampledFrom(offlinetest.Mutations).Draw(rt, "mutation")
		s := shape(rt)
		seed := rapid.Uint64().Draw(rt, "seed")
		n++
		dir := filepath.Join(base, fmt.Sprint(n))
		defer os.RemoveAll(dir)
		f := offlinetest.Make(t, dir, s)
		was, told := records(t, f), trust(t, f)
		truth := m.Do(t, rand.New(rand.NewPCG(1, seed)), f)
		if truth.First > 0 {
			detected(rt, f, told, truth.First)
		}
		r, err := run(f, told, dir+".new")
		lost := without(truth.Lost, f.Generations)
		if errors.Is(err, salvage.ErrNothing) && len(joined(lost)) == 1 && lost[0].From == 1 {
			return
		}
		if err != nil {
			rt.Fatalf("%s: %v", m.Name, err)
		}
		defer os.RemoveAll(dir + ".new")
		if err := r.compare(was, lost, f); err != nil {
			rt.Fatalf("%s: %v", m.Name, err)
		}
	})
}

func detected(t *rapid.T, f *offlinetest.Folder, told offline.Trust, first uint64) {
	j, err := offline.Open(f.Dir, offline.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	report, err := j.Verify(context.Background(), told, nil)
	if err == nil && j.Torn() != nil && report.Events+1 == first {
		return
	}
	if bad, ok := errors.AsType[*offline.VerifyError](err); !ok || bad.Event != first || report.OK {
		t.Fatalf("found %v, want event %d", err, first)
	}
}

// Without the hashes of the tree less can be proved; what is proved is true.
func TestWithoutHashes(t *testing.T) {
	base := t.TempDir()
	for i, m := range offlinetest.Mutations {
		for seed := range uint64(3) {
			dir := filepath.Join(base, fmt.Sprintf("%d-%d", i, seed))
			s := offlinetest.Shape{PerFile: 4, Sealed: []int{9, 17}, Notes: []int{4, 7, 12, 15, 20, 25}}
			for k := range 30 {
				s.Pages = append(s.Pages, 1+k%4)
			}
			f := offlinetest.Make(t, dir, s)
			f.WithoutHashes(t)
			was, told := records(t, f), trust(t, f)
			truth := m.Do(t, rand.New(rand.NewPCG(3, seed)), f)
			r, err := run(f, told, dir+".new")
			if errors.Is(err, salvage.ErrNothing) {
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", m.Name, err)
			}
			var lost []event.Range
			for _, l := range r.report.Lost {
				lost = append(lost, event.Range{From: l.From, To: l.To})
			}
			if err := r.compare(was, lost, f); err != nil {
				t.Errorf("%s, seed %d: %v", m.Name, seed, err)
			}
			for _, l := range truth.Lost {
				if !slices.ContainsFunc(joined(lost), func(r event.Range) bool { return r.From <= l.From && r.To >= l.To }) {
					t.Errorf("%s, seed %d: events %d to %d were touched, lost are %v", m.Name, seed, l.From, l.To, lost)
				}
			}
			// Checkpoints that the journal holds bound what is given up.
			if i := slices.IndexFunc(lost, func(r event.Range) bool { return r.From < truth.First }); i >= 0 && r.report.Lost[i].From+25 < truth.First {
				t.Errorf("%s, seed %d: event %d was the first that was touched, lost are %v", m.Name, seed, truth.First, lost)
			}
		}
	}
}

// pages of one event each: event n is page n.
func single(n int) (s offlinetest.Shape) {
	for range n {
		s.Pages = append(s.Pages, 1)
	}
	return s
}

func live(f *offlinetest.Folder, generationNumber uint32, file int) string {
	return filepath.Join(generation.LiveFolder(f.Dir, generationNumber), fmt.Sprintf("%d.blk", file))
}

func rewrite(t testing.TB, name string, change func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Behind what is signed, and what stands beside the journal, the chain alone
// counts.
func TestWhatNothingVouchesFor(t *testing.T) {
	for name, c := range map[string]struct {
		shape  func(s *offlinetest.Shape)
		damage func(t *testing.T, f *offlinetest.Folder)
		lost   []event.Range
	}{
		"all is well": {func(s *offlinetest.Shape) { s.Signed, s.Marked = 5, 7 }, func(*testing.T, *offlinetest.Folder) {}, nil},
		"a page in the tail: those behind it are not proved, and their numbers were given out": {
			func(s *offlinetest.Shape) { s.Signed, s.Marked = 5, 7 }, func(t *testing.T, f *offlinetest.Folder) {
				rewrite(t, live(f, 1, 3), func(b []byte) []byte { b[50] ^= 1; return b }) // page 21
			}, []event.Range{{From: 21, To: 30}}},
		"a page before one that the file history tells of": {
			func(s *offlinetest.Shape) { s.Signed, s.Marked = 5, 25 }, func(t *testing.T, f *offlinetest.Folder) {
				rewrite(t, live(f, 1, 3), func(b []byte) []byte { b[50] ^= 1; return b })
			}, []event.Range{{From: 21, To: 21}}},
		"the same, and nobody has signed anything": {
			func(s *offlinetest.Shape) { s.Signed, s.Marked = -1, 25 }, func(t *testing.T, f *offlinetest.Folder) {
				rewrite(t, live(f, 1, 1), func(b []byte) []byte { b[50] ^= 1; return b })
			}, []event.Range{{From: 1, To: 1}}},
		"no file history": {
			func(s *offlinetest.Shape) { s.Signed = 25 }, func(t *testing.T, f *offlinetest.Folder) {
				os.Remove(filepath.Join(f.Dir, "history"))
				rewrite(t, live(f, 1, 1), func(b []byte) []byte { b[50] ^= 1; return b })
			}, []event.Range{{From: 1, To: 1}}},
		"no list of generations": {
			func(s *offlinetest.Shape) { s.Sealed, s.Archived, s.Removed = []int{10, 20}, 1, 1 }, func(t *testing.T, f *offlinetest.Folder) {
				os.Remove(filepath.Join(f.Dir, generation.File))
				rewrite(t, live(f, 2, 1), func(b []byte) []byte { b[50] ^= 1; return b })
			}, []event.Range{{From: 11, To: 11}}},
		"a generation is gone, and its end is in the list": {
			func(s *offlinetest.Shape) { s.Sealed, s.Signed = []int{10, 20}, -1 }, func(t *testing.T, f *offlinetest.Folder) {
				os.RemoveAll(generation.LiveFolder(f.Dir, 2))
			}, []event.Range{{From: 11, To: 20}}},
		"an archive is gone": {
			func(s *offlinetest.Shape) { s.Sealed, s.Archived, s.Removed = []int{10, 20}, 1, 1 }, func(t *testing.T, f *offlinetest.Folder) {
				os.Remove(filepath.Join(generation.ArchiveFolder(f.Dir), generation.ArchiveName(1)))
			}, []event.Range{{From: 1, To: 10}}},
		"the index of an archive is damaged": {
			func(s *offlinetest.Shape) { s.Sealed, s.Archived, s.Removed = []int{10, 20}, 1, 1 }, func(t *testing.T, f *offlinetest.Folder) {
				rewrite(t, filepath.Join(generation.ArchiveFolder(f.Dir), generation.ArchiveName(1)), func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
			}, nil},
		"a frame of an archive is damaged": {
			func(s *offlinetest.Shape) { s.Sealed, s.Archived, s.Removed = []int{10, 20}, 2, 2 }, func(t *testing.T, f *offlinetest.Folder) {
				rewrite(t, filepath.Join(generation.ArchiveFolder(f.Dir), generation.ArchiveName(2)), func(b []byte) []byte { b[len(b)/3] ^= 1; return b })
			}, []event.Range{{From: 11, To: 20}}},
		"the tail is lost, and the checkpoint tells of it": {
			func(s *offlinetest.Shape) { s.Marked = 12 }, func(t *testing.T, f *offlinetest.Folder) {
				os.Remove(live(f, 1, 2))
				os.Remove(live(f, 1, 3))
			}, []event.Range{{From: 11, To: 30}}},
		"the tail was forged behind the checkpoint, against the file history": {
			func(s *offlinetest.Shape) { s.Signed = 22 }, func(t *testing.T, f *offlinetest.Folder) {
				rewrite(t, live(f, 1, 3), func([]byte) []byte {
					var b []byte
					head := f.Heads[20]
					for n := 20; n < 30; n++ {
						raw := bytes.Clone(f.Pages[n])
						if n >= 25 {
							raw[len(raw)-1] ^= 1
							copy(raw[16:], head.Hash[:])
						}
						p, err := journal.ParsePage(raw, head)
						if err != nil {
							t.Fatal(err)
						}
						head = head.Next(p)
						b = offlinetest.AppendPage(b, generation.Stream(1), 3, uint64(n+1), raw)
					}
					return b
				})
			}, []event.Range{{From: 23, To: 30}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := single(30)
			c.shape(&s)
			f := offlinetest.Make(t, filepath.Join(t.TempDir(), "old"), s)
			was, told := records(t, f), offline.Trust{Key: f.Public()}
			if s.Signed >= 0 {
				told = trust(t, f)
			}
			c.damage(t, f)
			r, err := run(f, told, filepath.Join(t.TempDir(), "new"))
			if err != nil {
				t.Fatal(err)
			}
			if err := r.compare(was, c.lost, f); err != nil {
				t.Error(err)
			}
		})
	}
}

// A frame of an archive that is damaged takes no other one with it.
func TestFramesBehindADamagedOne(t *testing.T) {
	s := offlinetest.Shape{Pages: slices.Repeat([]int{1000}, 9), Size: 300, Sealed: []int{8}, Archived: 1, Removed: 1}
	f := offlinetest.Make(t, filepath.Join(t.TempDir(), "old"), s)
	name := filepath.Join(generation.ArchiveFolder(f.Dir), generation.ArchiveName(1))
	a, err := archive.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	first := a.FrameEnd(1)
	if err := a.Close(); err != nil || first != 3 || a.Info().Frames != 3 {
		t.Fatalf("%d frames, the first with %d pages: %v", a.Info().Frames, first, err)
	}
	was, told := records(t, f), trust(t, f)
	rewrite(t, name, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	r, err := run(f, told, filepath.Join(t.TempDir(), "new"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.compare(was, []event.Range{{From: 3001, To: 6000}}, f); err != nil {
		t.Error(err)
	}
}

// What lies in the folder and is of another journal, of the same site or not, is
// not taken for this one's, and does not vouch for it.
func TestOfAnotherJournal(t *testing.T) {
	f := offlinetest.Make(t, filepath.Join(t.TempDir(), "old"), single(10))
	was := records(t, f)
	other := offlinetest.Make(t, filepath.Join(t.TempDir(), "other"), offlinetest.Shape{Pages: []int{1}, Size: 100})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(generation.ArchiveFolder(f.Dir), 0o700))
	a, err := archive.Create(filepath.Join(generation.ArchiveFolder(f.Dir), generation.ArchiveName(9)), archive.Header{History: [16]byte{9}, Generation: 1})
	must(err)
	must(a.Add(other.Pages[0]))
	_, err = a.Close(archive.Seal{})
	must(err)
	c, _ := f.CheckpointOf(t, 10)
	c.Origin = fmt.Sprintf("bugle.P01/%x", [16]byte{9})
	text, err := c.Sign(f.Key)
	must(err)
	must(os.WriteFile(offline.CheckpointFile(f.Dir), text, 0o600))
	f.WithoutHashes(t)
	rewrite(t, live(f, 1, 1), func(b []byte) []byte { b[50] ^= 1; b[len(b)/10+60] ^= 1; return b }) // pages 1 and 2
	r, err := run(f, offline.Trust{Key: f.Public()}, filepath.Join(t.TempDir(), "new"))
	must(err)
	must(r.compare(was, []event.Range{{From: 1, To: 2}}, f))
	if len(r.end[0].Checkpoint) > 0 {
		t.Errorf("the new journal has the checkpoint of another one: %s", r.end[0].Checkpoint)
	}
	if !slices.ContainsFunc(r.report.Damages, func(d offline.Damage) bool { return strings.Contains(d.Reason, "another journal") }) {
		t.Errorf("nothing says why an archive was left out: %+v", r.report.Damages)
	}
}

// Pages before the first hole stay as they are, to the hash; what comes last says
// so.
func TestWhatIsWritten(t *testing.T) {
	s := offlinetest.Shape{Pages: []int{3, 1000, 2, 1000, 4}, PerFile: 1}
	f := offlinetest.Make(t, filepath.Join(t.TempDir(), "old"), s)
	if err := os.Remove(live(f, 1, 3)); err != nil {
		t.Fatal(err)
	}
	told := trust(t, f)
	r, err := run(f, told, filepath.Join(t.TempDir(), "new"))
	if err != nil {
		t.Fatal(err)
	}
	var counts []int
	for i, p := range r.pages {
		counts = append(counts, len(p.Records))
		if same := bytes.Equal(p.Bytes(), f.Pages[min(i, 4)]); same != (i < 2) {
			t.Errorf("page %d is the same: %v", i+1, same)
		}
	}
	if !slices.Equal(counts, []int{3, 1000, 2, 1000, 4, 1}) {
		t.Errorf("pages of %v events", counts)
	}
	last := &r.pages[5].Records[0]
	e, err := last.Event()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(f.Dir, "tree", "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	got := e.Payload.(*event.JournalSalvaged)
	if got.History != f.History || got.Last != 2009 || !bytes.Equal(got.Checkpoint, text) || !strings.Contains(got.Reason, "3.blk") && !strings.Contains(got.Reason, "2.blk") || !e.Accepted.Equal(now) {
		t.Errorf("%+v", got)
	}
	if r.report.Vouched != 2007 {
		t.Errorf("%d events are vouched for", r.report.Vouched)
	}
}

// More holes than one event lists.
func TestManyHoles(t *testing.T) {
	f := offlinetest.Make(t, filepath.Join(t.TempDir(), "old"), func() offlinetest.Shape { s := single(2400); s.PerFile = 400; return s }())
	for file := 1; file <= 6; file++ {
		rewrite(t, live(f, 1, file), func(b []byte) []byte {
			size := len(b) / 400
			for i := range 400 {
				if i%2 == 0 {
					b[i*size+size/2] ^= 1
				}
			}
			return b
		})
	}
	r, err := run(f, trust(t, f), filepath.Join(t.TempDir(), "new"))
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, e := range r.end {
		total += len(e.Lost)
	}
	if len(r.end) != 2 || total != len(r.report.Lost) || total < 1100 {
		t.Errorf("%d events list %d of %d holes", len(r.end), total, len(r.report.Lost))
	}
}

func TestRefuses(t *testing.T) {
	f := offlinetest.Make(t, filepath.Join(t.TempDir(), "old"), single(3))
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run(f, trust(t, f), full); !errors.Is(err, salvage.ErrNotEmpty) {
		t.Errorf("a folder that is not empty: %v", err)
	}
	if _, err := run(f, trust(t, f), f.Dir); !errors.Is(err, salvage.ErrNotEmpty) {
		t.Errorf("the same folder: %v", err)
	}
	broken := errors.New("broken")
	for _, made := range []bool{true, false} {
		to := filepath.Join(t.TempDir(), "new")
		if !made {
			if err := os.Mkdir(to, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		_, err := salvage.Run(t.Context(), salvage.Options{Dir: f.Dir, To: to, Trust: trust(t, f), Write: func(_ context.Context, dir string, _ [16]byte, pages iter.Seq2[[]byte, error]) error {
			for range pages {
				break
			}
			return errors.Join(broken, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700))
		}})
		if !errors.Is(err, broken) {
			t.Error(err)
		}
		entries, err := os.ReadDir(to)
		if made != errors.Is(err, os.ErrNotExist) || len(entries) > 0 {
			t.Errorf("left behind: %v, %v", entries, err)
		}
	}
	if err := os.RemoveAll(generation.LiveFolder(f.Dir, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := run(f, trust(t, f), filepath.Join(t.TempDir(), "new")); !errors.Is(err, salvage.ErrNothing) {
		t.Errorf("nothing is there: %v", err)
	}
	if _, err := run(&offlinetest.Folder{Dir: t.TempDir()}, offline.Trust{}, filepath.Join(t.TempDir(), "new")); !errors.Is(err, offline.ErrNoJournal) {
		t.Errorf("no journal: %v", err)
	}
}
