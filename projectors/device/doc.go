// Package device is the view of the devices: who they are, what is known of
// them, and which may connect. It folds device.joined, device.discovered,
// device.blocked, device.unblocked, certificate.issued, devices.imported and
// device.removed.
//
// A device has the number that the site gave it and keeps it for ever; what an
// event says of a number that never joined changes nothing. A device that joins
// again under its number gets its new name, id and certificate, keeps its facts,
// and stays blocked if it was. Each fact has a row of its own, so that an
// inventory of which little changed costs little; at most [MaxFacts] names are
// kept of one device. A fact that comes without a value is gone.
//
// A record that was imported is one for which no agent has joined. What was removed
// is found by its number alone, as it was; no later event changes it.
//
// All reads of one [Reader.At] see the devices after the same event.
package device
