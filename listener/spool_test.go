package listener

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/inbox/box"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// spoolBubble runs f with a spool of results in fake time.
func spoolBubble(t *testing.T, perFile, maxRows, maxBytes int, f func(s *spool[box.ResultRow], folder *spoolFolder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		folder := &spoolFolder{changed: make(chan struct{})}
		said := 0
		fs := &files{write: folder.drop, log: quiet(), message: func(messageNumber, uint32, string) { said++ }}
		s := newSpool(fs, 10*time.Millisecond, perFile, maxRows, maxBytes, packResults, nil)
		wait := start(func() error { return s.run(t.Context()) })
		f(s, folder)
		s.stop()
		if err := wait(); err != nil {
			t.Error(err)
		}
		if s.held() != 0 || s.bytes != 0 {
			t.Errorf("at the end %d rows of %d bytes are held", s.held(), s.bytes)
		}
	})
}

func row(device uint32, state task.State, from *session) item[box.ResultRow] {
	return item[box.ResultRow]{row: box.ResultRow{Result: task.Result{Device: device, State: state}}, size: 100, at: time.Now(), from: from}
}

// countAcks counts the rows that are to be answered.
func countAcks(s *spool[box.ResultRow]) (acked *atomic.Int32) {
	acked = new(atomic.Int32)
	s.durable = func(_ []box.ResultRow, senders []sender) {
		for _, to := range senders {
			if to.session != nil {
				acked.Add(1)
			}
		}
	}
	return acked
}

func sizes(files []box.Contents) (n []int) {
	for _, c := range files {
		n = append(n, c.Len())
	}
	return n
}

func TestSpoolGathers(t *testing.T) {
	spoolBubble(t, 5, 100, 1e6, func(s *spool[box.ResultRow], folder *spoolFolder) {
		s.offer(row(1, task.Delivered, nil))
		pass(9 * time.Millisecond)
		s.offer(row(2, task.Delivered, nil))
		if n := len(folder.all()); n != 0 {
			t.Fatalf("%d files before the first row has waited", n)
		}
		pass(time.Millisecond)
		for d := range uint32(5) { // a full file does not wait
			s.offer(row(d+3, task.Delivered, nil))
		}
		synctest.Wait()
		if got := sizes(folder.all()); !equal(got, []int{2, 5}) {
			t.Fatalf("files of %v rows", got)
		}
	})
}

// While the sessions have much to do files wait, but not for ever.
func TestSpoolWaitsForThePush(t *testing.T) {
	spoolBubble(t, 5, 100, 1e6, func(s *spool[box.ResultRow], folder *spoolFolder) {
		var sending atomic.Bool
		s.busy = sending.Load
		files := func(when string, want ...int) {
			t.Helper()
			synctest.Wait()
			if got := sizes(folder.all()); !equal(got, want) {
				t.Fatalf("%s: files of %v rows, want %v", when, got, want)
			}
		}
		sending.Store(true)
		for d := range uint32(7) {
			s.offer(row(d, task.Sent, nil))
		}
		pass(100 * time.Millisecond)
		files("while tasks are sent")
		sending.Store(false)
		pass(heldStep)
		files("when they are", 5, 2)
		sending.Store(true)
		s.offer(row(8, task.Sent, nil))
		pass(10*time.Millisecond + mostHeld - heldStep)
		files("while tasks are sent again", 5, 2)
		pass(2 * heldStep)
		files("when that takes too long", 5, 2, 1)
		s.offer(row(9, task.Sent, nil))
	}) // whoever stops does not wait
}

// Rows of several sessions come a little out of order; their file is of all of them.
func TestSpoolTellsTheTimeOfAllRows(t *testing.T) {
	var spans [][2]time.Time
	var start time.Time
	spoolBubble(t, 3, 100, 1e6, func(s *spool[box.ResultRow], folder *spoolFolder) {
		start = time.Now()
		write := s.files.write
		s.files.write = func(c box.Contents, from, to time.Time) error {
			spans = append(spans, [2]time.Time{from, to})
			return write(c, from, to)
		}
		for i, after := range []time.Duration{2, 3, 1} {
			r := row(uint32(i+1), task.Delivered, nil)
			r.at = start.Add(after)
			s.offer(r)
		}
		synctest.Wait()
	})
	if len(spans) != 1 || !spans[0][0].Equal(start.Add(1)) || !spans[0][1].Equal(start.Add(3)) {
		t.Errorf("rows of 2, 3 and 1 ns after %v are in files of %v", start, spans)
	}
}

// What comes while a file is being written is the next file, which does not wait
// again.
func TestSpoolCommitsInGroups(t *testing.T) {
	spoolBubble(t, 100, 100, 1e6, func(s *spool[box.ResultRow], folder *spoolFolder) {
		folder.breaks(errors.New("slow"))
		acked := countAcks(s)
		s.offer(row(1, task.Delivered, new(session)))
		pass(15 * time.Millisecond) // the file is under way and will be tried again after 50 ms
		for d := range uint32(9) {
			s.offer(row(d+2, task.Delivered, new(session)))
		}
		pass(20 * time.Millisecond)
		folder.breaks(nil)
		if acked.Load() != 0 {
			t.Fatal("acknowledged before it was durable")
		}
		pass(30 * time.Millisecond)
		if got := sizes(folder.all()); !equal(got, []int{1, 9}) || acked.Load() != 10 {
			t.Fatalf("files of %v rows, %d acknowledged", got, acked.Load())
		}
	})
}

func TestSpoolIsBounded(t *testing.T) {
	for name, bound := range map[string]struct{ rows, bytes int }{"rows": {3, 1e6}, "bytes": {1e6, 300}} {
		t.Run(name, func(t *testing.T) {
			spoolBubble(t, 100, bound.rows, bound.bytes, func(s *spool[box.ResultRow], folder *spoolFolder) {
				folder.breaks(errors.New("full"))
				for d := range uint32(3) {
					if full := s.offer(row(d+1, task.Delivered, nil)); full != nil {
						t.Fatalf("row %d is not taken", d+1)
					}
				}
				if full := s.offer(row(9, task.Delivered, nil)); full == nil {
					t.Fatal("more is taken than may be held")
				}
				gone := make(chan struct{})
				close(gone)
				if s.put(row(9, task.Delivered, nil), gone) {
					t.Fatal("taken from a session that has ended")
				}
				taken := start(func() error {
					if !s.put(row(9, task.Delivered, nil), nil) {
						return errors.New("not taken")
					}
					return nil
				})
				pass(time.Second)
				folder.breaks(nil)
				if err := taken(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestSpoolSplitsBySize(t *testing.T) {
	spoolBubble(t, 100, 100, 100<<20, func(s *spool[box.ResultRow], folder *spoolFolder) {
		for d := range uint32(5) {
			it := row(d+1, task.Failed, nil)
			it.size = fileBytes/2 - 1
			s.offer(it)
		}
		pass(time.Second)
		if got := sizes(folder.all()); !equal(got, []int{2, 2, 1}) {
			t.Fatalf("files of %v rows", got)
		}
	})
}

// firstFile is how many of the rows that wait are the next file.
func firstFile(waiting []item[int], perFile int) (n int) {
	for size := 0; n < min(len(waiting), perFile); n++ {
		if size += waiting[n].size; n > 0 && size > fileBytes {
			break
		}
	}
	return n
}

// TestSpoolTakesProperty compares the files of a spool with those of a list, out of
// which as many rows are taken as one file may have.
func TestSpoolTakesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const maxRows, maxBytes = 40, 4 * fileBytes
		perFile := rapid.IntRange(1, 10).Draw(t, "perFile")
		s := newSpool[int](nil, time.Second, perFile, maxRows, maxBytes, nil, nil)
		var waiting []item[int]
		var writing *load[int]
		rows, bytes, begun := 0, 0, time.Now()
		t.Repeat(map[string]func(*rapid.T){
			"offer": func(t *rapid.T) {
				it := item[int]{row: rapid.Int().Draw(t, "row"), id: rapid.Uint64().Draw(t, "id"),
					size: rapid.OneOf(rapid.IntRange(1, 100), rapid.IntRange(1, fileBytes+2), rapid.Just(fileBytes/2)).Draw(t, "size"),
					at:   begun.Add(time.Duration(rapid.IntRange(-5, 5).Draw(t, "at")))}
				room := rows == 0 || rows < maxRows && bytes+it.size <= maxBytes
				if full := s.offer(it); (full == nil) != room {
					t.Fatalf("with %d rows of %d bytes one of %d is taken: %v", rows, bytes, it.size, full == nil)
				}
				if room {
					waiting, rows, bytes = append(waiting, it), rows+1, bytes+it.size
				}
			},
			"take": func(t *rapid.T) {
				if writing != nil || len(waiting) == 0 {
					t.Skip("nothing to take")
				}
				writing = s.take()
				want := waiting[:firstFile(waiting, perFile)]
				waiting = waiting[len(want):]
				var made load[int]
				for _, it := range want {
					made.rows, made.senders, made.size = append(made.rows, it.row), append(made.senders, sender{it.from, it.id}), made.size+it.size
				}
				earlier := func(a, b item[int]) int { return a.at.Compare(b.at) }
				made.from, made.to = slices.MinFunc(want, earlier).at, slices.MaxFunc(want, earlier).at
				if !reflect.DeepEqual(*writing, made) {
					t.Fatalf("took %+v, want %+v", *writing, made)
				}
			},
			"free": func(t *rapid.T) {
				if writing == nil {
					t.Skip("nothing is written")
				}
				full := s.full
				rows, bytes = rows-len(writing.rows), bytes-writing.size
				s.free(writing)
				writing = nil
				if _, open := <-full; open {
					t.Fatal("who waits is not told that there is room")
				}
			},
			"": func(t *rapid.T) {
				n, _ := s.due(begun)
				if n != len(waiting) || s.held() != rows || s.bytes != bytes {
					t.Fatalf("%d rows wait of %d that are held with %d bytes, want %d of %d with %d", n, s.held(), s.bytes, len(waiting), rows, bytes)
				}
				if len(s.spare) > roomFiles {
					t.Fatalf("the room of %d files is kept", len(s.spare))
				}
				for _, l := range s.spare {
					if slices.Max(append(l.rows[:cap(l.rows)], 0)) != 0 || slices.ContainsFunc(l.senders[:cap(l.senders)], func(to sender) bool { return to != sender{} }) {
						t.Fatalf("%v of %v are still held", l.rows[:cap(l.rows)], l.senders[:cap(l.senders)])
					}
				}
			},
		})
	})
}

// The same transition twice in one file is said once; both senders are answered.
func TestPackResults(t *testing.T) {
	spoolBubble(t, 100, 100, 1e6, func(s *spool[box.ResultRow], folder *spoolFolder) {
		acked := countAcks(s)
		for _, st := range []task.State{task.Sent, task.Delivered, task.Sent, task.Delivered, task.Running} {
			s.offer(row(1, st, new(session)))
		}
		s.offer(row(2, task.Sent, nil))
		pass(time.Second)
		if got := rowsOf(folder.all(), 1); !equal(got, []task.State{task.Sent, task.Delivered, task.Running}) || acked.Load() != 5 {
			t.Fatalf("rows %v, %d acknowledged", got, acked.Load())
		}
		if got := rowsOf(folder.all(), 2); len(got) != 1 {
			t.Fatalf("rows %v", got)
		}
	})
}

func TestDropGivesUpAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := &spoolFolder{changed: make(chan struct{})}
		cause := errors.New("full")
		folder.breaks(cause)
		var said []messageNumber
		fs := &files{write: folder.drop, log: quiet(), message: func(n messageNumber, _ uint32, _ string) { said = append(said, n) }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := fs.drop(ctx, &box.Status{}, time.Now(), time.Now()); !errors.Is(err, cause) {
			t.Fatalf("got %v", err)
		}
		// 50 ms, doubled up to 5 s: some 18 attempts in a minute.
		if folder.tried < 12 || folder.tried > 20 || !equal(said, []messageNumber{msgDropFails}) {
			t.Fatalf("%d attempts, said %v", folder.tried, said)
		}
	})
}

func TestStatusIsBounded(t *testing.T) {
	s := newStatus(time.Second)
	for i := range 2 * maxRefused {
		s.refuse("listener", fmt.Sprint(i), "not TLS")
	}
	if n := len(s.refused); n != maxRefused+1 || s.refused[refusal{"listener", otherAddresses, "not TLS"}] != maxRefused {
		t.Fatalf("%d addresses are counted", n)
	}
	for range 3 {
		for d := range uint32(2 * maxRepeated) {
			s.message(msgTooSlow, d, strings.Repeat("x", 10))
		}
	}
	if n := s.held(); n != maxRepeated {
		t.Fatalf("%d messages are held", n)
	}
}
