// Package site is a whole site in one process: it makes the parts, joins them,
// starts them in the order in which they need one another and ends them in the
// order of the data.
//
//	agents ──TCP──┐                                  administrators
//	joining ─HTTPS┤                                        │ HTTPS
//	              v        box                             v
//	          listener ──> inboxes/bgb.box ──> inbox    console, authority, clock
//	              ^                              │         │
//	              │                              └──┬──────┘
//	            feed <──────── journal <── append ──┘
//	              ^               │ follow
//	              └─ open ─── projectors: device presence operation status inventory collection window
//	                          evaluator: what collections become
//	                          tree: signed checkpoints, proofs
//
// Listeners that run apart (package outpost) are served by two more parts: the
// listener's HTTPS port takes their files and answers their questions (package
// relay), and a publisher (package feed), with a port of its own, tells them what
// the feed tells the listener in this process. Its store, DATA/run/feed, is emptied
// at each start.
//
// One process owns a site's folder; [Open] refuses a second.
package site
