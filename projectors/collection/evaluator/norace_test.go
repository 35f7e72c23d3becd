//go:build !race

package evaluator_test

// raceDetector tells whether it is on.
const raceDetector = false
