package offline

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bugle-fleet/bugle/journal"
	"github.com/bugle-fleet/bugle/journal/archive"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/journal/generation"
	"github.com/bugle-fleet/bugle/journal/tree"
)

// Trust is what a survey may rely on besides the files that lie with the journal.
type Trust struct {
	Key         ed25519.PublicKey // of the journal's checkpoints; nil if it is not known
	Checkpoints []tree.Checkpoint // opened with that key
}

// A Loss is events that are not there, or that nothing vouches for; both ends
// included.
type Loss struct {
	From, To uint64
	File     string // where the first of them would be
	Offset   int64
	Reason   string
}

// A Survey is what of a journal is there and can be proved, and what is not.
type Survey struct {
	History [16]byte // of the journal, zero if nothing says
	Last    uint64   // the last event that there was, as far as anything tells
	Lost    []Loss   // in order
	Events  uint64   // that are there
	Vouched uint64   // of them, those that something besides their own chain vouches for
	Damages []Damage // at most [MaxDamages]

	dir    string
	all    []source
	pieces []piece
	unlock func()
}

// MaxDamages is how many damages a survey lists.
const MaxDamages = 1000

// SurveyFolder reads everything in the journal's folder, or in that of a site,
// that may hold pages, damaged or not, and sorts out what can be proved. The
// package's documentation says what that is. It writes nothing, and holds the
// journal's lock until Close.
func SurveyFolder(ctx context.Context, dir string, trust Trust, opts Options) (*Survey, error) {
	s, err := surveyFolder(ctx, dir, trust, opts)
	if err != nil {
		return nil, fmt.Errorf("survey journal %s: %w", dir, err)
	}
	return s, nil
}

func surveyFolder(ctx context.Context, dir string, trust Trust, opts Options) (*Survey, error) {
	dir, err := Folder(dir)
	if err != nil {
		return nil, err
	}
	unlock := func() {}
	if !opts.Locked {
		if unlock, err = share(dir); err != nil {
			return nil, err
		}
	}
	all, err := sources(dir)
	var s *Survey
	if err == nil {
		s, err = survey(ctx, dir, trust, all, all)
	}
	if err != nil {
		unlock()
		return nil, err
	}
	s.unlock = unlock
	return s, nil
}

// Close lets others open the journal.
func (s *Survey) Close() error {
	s.unlock()
	return nil
}

// survey looks for pages in the sources named, and for what vouches for them
// everywhere.
func survey(ctx context.Context, dir string, trust Trust, named, everywhere []source) (_ *Survey, err error) {
	v := &surveyor{Survey: Survey{dir: dir, all: named, unlock: func() {}}}
	if v.signed, err = openSigned(dir, trust.Checkpoints); err != nil {
		return nil, err
	}
	defer v.signed.close()
	if err := v.gather(ctx, trust, everywhere); err != nil {
		return nil, err
	}
	if err := v.leaveOut(); err != nil {
		return nil, err
	}
	if err := scan(ctx, v.all, place{}, visitor{page: v.page, skipped: v.skip}); err != nil {
		return nil, err
	}
	if err := v.prove(ctx); err != nil {
		return nil, err
	}
	if err := v.arrange(ctx); err != nil {
		return nil, err
	}
	return &v.Survey, nil
}

// leaveOut leaves out archives that say that they are of another journal: a page
// does not say of which it is.
func (v *surveyor) leaveOut() error {
	var ours []source
	for _, s := range v.all {
		if history, told := historyIn(s); told && v.History != [16]byte{} && history != v.History {
			if err := v.skip(Damage{s.path, 0, s.size, "the archive is of another journal"}); err != nil {
				return err
			}
			continue
		}
		ours = append(ours, s)
	}
	v.all = ours
	return nil
}

// A fact is that the journal up to an event has a hash.
type fact struct {
	event  uint64
	hash   [32]byte
	signed bool // with the key; else it only stands in a file beside the journal
}

// A surveyor makes a survey.
type surveyor struct {
	Survey
	signed *signedPages
	list   generation.List // none if it cannot be read
	facts  []fact          // by event
	parts  []*part

	// While the files are read:
	number uint64 // of the last page, if it is one that was signed
}

// A part is pages that lie one behind the other and are chained.
type part struct {
	at, end place
	first   uint64
	before  [32]byte // hash of the page before
	last    uint64
	hash    [32]byte
	leaves  bool // each of its pages was found among those that were signed

	proved uint64 // events up to this one are vouched for; 0 is none
	denied uint64 // the first place where something vouched for says otherwise; 0 is none
	taken  uint64 // events up to this one are taken; 0 is none

	// The same by what nobody has signed, which may or may not count.
	claimed, disputed uint64
}

// skip notes a damage.
func (v *surveyor) skip(d Damage) error {
	if len(v.Damages) < MaxDamages {
		v.Damages = append(v.Damages, d)
	}
	return nil
}

// page adds a page to the part that it goes on, or begins another.
func (v *surveyor) page(p *journal.Page, at, end place) (err error) {
	if v.signed != nil {
		if v.number, err = v.signed.find(p, v.number); err != nil {
			return err
		}
	}
	leaf := v.number > 0
	var now *part
	if n := len(v.parts); n > 0 {
		now = v.parts[n-1]
	}
	if now == nil || now.last+1 != p.First || now.hash != p.Previous || now.leaves != leaf {
		now = &part{at: at, first: p.First, before: p.Previous, leaves: leaf}
		v.parts = append(v.parts, now)
	}
	now.last, now.hash, now.end = p.Last(), p.Hash, end
	if leaf {
		now.proved = now.last
	}
	v.compare(now, p)
	return nil
}

// compare compares a page with the facts about its events.
func (v *surveyor) compare(now *part, p *journal.Page) {
	i, _ := slices.BinarySearchFunc(v.facts, p.First, func(f fact, n uint64) int { return cmp.Compare(f.event, n) })
	for ; i < len(v.facts) && v.facts[i].event <= now.last; i++ {
		f := v.facts[i]
		same := f.event == now.last && f.hash == now.hash
		switch {
		case same && f.signed:
			now.proved = now.last
		case same:
			now.claimed = now.last
		case now.leaves: // it is what it was, whatever the fact is of
		case f.signed:
			now.deny(f.event)
		case now.disputed == 0:
			now.disputed = f.event
		}
	}
}

// deny notes that at an event the part is not what it was.
func (p *part) deny(event uint64) {
	if p.denied == 0 || event < p.denied {
		p.denied = event
	}
}

// gather collects the facts.
func (v *surveyor) gather(ctx context.Context, trust Trust, everywhere []source) error {
	add := func(h journal.Head, signed bool) {
		if h.Pages > 0 {
			v.facts = append(v.facts, fact{h.Event, h.Hash, signed})
		}
	}
	if m, err := readMark(v.dir); err == nil {
		v.History = m.History
		add(m.Head, false)
	}
	if list, err := generation.Read(v.dir); err == nil {
		v.list = list
		for i := range list {
			add(list[i].End, false)
		}
	}
	for _, c := range trust.Checkpoints {
		if v.History == [16]byte{} {
			v.History = historyOf(c.Origin)
		}
		add(c.Head(), true)
	}
	for _, i := range archives(everywhere) {
		if v.History == [16]byte{} {
			v.History = i.History
		}
		if i.History == v.History {
			add(i.End, signedArchive(i, trust.Key))
		}
	}
	if v.signed == nil && trust.Key != nil {
		if err := v.gatherEvents(ctx, trust.Key, everywhere, add); err != nil {
			return err
		}
	}
	slices.SortStableFunc(v.facts, func(a, b fact) int {
		if a.event != b.event {
			return cmp.Compare(a.event, b.event)
		}
		return strings.Compare(fmt.Sprint(b.signed), fmt.Sprint(a.signed)) // signed ones first
	})
	return nil
}

// signedArchive tells whether an archive has a checkpoint, signed by key, of what
// it ends with.
func signedArchive(i archive.Info, key ed25519.PublicKey) bool {
	if key == nil || len(i.Checkpoint) == 0 {
		return false
	}
	c, err := tree.OpenCheckpoint(i.Checkpoint, key, "")
	return err == nil && c.Head() == i.End && historyOf(c.Origin) == i.History
}

// historyOf is the journal that an origin such as bugle.SITE/HISTORY names.
func historyOf(origin string) (h [16]byte) {
	_, text, _ := strings.Cut(origin, "/")
	if b, err := hex.DecodeString(text); err == nil && len(b) == len(h) {
		return [16]byte(b)
	}
	return h
}

// gatherEvents collects the checkpoints that the journal holds as events. Nobody
// without the key can have made them, wherever they lie.
func (v *surveyor) gatherEvents(ctx context.Context, key ed25519.PublicKey, everywhere []source, add func(journal.Head, bool)) error {
	page := func(p *journal.Page, _, _ place) error {
		for i := range p.Records {
			if p.Records[i].Kind() != event.KindCheckpointSigned {
				continue
			}
			e, err := p.Records[i].Event()
			if err != nil {
				continue
			}
			c, err := tree.OpenCheckpoint(e.Payload.(*event.CheckpointSigned).Text, key, "")
			if err == nil && (v.History == [16]byte{} || historyOf(c.Origin) == v.History) && len(v.facts) < maxFacts {
				add(c.Head(), true)
			}
		}
		return nil
	}
	return scan(ctx, everywhere, place{}, visitor{page: page, skipped: func(Damage) error { return nil }})
}

// maxFacts bounds what is kept in memory.
const maxFacts = 1 << 20

// errStop ends a scan.
var errStop = errors.New("stop")

// find looks into a part for the page that ends with an event; end is the place
// behind it. It is not found if no page of the part ends there.
func (v *surveyor) find(ctx context.Context, p *part, event uint64) (hash [32]byte, end place, found bool, err error) {
	if event == p.last {
		return p.hash, p.end, true, nil
	}
	err = scan(ctx, v.all, p.at, visitor{skipped: func(Damage) error { return nil }, page: func(page *journal.Page, _, behind place) error {
		if page.Last() < event {
			return nil
		}
		hash, end, found = page.Hash, behind, page.Last() == event
		return errStop
	}})
	if errors.Is(err, errStop) {
		err = nil
	}
	return hash, end, found, err
}

// where is the place of an event that is missing behind a page that ends at end,
// as file and offset.
func (v *surveyor) where(event uint64, end place) (file string, offset int64) {
	for i := range v.list {
		if g := &v.list[i]; event == g.Before.Event+1 {
			return v.begin(g)
		}
	}
	if end.source >= len(v.all) {
		return filepath.Join(v.dir, "jetstream"), 0
	}
	s := v.all[end.source]
	if !s.live() {
		return s.path, 0
	}
	// Behind the last byte of a file the next page is in the file behind it.
	if end.offset == s.size && end.source+1 < len(v.all) {
		if next := v.all[end.source+1]; next.block.Stream == s.block.Stream && next.block.Number == s.block.Number+1 {
			return next.path, 0
		}
	}
	return s.path, end.offset
}

// begin is where the first page of a generation is.
func (v *surveyor) begin(g *generation.Generation) (file string, offset int64) {
	if g.Removed {
		return filepath.Join(generation.ArchiveFolder(v.dir), g.Archive), 0
	}
	return filepath.Join(generation.LiveFolder(v.dir, g.Number), "1.blk"), 0
}
