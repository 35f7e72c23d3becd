package poll

import (
	"math"
	"testing"
)

// TestPrefetchAnything asks for memory that is not there: it is a hint, and does no harm.
func TestPrefetchAnything(t *testing.T) {
	Prefetch[Conn](nil)
	Prefetch(new(Conn))
	PieceOf(new([1000]byte)).Part(990, 100).Prefetch()
	for _, at := range []uintptr{0, 1, 4096, math.MaxUint / 3, math.MaxUint - 10} {
		Piece{At: at, Size: 5000}.Prefetch()
		Piece{At: at}.Prefetch()
	}
}
