package box

import (
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Bounds of what a record holds, in bytes or items.
const (
	MaxField     = 256       // names, addresses, versions
	MaxText      = 4 << 10   // texts for people, values of facts
	MaxFacts     = 512       // in one record
	MaxFileFacts = 1 << 19   // in one file
	MaxDiscovery = 16 << 10  // records in one DDR file
	MaxStatus    = 16 << 10  // records in one SVF file
	maxRecord    = 4 << 20   // one record
	payloadNow   = uint64(1) // version of every payload
)

// Kind returns BTS.
func (*Results) Kind() Kind { return BTS }

// Len is the number of rows.
func (c *Results) Len() int { return len(c.Rows) }

// Kind returns BOS.
func (*Presence) Kind() Kind { return BOS }

// Len is the number of entries.
func (c *Presence) Len() int { return len(c.Entries) }

// Kind returns SVF.
func (*Status) Kind() Kind { return SVF }

// Len is the number of records.
func (c *Status) Len() int { return len(c.Records) }

// Kind returns DDR.
func (*Discovery) Kind() Kind { return DDR }

// Len is the number of records.
func (c *Discovery) Len() int { return len(c.Records) }

// maxRecords is the largest number of records in a file of kind k.
func maxRecords(k Kind) int {
	switch k {
	case SVF:
		return MaxStatus
	case DDR:
		return MaxDiscovery
	}
	return MaxRecords
}

// ByListener tells whether the row is in a state that a listener may report by
// itself, without the device's code.
func (row *ResultRow) ByListener() bool { return row.State == task.Sent }

// Bytes returns the row as it is in a file.
func (row *ResultRow) Bytes() []byte {
	b, _ := bounded.Encode(nil, row.encode) // nothing in a row can be out of bounds
	return b
}

func (row *ResultRow) encode(w *bounded.Writer) {
	w.Array(8)
	w.Raw(row.Operation[:])
	w.Uint(uint64(row.Device))
	w.Uint(uint64(row.Attempt))
	w.Uint(uint64(row.State))
	w.Int(int64(row.Code))
	w.Int(nanos(row.At))
	w.String(row.Detail, task.MaxDetail)
	w.Raw(row.MAC[:])
}

func (row *ResultRow) decode(r *bounded.Reader) {
	r.Array(64)
	r.Raw(row.Operation[:])
	row.Device = device(r)
	row.Attempt = uint8(r.Uint(1<<8 - 1))
	row.State = task.State(r.Uint(1<<8 - 1))
	code := r.Int64()
	row.Code = int32(code)
	row.At = instant(r.Int64())
	row.Detail = r.String(task.MaxDetail)
	r.Raw(row.MAC[:])
	r.End()
	switch {
	case r.Err() != nil:
	case row.Operation.IsZero():
		r.Fail("no operation")
	case !row.State.Valid():
		r.Fail("state %d does not exist", row.State)
	case int64(row.Code) != code:
		r.Fail("code %d does not fit 32 bits", code)
	}
}

func (s *StatusRecord) encode(w *bounded.Writer) {
	w.Array(11)
	w.Uint(uint64(s.Type))
	w.Int(nanos(s.At))
	w.String(s.Version, MaxField)
	w.String(s.Where, MaxField)
	w.String(s.Address, MaxField)
	w.String(s.Component, MaxField)
	w.Uint(uint64(s.Number))
	w.Uint(uint64(s.Severity))
	w.Uint(uint64(s.Device))
	w.Uint(uint64(s.Count))
	w.String(s.Text, MaxText)
}

func (s *StatusRecord) decode(r *bounded.Reader) {
	r.Array(64)
	s.Type = StatusType(r.Uint(1<<8 - 1))
	s.At = instant(r.Int64())
	s.Version = r.String(MaxField)
	s.Where = r.String(MaxField)
	s.Address = r.String(MaxField)
	s.Component = r.String(MaxField)
	s.Number = r.Uint32()
	s.Severity = uint8(r.Uint(maxSeverity))
	s.Device = r.Uint32()
	s.Count = r.Uint32()
	s.Text = r.String(MaxText)
	r.End()
	if r.Err() != nil {
		return
	}
	switch {
	case s.Type < Started || s.Type > Message:
		r.Fail("status type %d does not exist", s.Type)
	case s.Type == Message && (s.Severity == 0 || s.Component == ""):
		r.Fail("status message of component %q with severity %d", s.Component, s.Severity)
	}
}

const maxSeverity = 3

// Bytes returns the record as it is in a file.
func (d *DiscoveryRecord) Bytes() []byte {
	b, _ := bounded.Encode(nil, d.encode) // it was decoded, so it is within bounds
	return b
}

func (d *DiscoveryRecord) encode(w *bounded.Writer) {
	w.Array(3)
	w.Uint(uint64(d.Device))
	w.Int(nanos(d.At))
	w.List(2*len(d.Facts), 2*MaxFacts)
	for i := range d.Facts {
		w.Exact(d.Facts[i].Name, MaxField)
		w.String(d.Facts[i].Value, MaxText)
	}
}

func (d *DiscoveryRecord) decode(r *bounded.Reader) {
	r.Array(64)
	d.Device = device(r)
	d.At = instant(r.Int64())
	n := r.Array(2 * MaxFacts)
	if n%2 != 0 {
		r.Fail("facts of %d texts, each is a name and a value", n)
	}
	d.Facts = make([]Fact, 0, n/2)
	for r.More() {
		f := Fact{r.String(MaxField), r.String(MaxText)}
		if f.Name == "" {
			r.Fail("a fact without a name")
		}
		d.Facts = append(d.Facts, f)
	}
	r.End()
	r.End()
}

func device(r *bounded.Reader) uint32 {
	n := r.Uint32()
	if n == 0 {
		r.Fail("device 0 does not exist")
	}
	return n
}

// nanos is a time as it is kept: Unix nanoseconds, 0 for the zero time.
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
