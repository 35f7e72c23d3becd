package main

// enoughFiles has nothing to check: Windows has no such limit.
func enoughFiles(int) error { return nil }
