//go:build amd64 || arm64

package poll

import "unsafe"

// Prefetch asks the processor for the memory of *p, which may be nil. It is a hint: it
// reads nothing, so it is no race with whoever writes there, and it waits for nothing.
func Prefetch[T any](p *T) { PieceOf(p).Prefetch() }

// prefetch asks for the cache lines of size bytes.
func prefetch(at, size uintptr)

func (p Piece) prefetch() { prefetch(p.At, p.Size) }

// handlerHead is so much of a handler as its Fetch looks at, about.
const handlerHead = 4 * 64

// fetch lets the processor get the memory of all sources at the same time: what says
// where a piece is comes before the piece.
func fetch(sources []*Source) {
	if len(sources) == 1 {
		return
	}
	for _, s := range sources {
		Prefetch(s)
	}
	for _, s := range sources {
		data := (*[2]uintptr)(unsafe.Pointer(&s.handler))[1]
		prefetch(data, handlerHead)
	}
	for _, s := range sources {
		if f, ok := s.handler.(Fetcher); ok {
			f.Fetch(Events(s.state.Load()) & reasons)
		}
	}
}
