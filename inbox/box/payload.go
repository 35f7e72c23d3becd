package box

import (
	"fmt"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/bounded"
)

var (
	payloadLimits = bounded.Limits{Bytes: MaxFile, Depth: 4, Items: 3*MaxRecords + 16}
	recordLimits  = bounded.Limits{Bytes: maxRecord, Depth: 4, Items: 2*MaxFacts + 64}
)

// A BadRecord is a record of a file that is well formed as a whole, and that
// cannot be taken by itself.
type BadRecord struct {
	Index  int    // of the record in the file, from 0
	Reason string // for a person
	Raw    []byte // the record as the file has it
}

func encodePayload(c Contents) ([]byte, error) {
	return bounded.Encode(nil, func(w *bounded.Writer) {
		switch c := c.(type) {
		case *Results:
			encodeRecords(w, len(c.Rows), func(i int) func(*bounded.Writer) { return c.Rows[i].encode })
		case *Status:
			encodeRecords(w, len(c.Records), func(i int) func(*bounded.Writer) { return c.Records[i].encode })
		case *Discovery:
			checkFacts(c, w.Fail)
			encodeRecords(w, len(c.Records), func(i int) func(*bounded.Writer) { return c.Records[i].encode })
		case *Presence:
			c.encode(w)
		default:
			w.Fail("contents of type %T", c)
		}
	})
}

// encodeRecords writes each record as bytes of its own, so that a bad one takes
// nothing with it.
func encodeRecords(w *bounded.Writer, n int, record func(i int) func(*bounded.Writer)) {
	w.Array(2)
	w.Uint(payloadNow)
	w.Array(n)
	var buf []byte
	for i := range n {
		b, err := bounded.Encode(buf[:0], record(i))
		if err != nil {
			w.Fail("record %d: %v", i, err)
			return
		}
		buf = b
		w.Bytes(b, maxRecord)
	}
}

// decodePayload reads count records; what is wrong with a single one is in bad,
// what is wrong with all of them is the error.
func decodePayload(k Kind, b []byte, count int) (c Contents, bad []BadRecord, err error) {
	err = bounded.Decode(b, payloadLimits, func(r *bounded.Reader) error {
		r.Version(payloadNow)
		switch k {
		case BOS:
			c = decodePresence(r, count)
		case BTS:
			c, bad = decodeResults(r, count)
		case SVF:
			c, bad = decodeStatus(r, count)
		case DDR:
			c, bad = decodeDiscovery(r, count)
		}
		r.End()
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: payload: %w", ErrMalformed, err)
	}
	return c, bad, nil
}

func decodeResults(r *bounded.Reader, count int) (*Results, []BadRecord) {
	c := &Results{Rows: make([]ResultRow, 0, count)}
	bad := decodeRecords(r, count, func(r *bounded.Reader) {
		var row ResultRow
		if row.decode(r); r.Err() == nil {
			c.Rows = append(c.Rows, row)
		}
	})
	return c, bad
}

func decodeStatus(r *bounded.Reader, count int) (*Status, []BadRecord) {
	c := &Status{Records: make([]StatusRecord, 0, count)}
	bad := decodeRecords(r, count, func(r *bounded.Reader) {
		var s StatusRecord
		if s.decode(r); r.Err() == nil {
			c.Records = append(c.Records, s)
		}
	})
	return c, bad
}

func decodeDiscovery(r *bounded.Reader, count int) (*Discovery, []BadRecord) {
	c := &Discovery{Records: make([]DiscoveryRecord, 0, count)}
	bad := decodeRecords(r, count, func(r *bounded.Reader) {
		var d DiscoveryRecord
		if d.decode(r); r.Err() == nil {
			c.Records = append(c.Records, d)
		}
	})
	checkFacts(c, r.Fail)
	return c, bad
}

func checkFacts(c *Discovery, fail func(format string, args ...any)) {
	facts := 0
	for i := range c.Records {
		facts += len(c.Records[i].Facts)
	}
	if facts > MaxFileFacts {
		fail("%d facts, at most %d are taken in a file", facts, MaxFileFacts)
	}
}

func decodeRecords(r *bounded.Reader, count int, record func(*bounded.Reader)) (bad []BadRecord) {
	if n := r.Array(count); n != count {
		r.Fail("%d records, the header says %d", n, count)
	}
	for i := 0; r.More(); i++ {
		raw := r.Bytes(maxRecord)
		if r.Err() != nil {
			break
		}
		err := bounded.Decode(raw, recordLimits, func(r *bounded.Reader) error {
			record(r)
			return nil
		})
		if err == nil {
			continue
		}
		if len(bad) == MaxBad {
			r.Fail("more than %d bad records, the first is record %d: %s", MaxBad, bad[0].Index, bad[0].Reason)
			break
		}
		bad = append(bad, BadRecord{Index: i, Reason: err.Error(), Raw: raw})
	}
	r.End()
	return bad
}

// MaxBad is the largest number of bad records in a file that is still taken: one
// with more is bad as a whole.
const MaxBad = 1000

// Entries are one flat array of three numbers each: the device, less the one
// before; carrier, reason and online packed; milliseconds since the entry
// before. A device costs some seven bytes so.
func (c *Presence) encode(w *bounded.Writer) {
	w.Array(3)
	w.Uint(payloadNow)
	w.Bool(c.Full)
	w.List(3*len(c.Entries), 3*MaxRecords)
	var device, since int64
	for i := range c.Entries {
		e := &c.Entries[i]
		if int64(e.Device) <= device || e.Reason > maxReason || e.Carrier > maxCarrier {
			w.Fail("entry %d of device %d with reason %d and carrier %d: devices rise from 1", i, e.Device, e.Reason, e.Carrier)
			return
		}
		ms := e.Since.UnixMilli()
		w.Int(int64(e.Device) - device)
		w.Uint(e.flags())
		w.Int(ms - since)
		device, since = int64(e.Device), ms
	}
}

// Bounds of a [PresenceEntry].
const (
	maxReason  = 8 // the last reason that the journal's events have
	maxCarrier = 7
)

func (e *PresenceEntry) flags() uint64 {
	f := uint64(e.Carrier)<<5 | uint64(e.Reason)<<1
	if e.Online {
		f |= 1
	}
	return f
}

func decodePresence(r *bounded.Reader, count int) *Presence {
	c := &Presence{Full: r.Bool()}
	if n := r.Array(3 * MaxRecords); n != 3*count {
		r.Fail("presence of %d numbers, the header says %d entries", n, count)
	}
	c.Entries = make([]PresenceEntry, 0, count)
	var device, since int64
	for r.More() {
		step := r.Int64()
		f := r.Uint(1<<8 - 1)
		since += r.Int64()
		device += step
		if step <= 0 || device <= 0 || device > 1<<32-1 {
			r.Fail("device %d where a larger number than the one before must be", device)
			break
		}
		e := PresenceEntry{Device: uint32(device), Online: f&1 == 1,
			Reason: uint8(f >> 1 & 0xf), Carrier: uint8(f >> 5), Since: time.UnixMilli(since).UTC()}
		if e.Reason > maxReason {
			r.Fail("device %d with reason %d, which does not exist", device, e.Reason)
			break
		}
		c.Entries = append(c.Entries, e)
	}
	r.End()
	return c
}
