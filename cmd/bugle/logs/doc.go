// Package logs writes what a site says of itself: to standard error, and to a file
// for each group of components.
//
//	manager.log  journal, tree, views, inbox, clock, pacing, upkeep, notices: what
//	             becomes of operations and devices at the site
//	server.log   listener, feed, relay: agents and how they are reached
//	http.log     console: administrators
//	setup.log    everything else: start, stop, settings, keys
//
// The files grow to 10 MiB; then they are renamed with the time in their names, and
// the newest five of each group are kept. They have mode 0600 in a folder of mode
// 0700. A line is the same there and on standard error, text or JSON, but for
// debug, which files have only if standard error has it too.
//
// Which group a line belongs to is said by its attribute "component", given to
// [slog.Logger.With]. A disk that is full loses lines of the files, and stops
// nothing.
package logs
