package fleet

import (
	"io"
	"strings"
	"sync"
	"testing"
)

func TestOutbox(t *testing.T) {
	const writers, n = 8, 3000
	o := newOutbox[news]()
	r, w := io.Pipe()
	go func() { w.CloseWithError(o.write(w)) }()
	var putting sync.WaitGroup
	for i := range writers {
		putting.Go(func() {
			for k := range n {
				o.put(news{What: newsTask, Agent: i, Number: uint64(k)})
			}
		})
	}
	go func() { putting.Wait(); o.close() }()
	var next [writers]uint64
	err := each(r, func(m news) {
		if m.What != newsTask || m.Number != next[m.Agent] {
			t.Errorf("writer %d: %d, want %d", m.Agent, m.Number, next[m.Agent])
		}
		next[m.Agent] = m.Number + 1
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range next {
		if got != n {
			t.Errorf("%d of writer %d arrived, want %d", got, i, n)
		}
	}
}

func TestOutboxToNobody(t *testing.T) {
	o := newOutbox[order]()
	r, w := io.Pipe()
	r.Close()
	o.put(order{What: orderDrop})
	if err := o.write(w); err == nil {
		t.Error("nobody reads, and that is no error")
	}
	if err := each(strings.NewReader("this is no order"), func(order) {}); err == nil {
		t.Error("text is an order")
	}
}
