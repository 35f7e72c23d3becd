package event

import (
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
}

// MaxBitmap is the longest serialized bitmap of targets in bytes.
const MaxBitmap = 120 << 10

// Kind returns operation.requested.
func (*OperationRequested) Kind() Kind { return KindOperationRequest }

func (p *OperationRequested) encode(w *bounded.Writer) {
	w.Array(9)
	w.Uint(1)
	w.Bytes(p.Task, 16<<10)
	w.Bytes(p.Targets, MaxBitmap)
	w.Uint(uint64(p.Count))
	w.Uint(uint64(p.Online))
	w.Bytes(p.Offline, MaxBitmap)
	w.String(p.Target, MaxName)
	w.String(p.Reason, MaxText)
	w.Raw(p.RetryOf[:])
}

func (p *OperationRequested) decode(r *bounded.Reader) {
	r.Version(1)
	p.Task = r.Bytes(16 << 10)
	p.Targets = r.Bytes(MaxBitmap)
	p.Count = r.Uint32()
	p.Online = r.Uint32()
	p.Offline = r.Bytes(MaxBitmap)
	p.Target = r.String(MaxName)
	p.Reason = r.String(MaxText)
	r.Raw(p.RetryOf[:])
	r.End()
}

// OperationCancelled ends an operation for all who have not begun it.
type OperationCancelled struct {
	Operation task.ID
	Reason    string
}

// Kind returns operation.cancelled.
func (*OperationCancelled) Kind() Kind { return KindOperationCancel }

func (p *OperationCancelled) encode(w *bounded.Writer) {
	w.Array(3)
	w.Uint(1)
	w.Raw(p.Operation[:])
	w.String(p.Reason, MaxText)
}

func (p *OperationCancelled) decode(r *bounded.Reader) {
	r.Version(1)
	r.Raw(p.Operation[:])
	p.Reason = r.String(MaxText)
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
