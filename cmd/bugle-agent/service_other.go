//go:build !windows

package main

// asService is for Windows: elsewhere a service is a process like any other.
func asService(program, []string) (code int, ok bool) { return 0, false }
