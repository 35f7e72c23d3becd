package event

import "github.com/bugle-fleet/bugle/listener/wire/bounded"

// MaxCheckpoint is the longest text of a signed checkpoint in bytes.
const MaxCheckpoint = 8 << 10

// CheckpointSigned puts a signed checkpoint of the history into the history
// itself: whoever follows the journal has checkpoints that were kept elsewhere.
type CheckpointSigned struct {
	Events uint64 // that it covers
	Text   []byte // the signed note
}

// Kind returns checkpoint.signed.
func (*CheckpointSigned) Kind() Kind { return KindCheckpointSigned }

func (p *CheckpointSigned) encode(w *bounded.Writer) {
	w.Array(3)
	w.Uint(1)
	w.Uint(p.Events)
	w.Bytes(p.Text, MaxCheckpoint)
}

func (p *CheckpointSigned) decode(r *bounded.Reader) {
	r.Version(1)
	p.Events = r.Uint64()
	p.Text = r.Bytes(MaxCheckpoint)
	r.End()
}

// JournalChecked says what a check of the whole history, from its bytes on disk,
// found.
type JournalChecked struct {
	Events uint64 // that were checked
	Head   [32]byte
	Root   [32]byte
	Good   bool
	Reason string // what is wrong, if it is not good
}

// Kind returns journal.checked.
func (*JournalChecked) Kind() Kind { return KindJournalChecked }

func (p *JournalChecked) encode(w *bounded.Writer) {
	w.Array(6)
	w.Uint(1)
	w.Uint(p.Events)
	w.Raw(p.Head[:])
	w.Raw(p.Root[:])
	w.Bool(p.Good)
	w.String(p.Reason, MaxText)
}

func (p *JournalChecked) decode(r *bounded.Reader) {
	r.Version(1)
	p.Events = r.Uint64()
	r.Raw(p.Head[:])
	r.Raw(p.Root[:])
	p.Good = r.Bool()
	p.Reason = r.String(MaxText)
	r.End()
}

// GenerationSealed says that a generation of the journal takes no more pages.
type GenerationSealed struct {
	Generation  uint32
	First, Last uint64 // its events
	Pages       uint64 // of the journal, up to its end
	Head        [32]byte
}

// Kind returns generation.sealed.
func (*GenerationSealed) Kind() Kind { return KindGenerationSealed }

func (p *GenerationSealed) encode(w *bounded.Writer) {
	w.Array(6)
	w.Uint(1)
	w.Uint(uint64(p.Generation))
	w.Uint(p.First)
	w.Uint(p.Last)
	w.Uint(p.Pages)
	w.Raw(p.Head[:])
}

func (p *GenerationSealed) decode(r *bounded.Reader) {
	r.Version(1)
	p.Generation = r.Uint32()
	p.First = r.Uint64()
	p.Last = r.Uint64()
	p.Pages = r.Uint64()
	r.Raw(p.Head[:])
	r.End()
}

// GenerationArchived says that a sealed generation is in an archive that was
// verified, and Removed that the live store does not hold it any more.
type GenerationArchived struct {
	Generation uint32
	Name       string // of the file
	Size       uint64
	Digest     [32]byte // SHA-256 of the file
	Removed    bool
}

// Kind returns generation.archived.
func (*GenerationArchived) Kind() Kind { return KindGenerationArchived }

func (p *GenerationArchived) encode(w *bounded.Writer) {
	w.Array(6)
	w.Uint(1)
	w.Uint(uint64(p.Generation))
	w.String(p.Name, MaxName)
	w.Uint(p.Size)
	w.Raw(p.Digest[:])
	w.Bool(p.Removed)
}

func (p *GenerationArchived) decode(r *bounded.Reader) {
	r.Version(1)
	p.Generation = r.Uint32()
	p.Name = r.String(MaxName)
	p.Size = r.Uint64()
	r.Raw(p.Digest[:])
	p.Removed = r.Bool()
	r.End()
}

// EventLost stands, in a journal that was salvaged, in the place of an event
// that could not be: so every other event keeps its number, and no number that
// was given out once means something else later.
type EventLost struct {
	History [16]byte // of the damaged journal
	Reason  string
}

// Kind returns event.lost.
func (*EventLost) Kind() Kind { return KindEventLost }

func (p *EventLost) encode(w *bounded.Writer) {
	w.Array(3)
	w.Uint(1)
	w.Raw(p.History[:])
	w.String(p.Reason, MaxText)
}

func (p *EventLost) decode(r *bounded.Reader) {
	r.Version(1)
	r.Raw(p.History[:])
	p.Reason = r.String(MaxText)
	r.End()
}

// A Range is events, both ends included.
type Range struct{ From, To uint64 }

// MaxLost is how many ranges a [JournalSalvaged] lists; the events themselves
// are each an [EventLost].
const MaxLost = 1024

// JournalSalvaged ends what was copied out of a damaged journal.
type JournalSalvaged struct {
	History    [16]byte // of the damaged journal
	Last       uint64   // its last event, as far as that is known
	Lost       []Range
	Checkpoint []byte // the last one of the damaged journal, or empty
	Reason     string // what was wrong with it
}

// Kind returns journal.salvaged.
func (*JournalSalvaged) Kind() Kind { return KindJournalSalvaged }

func (p *JournalSalvaged) encode(w *bounded.Writer) {
	if len(p.Lost) > MaxLost {
		w.Fail("%d lost ranges, at most %d are taken", len(p.Lost), MaxLost)
		return
	}
	w.Array(6)
	w.Uint(1)
	w.Raw(p.History[:])
	w.Uint(p.Last)
	w.Array(2 * len(p.Lost))
	for _, l := range p.Lost {
		w.Uint(l.From)
		w.Uint(l.To)
	}
	w.Bytes(p.Checkpoint, MaxCheckpoint)
	w.String(p.Reason, MaxText)
}

func (p *JournalSalvaged) decode(r *bounded.Reader) {
	r.Version(1)
	r.Raw(p.History[:])
	p.Last = r.Uint64()
	n := r.Array(2 * MaxLost)
	if n%2 != 0 {
		r.Fail("%d ends of ranges", n)
	}
	if n > 0 && r.Err() == nil {
		p.Lost = make([]Range, n/2)
		for i := range p.Lost {
			p.Lost[i] = Range{r.Uint64(), r.Uint64()}
		}
	}
	r.End()
	p.Checkpoint = r.Bytes(MaxCheckpoint)
	p.Reason = r.String(MaxText)
	r.End()
}

// JournalExported says that somebody took a copy of history, or of the whole
// site with a backup.
type JournalExported struct {
	From, To uint64
	Format   string // "archive", "jsonl", "csv", "backup"
	Reason   string
}

// Kind returns journal.exported.
func (*JournalExported) Kind() Kind { return KindJournalExported }

func (p *JournalExported) encode(w *bounded.Writer) {
	w.Array(5)
	w.Uint(1)
	w.Uint(p.From)
	w.Uint(p.To)
	w.String(p.Format, MaxName)
	w.String(p.Reason, MaxText)
}

func (p *JournalExported) decode(r *bounded.Reader) {
	r.Version(1)
	p.From = r.Uint64()
	p.To = r.Uint64()
	p.Format = r.String(MaxName)
	p.Reason = r.String(MaxText)
	r.End()
}

// ViewRolledBack says that the generation of a view that served before the last
// rebuild serves again.
type ViewRolledBack struct {
	View       string
	Generation uint32 // that serves now
	Position   uint64 // the event that Digest is of
	Digest     [32]byte
	Same       bool // the generation that served until then had the same digest there
	Reason     string
}

// Kind returns view.rolled-back.
func (*ViewRolledBack) Kind() Kind { return KindViewRolledBack }

func (p *ViewRolledBack) encode(w *bounded.Writer) {
	w.Array(7)
	w.Uint(1)
	w.String(p.View, MaxName)
	w.Uint(uint64(p.Generation))
	w.Uint(p.Position)
	w.Raw(p.Digest[:])
	w.Bool(p.Same)
	w.String(p.Reason, MaxText)
}

func (p *ViewRolledBack) decode(r *bounded.Reader) {
	r.Version(1)
	p.View = r.String(MaxName)
	p.Generation = r.Uint32()
	p.Position = r.Uint64()
	r.Raw(p.Digest[:])
	p.Same = r.Bool()
	p.Reason = r.String(MaxText)
	r.End()
}

// SiteMessage is a status message of the site itself: about its journal, its
// views, its disk. It reads as a [StatusMessage] does.
type SiteMessage struct {
	Component string // "journal", "views", "disk", "clock"
	Message   uint32
	Severity  Severity
	Text      string
	Device    uint32 // that it is about, 0 if none. Since version 2.
}

// Kind returns site.message.
func (*SiteMessage) Kind() Kind { return KindSiteMessage }

func (p *SiteMessage) encode(w *bounded.Writer) {
	if p.Severity > Error {
		w.Fail("severity %d", p.Severity)
	}
	w.Array(6)
	w.Uint(2)
	w.String(p.Component, MaxName)
	w.Uint(uint64(p.Message))
	w.Uint(uint64(p.Severity))
	w.String(p.Text, MaxText)
	w.Uint(uint64(p.Device))
}

func (p *SiteMessage) decode(r *bounded.Reader) {
	version := r.Version(2)
	p.Component = r.String(MaxName)
	p.Message = r.Uint32()
	p.Severity = Severity(r.Uint(uint64(Error)))
	p.Text = r.String(MaxText)
	if version >= 2 {
		p.Device = r.Uint32()
	}
	r.End()
}
