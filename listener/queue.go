package listener

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/bugle-fleet/bugle/listener/poll"
	"github.com/bugle-fleet/bugle/listener/wire"
)

// Waiting is what waits for one agent: frames that are ready, keyrings, which all
// sessions share, and operations whose frames are made when their turn comes, for
// an open operation costs a session no more than a pointer. They go in this order.
//
// Nearly always that is nothing, or one frame or operation, for which there is room
// here. The session's lock owns it.
type waiting struct {
	frame []byte
	task  delivery
	queue *queue // all, if it is more
}

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

var queues = sync.Pool{New: func() any { return new(queue) }}

// queued is the queue, with all that waits in it.
func (w *waiting) queued() *queue {
	if w.queue != nil {
		return w.queue
	}
	q := queues.Get().(*queue)
	if w.frame != nil {
		q.frames, q.bytes = append(q.frames, w.frame), len(w.frame)
	}
	if w.task.op != nil {
		q.deliver(w.task)
	}
	*w = waiting{queue: q}
	return q
}

// tidy gives the queue back if it is empty.
func (w *waiting) tidy() {
	if w.queue != nil && w.queue.empty() {
		*w.queue = queue{}
		queues.Put(w.queue)
		w.queue = nil
	}
}

// add takes a frame; false means that too much waits already.
func (w *waiting) add(frame []byte) bool {
	if w.queue == nil && w.frame == nil {
		w.frame = frame
		return true
	}
	return w.queued().add(frame)
}

// deliver takes an operation.
func (w *waiting) deliver(d delivery) {
	if w.queue == nil && w.task.op == nil {
		w.task = d
		return
	}
	w.queued().deliver(d)
}

// take removes what is to be written next: frames, or a task, or the task that waits
// right behind a few frames and goes with them, as one does behind a welcome. For the
// frames there is room.
func (w *waiting) take(room [][]byte) (frames [][]byte, next delivery) {
	if w.queue != nil {
		defer w.tidy()
		return w.queue.take()
	}
	if few := len(w.frame) <= writeChunk/2; few {
		next, w.task = w.task, delivery{}
	}
	if w.frame != nil {
		room, w.frame = append(room, w.frame), nil
	}
	return room, next
}

// finish drops the tasks that wait, and returns those of a push. The last words,
// if there are any, follow the frames that wait; a blocked device gets nothing
// but them.
func (w *waiting) finish(words *wire.Close) (unsent []*push) {
	defer w.tidy()
	return w.queued().finish(words)
}

func (w *waiting) empty() bool { return w.queue == nil && w.frame == nil && w.task.op == nil }

func (q *queue) empty() bool {
	return len(q.frames) == 0 && len(q.rings) == 0 && len(q.tasks[0]) == 0 && len(q.tasks[1]) == 0 && len(q.tasks[2]) == 0
}

func (q *queue) add(frame []byte) bool {
	if len(q.frames) >= queueFrames || q.bytes+len(frame) > queueBytes {
		return false
	}
	q.frames = append(q.frames, frame)
	q.bytes += len(frame)
	return true
}

func (q *queue) deliver(d delivery) {
	tasks := &q.tasks[d.op.priority-1]
	*tasks = append(*tasks, d)
}

func (q *queue) take() (frames [][]byte, next delivery) {
	switch {
	case len(q.frames) > 0:
		few := q.bytes <= writeChunk/2
		frames = q.frames
		q.frames, q.bytes = nil, 0
		if few && len(q.rings) == 0 {
			next = q.nextTask()
		}
	case len(q.rings) > 0:
		frames, q.rings = q.rings, nil
	default:
		next = q.nextTask()
	}
	return frames, next
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
			q.bytes += len(f)
		}
	}
	return unsent
}

// welcome queues the first message; the writer does not run yet.
func (s *session) welcome(m *wire.Welcome) { s.reply(m) }

// reply queues a message for the agent. One that does not read is cut.
func (s *session) reply(m wire.Message) {
	if f := s.encode(m); f != nil {
		s.frame(f)
	}
}

func (s *session) encode(m wire.Message) []byte {
	f, err := wire.Append(nil, m)
	if err != nil {
		s.l.cfg.Log.Error("encode message", "device", s.device, "err", err)
		return nil
	}
	return f
}

// frame queues a message that is encoded.
func (s *session) frame(f []byte) {
	if s.enqueue(f) {
		s.driver.signal()
	}
}

// enqueue is frame without telling the driver, which it is to be if it is true.
func (s *session) enqueue(f []byte) bool {
	s.mu.Lock()
	ended := s.ended.Load()
	ok := ended || s.waiting.add(f)
	s.mu.Unlock()
	if !ok {
		s.tooSlow()
	}
	return ok && !ended
}

// tellAll is signalAll for what the table has for many.
func (l *Listener) tellAll(sessions []receiver) {
	if len(sessions) >= burstSize {
		select {
		case l.bursts <- struct{}{}:
		default: // is known
		}
	}
	l.signalAll(sessions)
}

// signalAll tells the drivers of sessions that their queues have changed.
func (l *Listener) signalAll(sessions []receiver) {
	sources := make([]*poll.Source, 0, len(sessions))
	for i, r := range sessions {
		fetchDriver(sessions, i)
		s, ok := r.(*session)
		if !ok {
			continue
		}
		p, ok := s.driver.(*parked)
		if !ok {
			s.driver.signal()
		} else if source := p.source.Load(); source != nil {
			sources = append(sources, source)
		}
	}
	if len(sources) > 0 {
		l.loop.CallAll(sources)
	}
}

// deliver queues an operation. There are never more than the table holds.
func (s *session) deliver(op *operation, p *push) {
	s.mu.Lock()
	ended := s.ended.Load()
	if !ended {
		s.waiting.deliver(delivery{op, p})
	}
	s.mu.Unlock()
	if ended && p != nil {
		s.l.settled(p)
	}
}

// keyrings queues rings. There are never more than the table holds.
func (s *session) keyrings(frames [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended.Load() {
		q := s.waiting.queued()
		q.rings = append(q.rings, frames...)
	}
}

func (s *session) tooSlow() {
	if !s.end(reasonClosed, nil) {
		return
	}
	s.l.count.tooSlow.Add(1)
	s.l.cfg.Log.Warn("agent does not read, session is cut", "device", s.device, "address", s.address)
	s.l.status.message(msgTooSlow, s.device, "session ended: the agent did not read")
}

// writeNext writes what is to be written next. It tells whether there was more behind it,
// and if not, whether there will be nothing any more.
func (s *session) writeNext() (more, ended bool, err error) {
	var room [2][]byte // a frame and a task
	frames, next, more, ended := s.take(room[:0])
	if next.op != nil {
		return more, ended, s.sendTask(frames, next)
	}
	return more, ended, s.sendFrames(frames)
}

func (s *session) take(room [][]byte) (frames [][]byte, next delivery, more, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	frames, next = s.waiting.take(room)
	return frames, next, !s.waiting.empty(), s.ended.Load()
}

const writeChunk = 32 << 10

var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 2*writeChunk); return &b }}

// sendFrames writes frames, small ones together.
func (s *session) sendFrames(frames [][]byte) error {
	switch len(frames) {
	case 0:
		return nil
	case 1:
		return s.driver.put(frames[0])
	}
	b := scratch.Get().(*[]byte)
	defer scratch.Put(b)
	buf := (*b)[:0]
	for _, f := range frames {
		if len(buf) > 0 && len(buf)+len(f) > writeChunk {
			if err := s.driver.put(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
		buf = append(buf, f...)
	}
	*b = buf[:0]
	return s.driver.put(buf)
}

// sendTask sends an operation if it is still due, which is decided here and now,
// and reports it. The frames go before it in any case.
func (s *session) sendTask(frames [][]byte, d delivery) error {
	if d.push != nil {
		defer s.l.settled(d.push)
	}
	now := time.Now() // not when the turn began: the task may have been released since
	f, err := d.op.claim(s.device, now, &s.l.table.room)
	if err != nil {
		s.l.cfg.Log.Error("encode task", "operation", d.op.task.Operation, "err", err)
	}
	if f == nil {
		return s.sendFrames(frames)
	}
	s.sending.Lock()
	defer s.sending.Unlock()
	if err := s.sendFrames(append(frames, f)); err != nil {
		return err
	}
	s.l.count.pushes.Add(1)
	s.l.sent(d.op, s.device, now)
	return nil
}

// writeFailed ends the session, if it has not ended before.
func (s *session) writeFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, poll.ErrPending) {
		s.tooSlow()
	}
	s.end(reasonClosed, nil)
}
