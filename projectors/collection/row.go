package collection

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/projectors"
)

const rowVersion = 1

// limits of a row: a definition is as large as an event at most.
var limits = bounded.Limits{Bytes: projectors.MaxValue, Depth: 4, Items: 4096}

// Letters of keys, see the documentation of the package.
const (
	prefixDefinition = 'd'
	prefixState      = 's'
	prefixRun        = 'h'
	prefixCycle      = 'c'
	prefixMembers    = 'm'
	prefixFlips      = 'x'
)

func idKey(prefix byte, id string) []byte {
	k := make([]byte, 0, 2+event.MaxCollectionID+3)
	return append(append(k, prefix, byte(len(id))), id...)
}

// parseKey returns the id of a key and what follows it.
func parseKey(key []byte) (id string, rest []byte, err error) {
	if len(key) < 2 || len(key) < 2+int(key[1]) {
		return "", nil, fmt.Errorf("key %x has no id", key)
	}
	n := 2 + int(key[1])
	return string(key[2:n]), key[n:], nil
}

func runsKey(id string, queue event.EvaluationQueue) []byte {
	return append(idKey(prefixRun, id), byte(queue))
}

func runKey(id string, queue event.EvaluationQueue, slot uint64) []byte {
	return append(runsKey(id, queue), byte(slot))
}

func chunkKey(prefix byte, id string, chunk uint16) []byte {
	return binary.BigEndian.AppendUint16(idKey(prefix, id), chunk)
}

func cyclesKey(queue event.EvaluationQueue) []byte { return []byte{prefixCycle, byte(queue)} }

func cycleKey(queue event.EvaluationQueue, cycle uint64) []byte {
	return binary.BigEndian.AppendUint64(cyclesKey(queue), cycle)
}

func encode(what string, write func(*bounded.Writer)) ([]byte, error) {
	value, err := bounded.Encode(nil, write)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", what, err)
	}
	return value, nil
}

func decode(what string, value []byte, read func(*bounded.Reader)) error {
	err := bounded.Decode(value, limits, func(r *bounded.Reader) error {
		r.Version(rowVersion)
		read(r)
		r.End()
		return nil
	})
	if err != nil {
		return fmt.Errorf("decode %s: %w", what, err)
	}
	return nil
}

// The row of a definition has its queries and ids flat in three lists.
func encodeDefinition(c *Info) ([]byte, error) {
	return encode("definition of "+c.ID, func(w *bounded.Writer) {
		w.Array(13)
		w.Uint(rowVersion)
		w.Uint(c.Version)
		c.Created.encode(w)
		c.Defined.encode(w)
		w.Exact(c.Name, event.MaxName)
		w.String(c.Comment, event.MaxText)
		w.Exact(c.Limit, event.MaxCollectionID)
		w.Bytes(c.Direct, event.MaxBitmap)
		w.List(2*len(c.Queries), 2*event.MaxQueries)
		for _, q := range c.Queries {
			w.Exact(q.Name, event.MaxName)
			w.Exact(q.WQL, event.MaxQuery)
		}
		for _, ids := range [][]string{c.Include, c.Exclude} {
			w.List(len(ids), event.MaxRules)
			for _, id := range ids {
				w.Exact(id, event.MaxCollectionID)
			}
		}
		w.Exact(c.Schedule, event.MaxName)
		w.Bool(c.Incremental)
	})
}

func decodeDefinition(value []byte) (c Info, err error) {
	err = decode("definition", value, func(r *bounded.Reader) {
		c.Version = r.Uint64()
		c.Created.decode(r)
		c.Defined.decode(r)
		c.Name = r.String(event.MaxName)
		c.Comment = r.String(event.MaxText)
		c.Limit = r.String(event.MaxCollectionID)
		c.Direct = r.Bytes(event.MaxBitmap)
		n := r.Array(2 * event.MaxQueries)
		for i := 0; i < n/2 && r.Err() == nil; i++ {
			c.Queries = append(c.Queries, event.CollectionQuery{Name: r.String(event.MaxName), WQL: r.String(event.MaxQuery)})
		}
		r.End()
		for _, ids := range []*[]string{&c.Include, &c.Exclude} {
			for r.Array(event.MaxRules); r.More(); {
				*ids = append(*ids, r.String(event.MaxCollectionID))
			}
			r.End()
		}
		c.Schedule = r.String(event.MaxName)
		c.Incremental = r.Bool()
	})
	return c, err
}

// The state of a collection: when its members changed and by which events, then
// for each queue how many runs there were and the last one; an empty list if none.
func encodeState(c *entry) ([]byte, error) {
	return encode("state of "+c.ID, func(w *bounded.Writer) {
		w.Array(4 + queues)
		w.Uint(rowVersion)
		c.Changed.encode(w)
		w.List(len(c.deltas), MaxDeltas)
		for i, d := range c.deltas {
			if i > 0 {
				d -= c.deltas[i-1]
			}
			w.Uint(d)
		}
		w.Bool(c.earlier)
		for i := range c.stats {
			st := &c.stats[i]
			if st.Runs == 0 {
				w.Array(0)
				continue
			}
			w.Array(3)
			w.Uint(st.Runs)
			st.Changed.encode(w)
			st.Last.encode(w)
		}
	})
}

func decodeState(value []byte, c *entry) error {
	return decode("state", value, func(r *bounded.Reader) {
		c.Changed.decode(r)
		number := uint64(0)
		for r.Array(MaxDeltas); r.More(); {
			number += r.Uint64()
			c.deltas = append(c.deltas, number)
		}
		r.End()
		c.earlier = r.Bool()
		for i := range c.stats {
			st := &c.stats[i]
			if r.Array(16) > 0 {
				st.Runs = r.Uint64()
				st.Changed.decode(r)
				st.Last.decode(r)
			}
			r.End()
			if st.Last.Event > c.Evaluated.Event {
				c.Evaluated = st.Last
			}
		}
	})
}

func (m *Mark) encode(w *bounded.Writer) {
	w.Array(2)
	w.Uint(m.Event)
	w.Int(nanos(m.At))
}

func (m *Mark) decode(r *bounded.Reader) {
	r.Array(16)
	m.Event = r.Uint64()
	m.At = instant(r.Int64())
	r.End()
}

func encodeRun(run *Run) ([]byte, error) {
	return encode("run", func(w *bounded.Writer) {
		w.Array(2)
		w.Uint(rowVersion)
		run.encode(w)
	})
}

func decodeRun(value []byte) (run Run, err error) {
	err = decode("run", value, run.decode)
	return run, err
}

func (run *Run) encode(w *bounded.Writer) {
	w.Array(14)
	w.Uint(uint64(run.Queue))
	w.Uint(run.Cycle)
	w.Uint(run.Event)
	w.Int(nanos(run.Done))
	w.Uint(uint64(run.Cause))
	w.Uint(run.By)
	w.Uint(run.Basis)
	w.Int(nanos(run.Started))
	w.Int(int64(run.Took))
	w.Uint(run.Members)
	w.Uint(run.Added)
	w.Uint(run.Removed)
	w.Uint(uint64(run.Computed))
	w.Uint(uint64(run.Reused))
}

func (run *Run) decode(r *bounded.Reader) {
	r.Array(32)
	run.Queue = event.EvaluationQueue(r.Uint(uint64(queues)))
	run.Cycle = r.Uint64()
	run.Event = r.Uint64()
	run.Done = instant(r.Int64())
	run.Cause = event.EvaluationCause(r.Uint(1<<8 - 1))
	run.By = r.Uint64()
	run.Basis = r.Uint64()
	run.Started = instant(r.Int64())
	run.Took = time.Duration(r.Int64())
	run.Members = r.Uint64()
	run.Added = r.Uint64()
	run.Removed = r.Uint64()
	run.Computed = r.Uint32()
	run.Reused = r.Uint32()
	r.End()
}

func encodeCycle(c *Cycle) ([]byte, error) {
	return encode("cycle", func(w *bounded.Writer) {
		w.Array(18)
		w.Uint(rowVersion)
		w.Uint(uint64(c.Queue))
		w.Uint(c.Cycle)
		w.Uint(c.Event)
		w.Int(nanos(c.Done))
		w.Uint(uint64(c.Cause))
		w.Uint(c.By)
		w.Uint(c.Basis)
		w.Int(nanos(c.Started))
		w.Int(nanos(c.Clock))
		w.Int(int64(c.Took))
		w.Uint(uint64(c.Devices))
		w.Uint(uint64(c.Count))
		w.Uint(uint64(c.Changed))
		w.Uint(c.Added)
		w.Uint(c.Removed)
		w.Uint(uint64(c.Parts))
		w.Uint(uint64(c.Of))
	})
}

func decodeCycle(value []byte) (c Cycle, err error) {
	err = decode("cycle", value, func(r *bounded.Reader) {
		c.Queue = event.EvaluationQueue(r.Uint(uint64(queues)))
		c.Cycle = r.Uint64()
		c.Event = r.Uint64()
		c.Done = instant(r.Int64())
		c.Cause = event.EvaluationCause(r.Uint(1<<8 - 1))
		c.By = r.Uint64()
		c.Basis = r.Uint64()
		c.Started = instant(r.Int64())
		c.Clock = instant(r.Int64())
		c.Took = time.Duration(r.Int64())
		c.Devices = r.Uint32()
		c.Count = r.Uint32()
		c.Changed = r.Uint32()
		c.Added = r.Uint64()
		c.Removed = r.Uint64()
		c.Parts = uint16(r.Uint(1<<16 - 1))
		c.Of = uint16(r.Uint(1<<16 - 1))
	})
	return c, err
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
