package action

import "testing"

// makePipe has nothing to make: pipes are not in folders.
func makePipe(string) error { return nil }

// groupSize has nothing to count: the tests that need it start sh.
func groupSize(testing.TB, int) int { return 0 }

func killGroup(int) {}
