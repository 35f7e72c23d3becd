//go:build !unix

package jetstream

func appendUntilFull(string) {}
