package box

import (
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A Kind is the kind of a file: what it holds, and its extension. The numbers
// are on disk.
type Kind uint8

// The kinds, in the order in which a reader claims them.
const (
	BTS Kind = 1 // [Results]
	BOS Kind = 2 // [Presence]
	SVF Kind = 3 // [Status]
	DDR Kind = 4 // [Discovery]
)

// Contents is what a file holds: *[Results], *[Presence], *[Status] or
// *[Discovery].
type Contents interface {
	Kind() Kind
	// Len is the number of records.
	Len() int
}

// MaxRecords is the largest number of records in one file.
const MaxRecords = 200_000

// Results are transitions of devices in operations, in the order in which the
// listener learnt of them.
type Results struct{ Rows []ResultRow }

// A ResultRow is one transition. What an agent said carries its MAC; what the
// listener says itself (sent) has none.
type ResultRow struct {
	task.Result
	MAC [task.MACSize]byte
}

// Presence is a full report of the devices that are online at the listener, or
// a delta of those that changed since the report before.
type Presence struct {
	Full    bool
	Entries []PresenceEntry // by rising device number
}

// A PresenceEntry is one device. Reason and Carrier have the numbers of the
// journal's events.
type PresenceEntry struct {
	Device  uint32
	Online  bool
	Reason  uint8
	Carrier uint8
	Since   time.Time // in milliseconds
}

// Status is what the listener says of itself.
type Status struct{ Records []StatusRecord }

// A StatusType tells what a [StatusRecord] is. The numbers are on disk.
type StatusType uint8

// The types of status records.
const (
	Started StatusType = 1 // the listener serves: Version, Address
	Stopped StatusType = 2 // the listener ended in good order
	Refused StatusType = 3 // sign-ins refused within a minute: Where, Address, Text, Count
	Message StatusType = 4 // a status message: Component, Number, Severity, Device, Text
)

// A StatusRecord is one thing that a listener says of itself; which fields are
// used depends on Type.
type StatusRecord struct {
	Type      StatusType
	At        time.Time
	Version   string
	Where     string // "listener" or "join"
	Address   string
	Component string
	Number    uint32 // the stable number of the message
	Severity  uint8  // as in the journal's events
	Device    uint32
	Count     uint32
	Text      string
}

// Discovery is facts of devices.
type Discovery struct{ Records []DiscoveryRecord }

// A DiscoveryRecord is the facts of one device.
type DiscoveryRecord struct {
	Device uint32
	At     time.Time
	Facts  []Fact
}

// A Fact is one thing known of a device.
type Fact struct{ Name, Value string }
