// Package site is a running site as a simulated fleet sees it from the
// administrator's side: where it is, and those calls of its API that a simulation
// makes.
package site
