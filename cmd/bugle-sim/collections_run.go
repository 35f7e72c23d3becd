package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/cmd/bugle-sim/estate"
	"github.com/bugle-fleet/bugle/cmd/bugle-sim/estate/referee"
	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// A collectionsLine is what a phase of the command collections prints. The unit of a
// figure is the end of its name.
type collectionsLine struct {
	Target      string             `json:"target"`
	Devices     int                `json:"devices"`
	Collections int                `json:"collections"`
	Seed        uint               `json:"seed"`
	Round       int                `json:"round"`
	Phase       string             `json:"phase"`
	Figures     map[string]float64 `json:"figures"`
}

// A trial is one seed: the engine, its peers, and what they did.
type trial struct {
	o    *collectionsOptions
	seed uint
	out  *json.Encoder

	made   *estate.Estate
	now    map[uint32]*schema.Record // of the devices that changed
	engine *engine.Engine
	all    []engine.Collection
	peers  []*referee.Peer

	took       map[string][]time.Duration // by target and phase
	mismatches int
	changes    int // of membership, incremental ones
	delta      int // their bytes
}

const ours = "bugle"

func (o *collectionsOptions) run(ctx context.Context, out, log io.Writer) error {
	mismatches := 0
	for _, seed := range o.seeds {
		t := &trial{o: o, seed: seed, out: json.NewEncoder(out), now: map[uint32]*schema.Record{}, took: map[string][]time.Duration{}}
		err := t.run(ctx, log)
		mismatches += t.mismatches
		if err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
	}
	if mismatches > 0 {
		return fmt.Errorf("%d collections have other members than those of a peer", mismatches)
	}
	return nil
}

func (t *trial) run(ctx context.Context, log io.Writer) (err error) {
	t.made, err = estate.New(estate.Options{Devices: t.o.devices, Collections: t.o.collections, Seed: uint64(t.seed)}, schema.Standard())
	if err != nil {
		return err
	}
	defer func() {
		for _, p := range t.peers {
			err = errors.Join(err, p.Close())
		}
	}()
	if err := t.start(); err != nil {
		return err
	}
	if err := t.startPeers(ctx, log); err != nil {
		return err
	}
	for round := 1; round <= t.o.rounds; round++ {
		if err := t.warm(round); err != nil {
			return err
		}
	}
	for round := 1; round <= t.o.rounds; round++ {
		if err := t.change(round); err != nil {
			return err
		}
	}
	if err := t.end(); err != nil {
		return err
	}
	return nil
}

func (t *trial) print(target string, round int, phase string, figures map[string]float64) error {
	return t.out.Encode(collectionsLine{target, t.o.devices, t.o.collections, t.seed, round, phase, figures})
}

// timed prints a phase that took some time, and keeps it for the ratios.
func (t *trial) timed(target string, round int, phase string, took time.Duration, more map[string]float64) error {
	t.took[target+" "+phase] = append(t.took[target+" "+phase], took)
	figures := map[string]float64{"wallMs": ms(took)}
	for name, v := range more {
		figures[name] = v
	}
	return t.print(target, round, phase, figures)
}

// records are all, as they are by now.
func (t *trial) records() iter.Seq[*schema.Record] {
	return func(yield func(*schema.Record) bool) {
		for device := uint32(1); device <= uint32(t.made.Devices()); device++ {
			r := t.now[device]
			if r == nil {
				r = t.made.Record(device)
			}
			if !yield(r) {
				return
			}
		}
	}
}

// start loads the engine and evaluates all for the first time. Making the records is
// no part of the time.
func (t *trial) start() error {
	before := heap()
	t.engine = engine.New(t.made.Schema())
	var loading time.Duration
	for r := range t.records() {
		began := time.Now()
		if err := t.engine.Put(r); err != nil {
			return err
		}
		loading += time.Since(began)
	}
	if err := t.timed(ours, 0, "load", loading, nil); err != nil {
		return err
	}
	began := time.Now()
	all, err := t.made.Compile()
	if err != nil {
		return err
	}
	t.all = all
	compiled := time.Since(began)
	if err := t.engine.Define(t.all); err != nil {
		return err
	}
	if err := t.timed(ours, 0, "define", time.Since(began), map[string]float64{"parseMs": ms(compiled)}); err != nil {
		return err
	}
	took, changes, err := t.evaluate(engine.Request{Now: estate.Now})
	if err != nil {
		return err
	}
	if err := t.timed(ours, 0, "full-cold", took, map[string]float64{"members": float64(members(changes))}); err != nil {
		return err
	}
	return t.print(ours, 0, "sizes", t.sizes(heap()-before))
}

// heap is what is in use after a collection of garbage.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func members(changes []engine.Change) (n int) {
	for i := range changes {
		n += changes[i].Members
	}
	return n
}

func (t *trial) evaluate(r engine.Request) (time.Duration, []engine.Change, error) {
	runtime.GC() // that of another phase is not part of this one
	began := time.Now()
	changes, err := t.engine.Evaluate(r)
	return time.Since(began), changes, err
}

func (t *trial) sizes(heap float64) map[string]float64 {
	stored := uint64(0)
	for _, id := range t.ids() {
		set := t.engine.Members(id).Clone()
		set.RunOptimize()
		stored += set.GetSerializedSizeInBytes()
	}
	s := t.engine.Stats()
	return map[string]float64{"heapMiB": heap / (1 << 20), "membersStoredMiB": float64(stored) / (1 << 20), "conditions": float64(s.Conditions),
		"valuesMiB": float64(s.Values) / (1 << 20), "membersMiB": float64(s.Members) / (1 << 20)}
}

func (t *trial) ids() []string {
	ids := []string{event.RootCollection}
	for i := range t.all {
		ids = append(ids, t.all[i].ID)
	}
	return ids
}

// startPeers loads those that are there, and evaluates all for the first time.
func (t *trial) startPeers(ctx context.Context, log io.Writer) error {
	for _, name := range t.o.peers {
		var p *referee.Peer
		var err error
		if name == referee.Postgres {
			p, err = referee.StartPostgres(ctx, t.o.dir)
		} else {
			p, err = referee.StartDuckDB(ctx, t.o.dir, t.o.duckdb)
		}
		if errors.Is(err, referee.ErrMissing) {
			fmt.Fprintf(log, "bugle-sim: left out: %v\n", err)
			continue
		} else if err != nil {
			return err
		}
		t.peers = append(t.peers, p)
		if err := t.loadPeer(p); err != nil {
			return err
		}
	}
	return nil
}

func (t *trial) loadPeer(p *referee.Peer) error {
	took, err := p.Load(t.made.Schema(), t.made.Properties(), t.records())
	if err != nil {
		return err
	}
	if err := t.timed(p.Name, 0, "load", took, nil); err != nil {
		return err
	}
	if err := p.Define(t.all); err != nil {
		return err
	}
	return t.ask(p, 0, "full-cold", false)
}

// ask evaluates in a peer and compares all members.
func (t *trial) ask(p *referee.Peer, round int, phase string, changed bool) error {
	took, err := p.Evaluate(estate.Now, changed)
	if err != nil {
		return err
	}
	if err := t.timed(p.Name, round, phase, took, nil); err != nil {
		return err
	}
	return t.compare(p, round, phase)
}

func (t *trial) compare(p *referee.Peer, round int, phase string) error {
	theirs, err := p.Members()
	if err != nil {
		return err
	}
	wrong, all := 0, uint64(0)
	for _, id := range t.ids() {
		mine := t.engine.Members(id)
		all += mine.GetCardinality()
		if mine.Equals(theirs[id]) {
			continue
		}
		wrong++
		if wrong <= maxShown {
			fmt.Fprintf(t.o.complaints, "bugle-sim: collection %s: %s has %d members, bugle %d; only the one: %v, only the other: %v\n", id, p.Name,
				theirs[id].GetCardinality(), mine.GetCardinality(), few(roaring.AndNot(theirs[id], mine)), few(roaring.AndNot(mine, theirs[id])))
		}
	}
	t.mismatches += wrong
	return t.print(p.Name, round, "compare", map[string]float64{"collections": float64(len(t.all) + 1), "members": float64(all), "mismatches": float64(wrong)})
}

// maxShown is how many collections that differ are shown, and devices of each.
const maxShown = 5

func few(set *roaring.Bitmap) []uint32 {
	all := set.ToArray()
	return all[:min(maxShown, len(all))]
}

// warm evaluates all once more, when nothing changed.
func (t *trial) warm(round int) error {
	took, changes, err := t.evaluate(engine.Request{Now: estate.Now})
	if err != nil {
		return err
	}
	if n, _, err := delta(changes); n > 0 || err != nil {
		return errors.Join(err, fmt.Errorf("nothing changed, but %d memberships did", n))
	}
	if err := t.timed(ours, round, "full-warm", took, nil); err != nil {
		return err
	}
	for _, p := range t.peers {
		if err := t.ask(p, round, "full-warm", false); err != nil {
			return err
		}
	}
	return nil
}

// delta is how many memberships changed, and how many bytes they take in an event.
func delta(changes []engine.Change) (n, bytes int, err error) {
	for _, c := range changes {
		for _, set := range []*roaring.Bitmap{c.Added, c.Removed} {
			b, err := event.AppendSet(nil, set)
			if err != nil {
				return 0, 0, err
			}
			n, bytes = n+int(set.GetCardinality()), bytes+len(b)
		}
	}
	return n, bytes, nil
}

// change lets devices change, and evaluates all collections for those alone. Then a
// full evaluation must change nothing.
func (t *trial) change(round int) error {
	batch := t.made.Batch(round, t.o.changed)
	records := make([]*schema.Record, len(batch))
	for i, device := range batch {
		before := t.now[device]
		if before == nil {
			before = t.made.Record(device)
		}
		records[i] = t.made.Change(before, round)
		t.now[device] = records[i]
	}
	began := time.Now()
	for _, r := range records {
		if err := t.engine.Put(r); err != nil {
			return err
		}
	}
	if err := t.timed(ours, round, "apply", time.Since(began), nil); err != nil {
		return err
	}
	took, changes, err := t.evaluate(engine.Request{Now: estate.Now, Devices: roaring.BitmapOf(batch...)})
	if err != nil {
		return err
	}
	n, bytes, err := delta(changes)
	if err != nil {
		return err
	}
	t.changes, t.delta = t.changes+n, t.delta+bytes
	if err := t.timed(ours, round, "incremental", took, map[string]float64{"changes": float64(n), "deltaBytes": float64(bytes)}); err != nil {
		return err
	}
	if err := t.whole(round); err != nil {
		return err
	}
	for _, p := range t.peers {
		if err := t.changePeer(p, round, records); err != nil {
			return err
		}
	}
	return nil
}

// whole compares the incremental evaluation with a full one.
func (t *trial) whole(round int) error {
	took, changes, err := t.evaluate(engine.Request{Now: estate.Now})
	if err != nil {
		return err
	}
	wrong := 0
	for _, c := range changes {
		if !c.Added.IsEmpty() || !c.Removed.IsEmpty() {
			wrong++
			fmt.Fprintf(t.o.complaints, "bugle-sim: collection %s: a full evaluation after an incremental one adds %v and removes %v\n", c.ID, few(c.Added), few(c.Removed))
		}
	}
	t.mismatches += wrong
	return t.timed(ours, round, "full-after", took, map[string]float64{"mismatches": float64(wrong)})
}

func (t *trial) changePeer(p *referee.Peer, round int, records []*schema.Record) error {
	took, err := p.Apply(records)
	if err != nil {
		return err
	}
	if err := t.timed(p.Name, round, "apply", took, nil); err != nil {
		return err
	}
	return t.ask(p, round, "incremental", true)
}

// end compares once more after a full evaluation everywhere, and prints sizes and
// ratios.
func (t *trial) end() error {
	figures := map[string]float64{"changes": float64(t.changes), "deltaBytesPerChange": float64(t.delta) / float64(max(1, t.changes))}
	if err := t.print(ours, 0, "deltas", figures); err != nil {
		return err
	}
	for _, p := range t.peers {
		if err := t.ask(p, 0, "full-after", false); err != nil {
			return err
		}
		size, err := p.Size()
		if err != nil {
			return err
		}
		if err := t.print(p.Name, 0, "sizes", map[string]float64{"membersStoredMiB": float64(size) / (1 << 20)}); err != nil {
			return err
		}
		if err := t.print(p.Name, 0, "ratio", t.ratios(p.Name)); err != nil {
			return err
		}
	}
	return nil
}

// ratios are how many times longer a peer takes.
func (t *trial) ratios(peer string) map[string]float64 {
	figures := map[string]float64{}
	for name, phase := range map[string]string{"loadTimes": "load", "fullColdTimes": "full-cold", "fullWarmTimes": "full-warm", "incrementalTimes": "incremental"} {
		theirs, mine := median(t.took[peer+" "+phase]), median(t.took[ours+" "+phase])
		if mine > 0 {
			figures[name] = float64(theirs) / float64(mine)
		}
	}
	return figures
}

func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
