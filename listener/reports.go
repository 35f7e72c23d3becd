package listener

import (
	"time"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

const rowSize = 96 // of a result in memory without its detail, about

// result takes what an agent reports. If as many rows as may be held wait for the
// disk, it returns a channel that is closed when there is room.
func (l *Listener) result(s *session, m *wire.Result) (full <-chan struct{}) {
	row := box.ResultRow{MAC: m.MAC, Result: task.Result{Operation: m.Operation, Device: s.device,
		Attempt: m.Attempt, State: m.State, Code: m.Code, At: m.At, Detail: m.Detail}}
	full = l.results.offer(item[box.ResultRow]{row: row, size: rowSize + len(m.Detail), at: time.Now(), from: s})
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
func (l *Listener) acknowledge(batch []item[box.ResultRow]) {
	l.finals(batch)
	frames := make(map[wire.ResultAck][]byte)
	answered := make([]receiver, 0, min(len(batch), answersAtOnce))
	for i := range batch {
		r, from := &batch[i].row, batch[i].from
		if from == nil {
			continue
		}
		ack := wire.ResultAck{Operation: r.Operation, Attempt: r.Attempt, State: r.State}
		f := frames[ack]
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
func (l *Listener) finals(batch []item[box.ResultRow]) {
	var op *operation
	var last task.ID
	for i := range batch {
		r := &batch[i].row
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
// a task that was sent again.
func packResults(rows []box.ResultRow) box.Contents {
	type transition struct {
		op      task.ID
		device  uint32
		attempt uint8
		state   task.State
	}
	seen := make(map[transition]struct{}, len(rows))
	kept := rows[:0]
	for _, r := range rows {
		k := transition{r.Operation, r.Device, r.Attempt, r.State}
		if _, again := seen[k]; again {
			continue
		}
		seen[k] = struct{}{}
		kept = append(kept, r)
	}
	return &box.Results{Rows: kept}
}

// inventory takes facts of a device. If there is no room for them now, it returns
// a channel that is closed when there is some.
func (l *Listener) inventory(s *session, m *wire.Inventory) (full <-chan struct{}) {
	rec := box.DiscoveryRecord{Device: s.device, At: m.At, Facts: make([]box.Fact, len(m.Facts))}
	size := rowSize
	for i, f := range m.Facts {
		rec.Facts[i] = box.Fact(f)
		size += 32 + len(f.Name) + len(f.Value)
	}
	return l.facts.offer(item[box.DiscoveryRecord]{row: rec, size: size, at: time.Now(), from: s, id: m.ID})
}

// received answers the agents whose inventory is durable.
func received(batch []item[box.DiscoveryRecord]) {
	for _, it := range batch {
		it.from.reply(&wire.InventoryAck{ID: it.id})
	}
}

func packFacts(recs []box.DiscoveryRecord) box.Contents { return &box.Discovery{Records: recs} }
