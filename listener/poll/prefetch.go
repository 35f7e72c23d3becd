package poll

import "unsafe"

// A Piece is memory of which only the address is known. It may be somebody else's by now
// or be gone: asking for it does no harm.
type Piece struct {
	At   uintptr
	Size uintptr
}

// PieceOf is the memory of *p.
func PieceOf[T any](p *T) Piece {
	return Piece{uintptr(unsafe.Pointer(p)), unsafe.Sizeof(*p)}
}

// Part is size bytes of the piece.
func (p Piece) Part(offset, size uintptr) Piece { return Piece{p.At + offset, size} }

// line is the size of a cache line.
const line = 64

// Prefetch asks the processor for the piece, unless its address is zero. It is a hint: it
// reads nothing, so it is no race with whoever writes there, and it waits for nothing.
// Where the processor is neither amd64 nor arm64 it does nothing.
func (p Piece) Prefetch() {
	if p.At != 0 && p.Size != 0 {
		prefetch(p.At, (p.At%line+p.Size+line-1)/line)
	}
}

// Prefetch is [Piece.Prefetch] of *p, which may be nil.
func Prefetch[T any](p *T) { PieceOf(p).Prefetch() }

// handlerHead is so much of a handler as its Fetch and its turn look at, about.
const handlerHead = 5 * line

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
		Piece{data, handlerHead}.Prefetch()
	}
	for _, s := range sources {
		if f, ok := s.handler.(Fetcher); ok {
			f.Fetch(Events(s.state.Load()) & reasons)
		}
	}
}
