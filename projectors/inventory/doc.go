// Package inventory is the view of what is known of the devices, by class and
// property, under their WQL names.
package inventory
