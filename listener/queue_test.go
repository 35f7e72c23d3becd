package listener

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/bugle-fleet/bugle/listener/wire"
	"pgregory.net/rapid"
)

// TestWaiting compares what waits, of which one frame and one task have a place of their
// own, with plain lists.
func TestWaiting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w waiting
		var frames, rings [][]byte
		var tasks []delivery
		made := uint32(0)
		frame := rapid.Custom(func(t *rapid.T) []byte {
			size := rapid.SampledFrom([]int{4, 100, writeChunk / 2, writeChunk/2 + 1, wire.MaxFrame}).Draw(t, "size")
			made++
			f := make([]byte, size)
			binary.BigEndian.PutUint32(f, made)
			return f
		})
		bytesOf := func(list [][]byte) (n int) {
			for _, f := range list {
				n += len(f)
			}
			return n
		}
		next := func() (d delivery) {
			for p := uint8(1); p <= priorities; p++ {
				if i := slices.IndexFunc(tasks, func(d delivery) bool { return d.op.priority == p }); i >= 0 {
					d = tasks[i]
					tasks = slices.Delete(tasks, i, i+1)
					return d
				}
			}
			return d
		}
		take := func(t *rapid.T) {
			var want [][]byte
			var task delivery
			switch {
			case len(frames) > 0:
				want, frames = frames, nil
				if bytesOf(want) <= writeChunk/2 && len(rings) == 0 {
					task = next()
				}
			case len(rings) > 0:
				want, rings = rings, nil
			default:
				task = next()
			}
			got, d := w.take(nil)
			if !slices.EqualFunc(got, want, bytes.Equal) || d != task {
				t.Fatalf("took %d frames and %v, want %d and %v", len(got), d, len(want), task)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if empty := len(frames)+len(rings)+len(tasks) == 0; empty && (w.queue != nil || w.frame != nil || w.task.op != nil) {
					t.Fatal("nothing waits, and it has a queue")
				}
			},
			"frame": func(t *rapid.T) {
				f := frame.Draw(t, "frame")
				fits := len(frames) == 0 || len(frames) < queueFrames && bytesOf(frames)+len(f) <= queueBytes
				if w.add(f) != fits {
					t.Fatalf("%d bytes behind %d: want taken %t", len(f), bytesOf(frames), fits)
				}
				if fits {
					frames = append(frames, f)
				}
			},
			"ring": func(t *rapid.T) {
				f := frame.Draw(t, "ring")
				q := w.queued()
				q.rings = append(q.rings, f)
				rings = append(rings, f)
			},
			"task": func(t *rapid.T) {
				d := delivery{op: &operation{priority: uint8(rapid.IntRange(1, priorities).Draw(t, "priority"))}}
				if rapid.Bool().Draw(t, "of a push") {
					d.push = new(push)
				}
				w.deliver(d)
				tasks = append(tasks, d)
			},
			"take": take,
			"finish": func(t *rapid.T) {
				var words *wire.Close
				if code := rapid.SampledFrom([]wire.CloseCode{0, wire.Blocked, wire.Displaced}).Draw(t, "code"); code != 0 {
					words = &wire.Close{Code: code}
				}
				want := 0
				for _, d := range tasks {
					if d.push != nil {
						want++
					}
				}
				if unsent := w.finish(words); len(unsent) != want {
					t.Fatalf("%d pushes were not sent, want %d", len(unsent), want)
				}
				tasks, rings = nil, nil
				if words == nil || words.Code == wire.Blocked {
					frames = nil
				}
				if words != nil {
					f, err := wire.Append(nil, words)
					if err != nil {
						t.Fatal(err)
					}
					frames = append(frames, f)
				}
			},
		})
		for len(frames)+len(rings)+len(tasks) > 0 {
			take(t)
		}
	})
}
