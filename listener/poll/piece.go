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

// Prefetch asks the processor for the piece, if there is one; see the function.
func (p Piece) Prefetch() {
	if p.At != 0 {
		p.prefetch()
	}
}
