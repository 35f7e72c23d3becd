// Package engine evaluates collections: a pure core without I/O and clock.
package engine
