//go:build !amd64 && !arm64

package poll

// prefetch does nothing on this processor.
func prefetch(at, lines uintptr) {}
