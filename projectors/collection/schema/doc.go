// Package schema is the table of classes and properties of the inventory, under
// their WQL names, and what a device's record looks like.
package schema
