package event

import (
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// OperationRequested is an administrator's act: a kind of task for a set of
// devices. The set is resolved here, once; what a collection or the fleet
// becomes later does not change it.
type OperationRequested struct {
	Task    task.Signed // holds id, kind, parameters, clocks, target root
	Targets []byte      // the device numbers, a serialized 32-bit roaring bitmap
	Count   uint32      // how many they are
	Online  uint32      // how many of them were online
	Offline []byte      // which were not, as a roaring bitmap
	Target  string      // what was asked for, in words: "all", "devices", a collection
	Reason  string
	RetryOf task.ID // the operation that this one repeats, or zero

	// Since version 2. An operation of version 1 has priority 2 and no more.
	Priority uint8 // order in the send queues: 1 before 2 before 3
	Durable  bool  // also in the policy of its targets
	Pacing   Pacing

	// Since version 3: of a push to a collection, else empty and 0.
	Collection string // its id
	AsOf       uint64 // the event that its members were as of
}

// Pacing says how a large operation goes out. The zero value is: to all at once,
// at not-before. Any other is held until the site releases it, wave by wave.
type Pacing struct {
	Waves         []uint32      // sizes of the first waves; who is left is the last one
	Spread        time.Duration // over which each wave is spread
	Rate          uint32        // devices a second at most, 0 for no bound
	StopOnFailure uint8         // stop once more than this many percent failed; 0 for never
}

// IsZero tells whether nothing was asked for.
func (p *Pacing) IsZero() bool {
	return len(p.Waves) == 0 && p.Spread == 0 && p.Rate == 0 && p.StopOnFailure == 0
}

// MaxWaves is the largest number of waves besides the last.
const MaxWaves = 64

// MaxBitmap is the longest serialized bitmap of targets in bytes.
const MaxBitmap = 120 << 10

// Kind returns operation.requested.
func (*OperationRequested) Kind() Kind { return KindOperationRequest }

func (p *OperationRequested) encode(w *bounded.Writer) {
	w.Array(17)
	w.Uint(3)
	w.Bytes(p.Task, 16<<10)
	w.Bytes(p.Targets, MaxBitmap)
	w.Uint(uint64(p.Count))
	w.Uint(uint64(p.Online))
	w.Bytes(p.Offline, MaxBitmap)
	w.String(p.Target, MaxName)
	w.String(p.Reason, MaxText)
	w.Raw(p.RetryOf[:])
	w.Uint(uint64(p.Priority))
	w.Bool(p.Durable)
	w.List(len(p.Pacing.Waves), MaxWaves)
	for _, n := range p.Pacing.Waves {
		w.Uint(uint64(n))
	}
	w.Int(int64(p.Pacing.Spread))
	w.Uint(uint64(p.Pacing.Rate))
	w.Uint(uint64(p.Pacing.StopOnFailure))
	w.Exact(p.Collection, MaxCollectionID)
	w.Uint(p.AsOf)
}

func (p *OperationRequested) decode(r *bounded.Reader) {
	version := r.Version(3)
	p.Task = r.Bytes(16 << 10)
	p.Targets = r.Bytes(MaxBitmap)
	p.Count = r.Uint32()
	p.Online = r.Uint32()
	p.Offline = r.Bytes(MaxBitmap)
	p.Target = r.String(MaxName)
	p.Reason = r.String(MaxText)
	r.Raw(p.RetryOf[:])
	if p.Priority = 2; version >= 2 {
		p.decodePacing(r)
	}
	if version >= 3 {
		p.Collection, p.AsOf = r.String(MaxCollectionID), r.Uint64()
	}
	r.End()
}

func (p *OperationRequested) decodePacing(r *bounded.Reader) {
	p.Priority = uint8(r.Uint(1<<8 - 1))
	p.Durable = r.Bool()
	r.Array(MaxWaves)
	for r.More() {
		p.Pacing.Waves = append(p.Pacing.Waves, r.Uint32())
	}
	r.End()
	p.Pacing.Spread = time.Duration(r.Int64())
	p.Pacing.Rate = r.Uint32()
	p.Pacing.StopOnFailure = uint8(r.Uint(1<<8 - 1))
}

// OperationReleased lets a wave of an operation go. What is not released is sent
// to nobody.
type OperationReleased struct {
	Operation task.ID
	Wave      uint32 // from 1
	Last      bool   // no further one follows
	Devices   []byte // a roaring bitmap
	Count     uint32
	Online    []byte        // of them those that were online, as a roaring bitmap
	Spread    time.Duration // over which listeners spread the wave
}

// Kind returns operation.released.
func (*OperationReleased) Kind() Kind { return KindOperationReleased }

func (p *OperationReleased) encode(w *bounded.Writer) {
	w.Array(8)
	w.Uint(1)
	w.Raw(p.Operation[:])
	w.Uint(uint64(p.Wave))
	w.Bool(p.Last)
	w.Bytes(p.Devices, MaxBitmap)
	w.Uint(uint64(p.Count))
	w.Bytes(p.Online, MaxBitmap)
	w.Int(int64(p.Spread))
}

func (p *OperationReleased) decode(r *bounded.Reader) {
	r.Version(1)
	r.Raw(p.Operation[:])
	p.Wave = r.Uint32()
	p.Last = r.Bool()
	p.Devices = r.Bytes(MaxBitmap)
	p.Count = r.Uint32()
	p.Online = r.Bytes(MaxBitmap)
	p.Spread = time.Duration(r.Int64())
	r.End()
}

// OperationStopped is the site's own end of an operation of which too much
// failed: as a cancel for all who have not begun it.
type OperationStopped struct {
	Operation task.ID
	Wave      uint32 // that was under way
	Failed    uint32 // failed or timed out
	Final     uint32 // of so many that had ended
	Limit     uint8  // percent
	Cancel    []byte // a signed [task.Cancel]
	Reason    string
}

// Kind returns operation.stopped.
func (*OperationStopped) Kind() Kind { return KindOperationStopped }

func (p *OperationStopped) encode(w *bounded.Writer) {
	w.Array(8)
	w.Uint(1)
	w.Raw(p.Operation[:])
	w.Uint(uint64(p.Wave))
	w.Uint(uint64(p.Failed))
	w.Uint(uint64(p.Final))
	w.Uint(uint64(p.Limit))
	w.Bytes(p.Cancel, task.MaxCancel)
	w.String(p.Reason, MaxText)
}

func (p *OperationStopped) decode(r *bounded.Reader) {
	r.Version(1)
	r.Raw(p.Operation[:])
	p.Wave = r.Uint32()
	p.Failed = r.Uint32()
	p.Final = r.Uint32()
	p.Limit = uint8(r.Uint(1<<8 - 1))
	p.Cancel = r.Bytes(task.MaxCancel)
	p.Reason = r.String(MaxText)
	r.End()
}

// OperationCancelled ends an operation for all who have not begun it.
type OperationCancelled struct {
	Operation task.ID
	Reason    string
	Cancel    []byte // a signed [task.Cancel], since version 2
}

// Kind returns operation.cancelled.
func (*OperationCancelled) Kind() Kind { return KindOperationCancel }

func (p *OperationCancelled) encode(w *bounded.Writer) {
	w.Array(4)
	w.Uint(2)
	w.Raw(p.Operation[:])
	w.String(p.Reason, MaxText)
	w.Bytes(p.Cancel, task.MaxCancel)
}

func (p *OperationCancelled) decode(r *bounded.Reader) {
	version := r.Version(2)
	r.Raw(p.Operation[:])
	p.Reason = r.String(MaxText)
	if version >= 2 {
		p.Cancel = r.Bytes(task.MaxCancel)
	}
	r.End()
}

// OperationExpired says that deliver-by has passed: who has not acknowledged the
// task will not get it.
type OperationExpired struct{ Operation task.ID }

// Kind returns operation.expired.
func (*OperationExpired) Kind() Kind { return KindOperationExpired }

func (p *OperationExpired) encode(w *bounded.Writer) { encodeOperation(w, p.Operation) }
func (p *OperationExpired) decode(r *bounded.Reader) { p.Operation = decodeOperation(r) }

// OperationClosed says that deliver-by, run timeout and ten minutes have passed:
// who has not reported is lost.
type OperationClosed struct{ Operation task.ID }

// Kind returns operation.closed.
func (*OperationClosed) Kind() Kind { return KindOperationClosed }

func (p *OperationClosed) encode(w *bounded.Writer) { encodeOperation(w, p.Operation) }
func (p *OperationClosed) decode(r *bounded.Reader) { p.Operation = decodeOperation(r) }

func encodeOperation(w *bounded.Writer, id task.ID) {
	w.Array(2)
	w.Uint(1)
	w.Raw(id[:])
}

func decodeOperation(r *bounded.Reader) (id task.ID) {
	r.Version(1)
	r.Raw(id[:])
	r.End()
	return id
}

// A ResultRow is one transition of one device in one operation. A row that the
// agent said carries its MAC; one that the listener said (sent) has none.
type ResultRow struct {
	task.Result
	MAC [task.MACSize]byte
}

// ResultsReported are rows of one results file, at most [MaxEntries].
type ResultsReported struct{ Rows []ResultRow }

// Kind returns results.reported.
func (*ResultsReported) Kind() Kind { return KindResultsReported }

const resultFields = 8

func (p *ResultsReported) encode(w *bounded.Writer) {
	w.Array(2)
	w.Uint(1)
	w.List(len(p.Rows), MaxEntries)
	for i := range p.Rows {
		row := &p.Rows[i]
		if !row.State.Valid() {
			w.Fail("state %d of device %d", row.State, row.Device)
		}
		w.Array(resultFields)
		w.Raw(row.Operation[:])
		w.Uint(uint64(row.Device))
		w.Uint(uint64(row.Attempt))
		w.Uint(uint64(row.State))
		w.Int(int64(row.Code))
		w.Int(nanos(row.At))
		w.String(row.Detail, task.MaxDetail)
		w.Raw(row.MAC[:])
	}
}

func (p *ResultsReported) decode(r *bounded.Reader) {
	r.Version(1)
	n := r.Array(MaxEntries)
	p.Rows = make([]ResultRow, 0, n)
	for r.More() {
		var row ResultRow
		r.Array(64)
		r.Raw(row.Operation[:])
		row.Device = r.Uint32()
		row.Attempt = uint8(r.Uint(1<<8 - 1))
		row.State = task.State(r.Uint(1<<8 - 1))
		row.Code = int32(r.Int64())
		row.At = instant(r.Int64())
		row.Detail = r.String(task.MaxDetail)
		r.Raw(row.MAC[:])
		r.End()
		if r.Err() == nil && !row.State.Valid() {
			r.Fail("state %d of device %d", row.State, row.Device)
		}
		p.Rows = append(p.Rows, row)
	}
	r.End()
	r.End()
}
