// Package status is the view of how the site's own parts do: status messages,
// those of the site itself included, listeners, refused sign-ins, and what is in
// quarantine. It folds every kind of event that a box file can become, for each
// tells that its listener lives.
//
// Messages, refusals and quarantined things are kept up to a number
// ([MaxMessages], [MaxRefusals], [MaxQuarantined]); the oldest give way. The
// journal has them all.
package status
