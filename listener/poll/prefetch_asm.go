//go:build amd64 || arm64

package poll

// prefetch asks for so many cache lines, of which at is in the first.
func prefetch(at, lines uintptr)
