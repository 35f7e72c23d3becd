package listener

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/poll"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const rowSize = 96 // of a result in memory without its detail, about

// result takes what an agent reports. If as many rows as may be held wait for the
// disk, it returns a channel that is closed when there is room.
func (l *Listener) result(s *session, m *wire.Result, now time.Time) (full <-chan struct{}) {
	row := box.ResultRow{MAC: m.MAC, Result: task.Result{Operation: m.Operation, Device: s.device,
		Attempt: m.Attempt, State: m.State, Code: m.Code, At: m.At, Detail: m.Detail}}
	full = l.results.offer(item[box.ResultRow]{row: row, size: rowSize + len(m.Detail), at: now, from: s})
	if full == nil {
		l.count.results.Add(1)
	}
	return full
}

// answersAtOnce is how many answers are queued before they are told of: a queue holds
// more ([queueFrames]), but not as many as a file has rows, which can be one session's.
const answersAtOnce = 1024

// acknowledge answers the agents whose results are durable. What one of them is
// answered is written together; the same answer to many is the same bytes.
func (l *Listener) acknowledge(rows []box.ResultRow, senders []sender) {
	l.finals(rows)
	frames := make(map[wire.ResultAck][]byte)
	answered := make([]receiver, 0, min(len(rows), answersAtOnce))
	var last wire.ResultAck // of the frame f: most are like the one before
	var f []byte
	for i := range rows {
		if next := i + ahead; next < len(senders) {
			poll.Prefetch(senders[next].session)
		}
		r, from := &rows[i], senders[i].session
		if from == nil {
			continue
		}
		ack := wire.ResultAck{Operation: r.Operation, Attempt: r.Attempt, State: r.State}
		if f == nil || ack != last {
			f, last = frames[ack], ack
		}
		if f == nil {
			f = from.encode(&ack)
			frames[ack] = f
		}
		if f != nil && from.enqueue(f) {
			if answered = append(answered, from); len(answered) == answersAtOnce {
				l.signalAll(answered)
				answered = answered[:0]
			}
		}
	}
	l.signalAll(answered)
}

// finals notes who has answered finally.
func (l *Listener) finals(rows []box.ResultRow) {
	var op *operation
	var last task.ID
	for i := range rows {
		r := &rows[i]
		if !r.State.Final() {
			continue
		}
		if op == nil || r.Operation != last {
			op, last = l.table.find(r.Operation), r.Operation
		}
		if op == nil {
			l.count.unknownOps.Add(1)
		} else {
			op.setFinal(r.Device)
		}
	}
}

// sent reports that a task was handed to a device's connection. The row is the
// listener's word and so without a code; if too much waits for the disk it is
// left out, for the agent's own report will say more.
func (l *Listener) sent(op *operation, device uint32, at time.Time) {
	row := box.ResultRow{Result: task.Result{Operation: op.task.Operation, Device: device,
		Attempt: 1, State: task.Sent, At: at}}
	if full := l.results.offer(item[box.ResultRow]{row: row, size: rowSize, at: at}); full != nil {
		l.count.sentLost.Add(1)
		l.status.message(msgSentLost, 0, "tasks were sent that no file says so of: too much waits for the disk")
	}
}

// packResults leaves out what is said twice: a result that the agent sent again,
// a task that was sent again. It leaves rows as they are.
func packResults(rows []box.ResultRow) box.Contents {
	seen := newTransitions(rows)
	kept := rows
	for i := range rows {
		switch again := seen.add(i); {
		case again && len(kept) == len(rows):
			kept = rows[:i:i] // the next append copies it
		case !again && len(kept) < len(rows):
			kept = append(kept, rows[i])
		}
	}
	return &box.Results{Rows: kept}
}

// Transitions are a set of rows of which no two say the same. A map would copy what
// they say, and costs several times as much.
type transitions struct {
	rows  []box.ResultRow
	slots []uint32 // an open hash table, at most half full: the index of a row, from 1
	keys  [2]uint64
}

func newTransitions(rows []box.ResultRow) transitions {
	return transitions{rows: rows, slots: make([]uint32, 1<<bits.Len(uint(2*len(rows)))),
		keys: [2]uint64{rand.Uint64(), rand.Uint64()}}
}

// add adds row i unless one that says the same is in the set.
func (t *transitions) add(i int) (again bool) {
	r, mask := &t.rows[i], len(t.slots)-1
	slot := int(t.hash(r)) & mask
	for ; t.slots[slot] != 0; slot = (slot + 1) & mask {
		if sameTransition(&t.rows[t.slots[slot]-1], r) {
			return true
		}
	}
	t.slots[slot] = uint32(i + 1)
	return false
}

// hash has keys that nobody knows: agents could else send what falls into one place.
func (t *transitions) hash(r *box.ResultRow) uint64 {
	op1, op2 := binary.LittleEndian.Uint64(r.Operation[:]), binary.LittleEndian.Uint64(r.Operation[8:])
	hi, lo := bits.Mul64(op1^t.keys[0], op2^t.keys[1])
	rest := uint64(r.Device)<<16 | uint64(r.Attempt)<<8 | uint64(r.State)
	hi, lo = bits.Mul64(hi^lo^t.keys[0], rest^t.keys[1])
	return hi ^ lo
}

func sameTransition(a, b *box.ResultRow) bool {
	return a.Device == b.Device && a.State == b.State && a.Attempt == b.Attempt && a.Operation == b.Operation
}

// inventory takes facts of a device. If there is no room for them now, it returns
// a channel that is closed when there is some.
func (l *Listener) inventory(s *session, m *wire.Inventory, now time.Time) (full <-chan struct{}) {
	rec := box.DiscoveryRecord{Device: s.device, At: m.At, Facts: make([]box.Fact, len(m.Facts))}
	size := rowSize
	for i, f := range m.Facts {
		rec.Facts[i] = box.Fact(f)
		size += 32 + len(f.Name) + len(f.Value)
	}
	return l.facts.offer(item[box.DiscoveryRecord]{row: rec, size: size, at: now, from: s, id: m.ID})
}

// received answers the agents whose inventory is durable.
func received(_ []box.DiscoveryRecord, senders []sender) {
	for _, to := range senders {
		to.session.reply(&wire.InventoryAck{ID: to.id})
	}
}

func packFacts(recs []box.DiscoveryRecord) box.Contents { return &box.Discovery{Records: recs} }
