package listener

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire"
)

// A queue is what waits for one agent: frames that are ready, keyrings, which all
// sessions share, and operations whose frames are made when their turn comes, for
// an open operation costs a session no more than a pointer. They go in this order.
type queue struct {
	frames [][]byte
	bytes  int
	rings  [][]byte
	tasks  [priorities][]delivery // by priority, in each as they came
}

type delivery struct {
	op   *operation
	push *push // at the release, which is timed; else nil
}

// add takes a frame; false means that too much waits already.
func (q *queue) add(frame []byte) bool {
	if len(q.frames) >= queueFrames || q.bytes+len(frame) > queueBytes {
		return false
	}
	q.frames = append(q.frames, frame)
	q.bytes += len(frame)
	return true
}

// finish drops the tasks that wait, and returns those of a push. The last words,
// if there are any, follow the frames that wait; a blocked device gets nothing
// but them.
func (q *queue) finish(words *wire.Close) (unsent []*push) {
	for p, tasks := range q.tasks {
		for _, d := range tasks {
			if d.push != nil {
				unsent = append(unsent, d.push)
			}
		}
		q.tasks[p] = nil
	}
	q.rings = nil
	if words == nil || words.Code == wire.Blocked {
		q.frames, q.bytes = nil, 0
	}
	if words != nil {
		if f, err := wire.Append(nil, words); err == nil {
			q.frames = append(q.frames, f)
		}
	}
	return unsent
}

// welcome queues the first message; the writer does not run yet.
func (s *session) welcome(m *wire.Welcome) { s.reply(m) }

// reply queues a message for the agent. One that does not read is cut.
func (s *session) reply(m wire.Message) {
	f, err := wire.Append(nil, m)
	if err != nil {
		s.l.cfg.Log.Error("encode message", "device", s.device, "err", err)
		return
	}
	s.frame(f)
}

// frame queues a message that is encoded.
func (s *session) frame(f []byte) {
	s.mu.Lock()
	ok := s.ended || s.queue.add(f)
	s.mu.Unlock()
	if !ok {
		s.tooSlow()
		return
	}
	s.signal()
}

// deliver queues an operation. There are never more than the table holds.
func (s *session) deliver(op *operation, p *push) {
	s.mu.Lock()
	ended := s.ended
	if !ended {
		waiting := &s.queue.tasks[op.priority-1]
		*waiting = append(*waiting, delivery{op, p})
	}
	s.mu.Unlock()
	if ended && p != nil {
		s.l.settled(p, time.Now())
	}
	s.signal()
}

// keyrings queues rings. There are never more than the table holds.
func (s *session) keyrings(frames [][]byte) {
	s.mu.Lock()
	if !s.ended {
		s.queue.rings = append(s.queue.rings, frames...)
	}
	s.mu.Unlock()
	s.signal()
}

func (s *session) signal() { s.driver.signal() }

func (s *session) tooSlow() {
	if !s.end(reasonClosed, nil) {
		return
	}
	s.l.count.tooSlow.Add(1)
	s.l.cfg.Log.Warn("agent does not read, session is cut", "device", s.device, "address", s.address)
	s.l.status.message(msgTooSlow, s.device, "session ended: the agent did not read")
}

// writeNext writes what is to be written next. More is false if there was nothing,
// and ended tells whether there will be nothing any more.
func (s *session) writeNext() (more, ended bool, err error) {
	frames, next, ended := s.take()
	switch {
	case len(frames) > 0:
		return true, ended, s.sendFrames(frames)
	case next.op != nil:
		return true, ended, s.sendTask(next)
	}
	return false, ended, nil
}

// take removes what is to be written next.
func (s *session) take() (frames [][]byte, next delivery, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.queue
	switch {
	case len(q.frames) > 0:
		frames = q.frames
		q.frames, q.bytes = nil, 0
	case len(q.rings) > 0:
		frames, q.rings = q.rings, nil
	default:
		next = q.nextTask()
	}
	return frames, next, s.ended
}

func (q *queue) nextTask() (next delivery) {
	for p, tasks := range q.tasks {
		if len(tasks) == 0 {
			continue
		}
		next = tasks[0]
		if q.tasks[p] = tasks[1:]; len(q.tasks[p]) == 0 {
			q.tasks[p] = nil
		}
		break
	}
	return next
}

const writeChunk = 32 << 10

var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 2*writeChunk); return &b }}

// sendFrames writes frames, small ones together.
func (s *session) sendFrames(frames [][]byte) error {
	if len(frames) == 1 {
		return s.send(frames[0])
	}
	b := scratch.Get().(*[]byte)
	defer scratch.Put(b)
	buf := (*b)[:0]
	for _, f := range frames {
		if len(buf) > 0 && len(buf)+len(f) > writeChunk {
			if err := s.send(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
		buf = append(buf, f...)
	}
	*b = buf[:0]
	return s.send(buf)
}

// sendTask sends an operation if it is still due, which is decided here and now,
// and reports it. It notes first that the device knows the task: an operation that
// ends meanwhile is either seen here to have ended, or its cancel follows the task.
func (s *session) sendTask(d delivery) error {
	if d.push != nil {
		defer func() { s.l.settled(d.push, time.Now()) }()
	}
	now := time.Now()
	d.op.setSent(s.device)
	if !d.op.due(s.device, now) {
		return nil
	}
	f, err := d.op.frame(s.device, &s.l.table.room)
	if err != nil {
		s.l.cfg.Log.Error("encode task", "operation", d.op.task.Operation, "err", err)
		return nil
	}
	s.sending.Lock()
	defer s.sending.Unlock()
	if err := s.send(f); err != nil {
		return err
	}
	s.l.count.pushes.Add(1)
	s.l.sent(d.op, s.device, now)
	return nil
}

func (s *session) send(b []byte) error {
	s.mu.Lock()
	if !s.ended {
		s.conn.SetWriteDeadline(time.Now().Add(s.l.times.write))
	}
	s.mu.Unlock()
	_, err := s.conn.Write(b)
	return err
}

// writeFailed ends the session, if it has not ended before.
func (s *session) writeFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.tooSlow()
	}
	s.end(reasonClosed, nil)
}
