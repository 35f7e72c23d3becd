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
//	              └─ open ─── projectors: device presence operation status
//	                          tree: signed checkpoints, proofs
//
// One process owns a site's folder; [Open] refuses a second.
package site
