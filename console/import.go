package console

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/device"
	"github.com/bugle-fleet/bugle/projectors/inventory"
)

// Bounds of an import.
const (
	MaxImportBody = 4 << 20 // bytes of one call
	MaxImportLine = 1 << 20 // bytes of a line

	maxImportProblems = 1000 // in one answer
	maxRecent         = 100_000
)

// Paths of imports and removal.
const (
	PathDevicesImport = Base + "/devices/import"          // POST lines of JSON ?source= &line= &dry-run= → [ImportReply]
	PathDeviceRemove  = Base + "/devices/{device}/remove" // POST [ReasonRequest] → [Written]
)

// ImportReply is what became of the lines of a call.
type ImportReply struct {
	New       int             `json:"new" doc:"records that were made"`
	Changed   int             `json:"changed" doc:"devices of which something changed"`
	Unchanged int             `json:"unchanged"`
	Bad       int             `json:"bad" doc:"lines that could not be taken"`
	Problems  []ImportProblem `json:"problems" doc:"why, the first 1000"`
	DryRun    bool            `json:"dryRun,omitempty" doc:"nothing was stored"`
	Events    int             `json:"events" doc:"how many events it became"`
	Event     uint64          `json:"event" doc:"the last of them, or the event that the comparison is as of"`
}

// ImportProblem is a line that could not be taken.
type ImportProblem struct {
	Line   int    `json:"line"`
	Device string `json:"device,omitempty" doc:"as the line names it"`
	Detail string `json:"detail"`
}

type importInput struct {
	Source  string `query:"source" maxLength:"256" doc:"the name of the file, for the history"`
	Line    int    `query:"line" minimum:"1" default:"1" doc:"the number of the first line, for problems"`
	DryRun  bool   `query:"dry-run" doc:"only tell what would change"`
	RawBody []byte `contentType:"application/x-ndjson"`
}

// An importer takes one call at a time: two that bring the same new name do not make
// two records. It remembers what it appended until the views have it, so that calls
// that follow one another need not wait for them.
type importer struct {
	place chan struct{} // taken by the one call that imports

	mu     sync.Mutex
	last   uint64          // the last event that it appended
	recent map[string]bool // names, ids and numbers in events that the views may lack
}

func newImporter() *importer {
	return &importer{place: make(chan struct{}, 1), recent: map[string]bool{}}
}

func (c *Console) registerInventory(api huma.API) {
	take := call(http.MethodPost, "importDevices", PathDevicesImport, "Make or change records of devices, one JSON object a line")
	take.MaxBodyBytes = MaxImportBody
	huma.Register(api, take, c.importDevices)
	huma.Register(api, call(http.MethodPost, "removeDevice", PathDeviceRemove, "End the record of a device for ever"), c.removeDevice)
}

func (c *Console) importDevices(ctx context.Context, in *importInput) (*out[ImportReply], error) {
	const doing = "import devices"
	if c.cfg.Inventory == nil {
		return nil, notFound("This site keeps no inventory.")
	}
	select {
	case c.importing.place <- struct{}{}:
		defer func() { <-c.importing.place }()
	case <-ctx.Done():
		return nil, c.fail(ctx, doing, ctx.Err())
	}
	r := &importRun{c: c, in: in, reply: ImportReply{Problems: []ImportProblem{}, DryRun: in.DryRun}, byName: map[string]*importDevice{}, byNumber: map[uint32]*importDevice{}, byID: map[task.ID]*importDevice{}}
	if err := r.run(ctx); err != nil {
		return nil, c.failView(ctx, doing, err)
	}
	return answerAt(r.reply, r.reply.Event)
}

// An importRun is one call.
type importRun struct {
	c      *Console
	in     *importInput
	reply  ImportReply
	schema *schema.Schema

	devices  []*importDevice
	byName   map[string]*importDevice // new ones, by name in lower case
	byID     map[task.ID]*importDevice
	byNumber map[uint32]*importDevice // those that there are
}

// An importDevice is a device, and all lines of the call that name it.
type importDevice struct {
	number uint32 // 0: it is new
	id     task.ID
	name   string // of a new one, or its new name
	was    string // its name so far
	lines  []*importLine
}

func (r *importRun) run(ctx context.Context) error {
	if err := r.c.importing.settle(ctx, r.c); err != nil {
		return err
	}
	var err error
	if r.schema, err = r.c.cfg.Inventory.Schema(); err != nil {
		return err
	}
	number := r.in.Line - 1
	for raw := range bytes.Lines(r.in.RawBody) {
		number++
		raw = bytes.TrimSpace(raw)
		if len(raw) == 0 {
			continue
		}
		if len(raw) > MaxImportLine {
			r.bad(number, nil, fmt.Errorf("it has %d bytes, at most %d are taken", len(raw), MaxImportLine))
			continue
		}
		line, err := readLine(r.schema, raw)
		if err != nil {
			r.bad(number, line, err)
			continue
		}
		if err := r.resolve(ctx, number, line); err != nil {
			return err
		}
	}
	return r.write(ctx)
}

func (r *importRun) bad(number int, line *importLine, err error) {
	r.reply.Bad++
	if len(r.reply.Problems) == maxImportProblems {
		return
	}
	p := ImportProblem{Line: number, Detail: err.Error()}
	if line != nil {
		p.Device = line.word()
	}
	r.reply.Problems = append(r.reply.Problems, p)
}

// word is how a line names its device.
func (l *importLine) word() string {
	switch {
	case l.name != "":
		return l.name
	case l.number != 0:
		return fmt.Sprint(l.number)
	case !l.id.IsZero():
		return l.id.String()
	}
	return ""
}

// resolve finds the device that a line is about. The error is that of a view.
func (r *importRun) resolve(ctx context.Context, number int, l *importLine) error {
	if err := r.c.importing.await(ctx, r.c, l); err != nil {
		return err
	}
	found, err := r.find(l)
	if err != nil {
		return err
	}
	switch {
	case len(found) > 1:
		r.bad(number, l, fmt.Errorf("%d devices are named %q; give a number: %s", len(found), clip(l.name), numbersOf(found)))
	case len(found) == 1:
		r.known(number, l, &found[0])
	case l.number != 0:
		r.bad(number, l, fmt.Errorf("there is no device %d; the site gives the numbers of new ones", l.number))
	case l.name == "":
		r.bad(number, l, fmt.Errorf("there is no device with the id %s, and a new one needs a name", l.id))
	default:
		r.fresh(number, l)
	}
	return nil
}

// find returns the devices that a line may be about: the one of its number, else of
// its id, else those of its name.
func (r *importRun) find(l *importLine) ([]device.Device, error) {
	if l.number != 0 {
		d, ok, err := r.c.cfg.Devices.Get(l.number)
		if err != nil || !ok || d.Removed() {
			return nil, err
		}
		return []device.Device{d}, nil
	}
	if !l.id.IsZero() {
		found, err := r.c.cfg.Devices.Find(l.id.String())
		return only(found, func(d *device.Device) bool { return d.ID == l.id }), err
	}
	found, err := r.c.cfg.Devices.Find(l.name)
	return only(found, func(d *device.Device) bool { return strings.EqualFold(d.Name, l.name) }), err
}

// only leaves those that are meant: a word can be a number or an id too.
func only(all []device.Device, meant func(*device.Device) bool) (found []device.Device) {
	for i := range all {
		if meant(&all[i]) {
			found = append(found, all[i])
		}
	}
	return found
}

// known takes a line about a device that there is.
func (r *importRun) known(number int, l *importLine, d *device.Device) {
	switch {
	case !l.id.IsZero() && l.id != d.ID:
		r.bad(number, l, fmt.Errorf("device %d has the id %s, not %s", d.Number, d.ID, l.id))
		return
	case l.name != "" && l.name != d.Name && d.HasJoined() && !strings.EqualFold(l.name, d.Name):
		r.bad(number, l, fmt.Errorf("device %d is named %q by its agent; an import does not change that", d.Number, clip(d.Name)))
		return
	}
	known := r.byNumber[d.Number]
	if known == nil {
		known = &importDevice{number: d.Number, id: d.ID, was: d.Name}
		r.byNumber[d.Number] = known
		r.devices = append(r.devices, known)
	}
	if l.name != "" && !d.HasJoined() {
		known.name = l.name
	}
	known.lines = append(known.lines, l)
}

// fresh takes a line about a device that there is not, or only from an earlier line.
func (r *importRun) fresh(number int, l *importLine) {
	name := strings.ToLower(l.name)
	d := r.byName[name]
	if !l.id.IsZero() {
		d = r.byID[l.id]
	}
	if d == nil {
		d = &importDevice{id: l.id, name: l.name}
		if d.id.IsZero() {
			d.id = task.NewRandomID()
		}
		r.byID[d.id] = d
		if r.byName[name] == nil {
			r.byName[name] = d
		}
		r.devices = append(r.devices, d)
	}
	d.lines = append(d.lines, l)
}

// write compares the devices with what there is, and appends what differs.
func (r *importRun) write(ctx context.Context) error {
	events := &importEvents{source: r.in.Source, add: r.append}
	position, err := r.c.cfg.Inventory.At(func(s *inventory.Snapshot) error {
		for _, d := range r.devices {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			change, differs, err := r.compare(s, d)
			if err != nil {
				return err
			}
			r.count(d, differs)
			if !differs || r.in.DryRun {
				continue
			}
			r.c.importing.remember(0, words(d.number, d.id, d.was, d.name))
			if err := events.device(ctx, change); err != nil {
				return err
			}
		}
		return events.flush(ctx)
	})
	r.reply.Events, r.reply.Event = events.events, max(events.last, position)
	return err
}

func (r *importRun) count(d *importDevice, differs bool) {
	switch {
	case d.number == 0:
		r.reply.New++
	case differs:
		r.reply.Changed++
	default:
		r.reply.Unchanged++
	}
}

func (r *importRun) compare(s *inventory.Snapshot, d *importDevice) (event.ImportedDevice, bool, error) {
	if d.number == 0 {
		return event.ImportedDevice{New: true, ID: d.id, Name: d.name, Classes: importState{}.changes(d.lines)}, true, nil
	}
	shown, _, err := s.Show(d.number)
	if err != nil {
		return event.ImportedDevice{}, false, err
	}
	change := event.ImportedDevice{Device: d.number, Classes: importStateOf(r.schema, &shown).changes(d.lines)}
	if d.name != "" && d.name != d.was {
		change.Name = d.name
	}
	return change, change.Name != "" || len(change.Classes) > 0, nil
}

func (r *importRun) append(ctx context.Context, p *event.DevicesImported) (uint64, error) {
	number, err := r.c.cfg.Authority.Import(ctx, actorOf(ctx), p)
	if err != nil {
		return 0, err
	}
	for i := range p.Devices {
		r.c.importing.remember(number, words(p.Devices[i].Device, task.ID{}))
	}
	return number, nil
}

// settle lets the views reach the end of the journal, unless they only lack what was
// imported just now.
func (m *importer) settle(ctx context.Context, c *Console) error {
	m.mu.Lock()
	last, crowded := m.last, len(m.recent) > maxRecent
	m.mu.Unlock()
	behind := c.position() < last
	if behind && crowded {
		if err := c.waitFor(ctx, last); err != nil {
			return err
		}
		behind = false
	}
	if behind {
		return nil
	}
	c.catchUp(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recent = map[string]bool{}
	return nil
}

// await waits for the views if a line names what was imported just now.
func (m *importer) await(ctx context.Context, c *Console, l *importLine) error {
	m.mu.Lock()
	hit := false
	for _, w := range words(l.number, l.id, l.name) {
		hit = hit || m.recent[w]
	}
	last := m.last
	m.mu.Unlock()
	if !hit {
		return nil
	}
	if err := c.waitFor(ctx, last); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recent = map[string]bool{}
	return nil
}

// remember takes note of what an event is about to bring, or has brought.
func (m *importer) remember(last uint64, words []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = max(m.last, last)
	for _, w := range words {
		m.recent[w] = true
	}
}

// words are how a line can name a device, each with a letter that tells them apart.
func words(number uint32, id task.ID, names ...string) (all []string) {
	if number != 0 {
		all = append(all, "#"+strconv.FormatUint(uint64(number), 10))
	}
	if !id.IsZero() {
		all = append(all, "i"+string(id[:]))
	}
	for _, n := range names {
		if n != "" {
			all = append(all, "n"+strings.ToLower(n))
		}
	}
	return all
}

func (c *Console) removeDevice(ctx context.Context, in *blockInput) (*out[Written], error) {
	const doing = "remove the device"
	d, err := c.findDeviceNow(ctx, in.Device)
	if err != nil {
		return nil, c.failView(ctx, doing, err)
	}
	number, err := c.cfg.Authority.Remove(ctx, actorOf(ctx), d.Number, in.Body.Reason)
	if err != nil {
		return nil, c.fail(ctx, doing, err)
	}
	return answerAt(Written{number}, number)
}
