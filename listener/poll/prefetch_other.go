//go:build !amd64 && !arm64

package poll

// Prefetch does nothing on this processor.
func Prefetch[T any](*T) {}

func (Piece) prefetch() {}

func fetch([]*Source) {}
