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
	ack := &wire.ResultAck{Operation: m.Operation, Attempt: m.Attempt, State: m.State}
	full = l.results.offer(item[box.ResultRow]{row: row, size: rowSize + len(m.Detail), at: time.Now(), done: func() {
		if ack.State.Final() && !l.table.final(ack.Operation, s.device) {
			l.count.unknownOps.Add(1)
		}
		s.reply(ack)
	}})
	if full == nil {
		l.count.results.Add(1)
	}
	return full
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
	ack := &wire.InventoryAck{ID: m.ID}
	return l.facts.offer(item[box.DiscoveryRecord]{row: rec, size: size, at: time.Now(),
		done: func() { s.reply(ack) }})
}

func packFacts(recs []box.DiscoveryRecord) box.Contents { return &box.Discovery{Records: recs} }
