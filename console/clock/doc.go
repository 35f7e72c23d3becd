// Package clock is the one part of a site that turns time into events, so that no
// view needs a clock. Every second it looks at the views and appends
//
//	operation.expired  when deliver-by has passed and somebody has not the task
//	operation.closed   when deliver-by, run timeout and ten minutes have passed; a
//	                   result that comes later still corrects what it said
//	listener.lost      when a listener was silent for three of its intervals
//	site.message       when a device comes and goes (number 1201), once an hour each
//	                   and about at most 100 devices an hour
//
// It says each once: after an append it waits until the views know of it before
// it looks again. What was due while the site was down is said when it is up; a
// listener is lost only if it was silent while the site was there to hear it.
package clock
