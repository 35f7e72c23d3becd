package schema

import "strings"

// A Type is the type of a property.
type Type uint8

// The types.
const (
	Text   Type = iota + 1 // folded by Unicode when it is compared
	Number                 // a whole number of 64 bits
	Date                   // an instant, to the millisecond
	Bool                   // 0 or 1
)

// String returns "text", "number", "date" or "bool".
func (t Type) String() string {
	switch t {
	case Text:
		return "text"
	case Number:
		return "number"
	case Date:
		return "date"
	case Bool:
		return "bool"
	}
	return "?"
}

// System is the class that every device has one row of; the other classes are
// joined to it.
const System = "SMS_R_System"

// ResourceID is the property that every class has: the device's number.
const ResourceID = "ResourceID"

// A Property is a column of a class.
type Property struct {
	Name string // its WQL name
	Type Type
	List bool // holds several values (texts)
	Key  bool // tells the rows of one device apart, alone or with other keys
}

// A Class is a table of the inventory. A device has any number of rows of it; of
// [System], and of classes without keys, at most one.
type Class struct {
	Name       string     // its WQL name
	Properties []Property // ResourceID is not among them
	Index      int        // its place in the schema
	Device     string     // what it calls ResourceID, besides that; mostly empty
	// Implied: a join of it need not name ResourceID. The original keeps such a class
	// once for all devices; here each has the rows that go with it.
	Implied bool

	byName map[string]int
}

// Property returns the place of a property in Properties by its name, in any case.
func (c *Class) Property(name string) (int, bool) {
	i, ok := c.byName[strings.ToLower(name)]
	return i, ok
}

// IsDevice tells whether a name, in any case, is that of [ResourceID] or of what the
// class calls it.
func (c *Class) IsDevice(name string) bool {
	return strings.EqualFold(name, ResourceID) || c.Device != "" && strings.EqualFold(name, c.Device)
}

// Keyed tells whether a device can have several rows.
func (c *Class) Keyed() bool {
	for i := range c.Properties {
		if c.Properties[i].Key {
			return true
		}
	}
	return false
}

// A Value is what a property of a device holds; the zero value is none, which is
// NULL.
type Value struct {
	Set    bool
	Number int64    // of Number, Bool, and of Date as Unix milliseconds
	Text   string   // of Text
	List   []string // of a list
}

// A Row holds the values of a class's properties, in their order. It may be
// shorter: the others are NULL.
type Row []Value

// A Record is all that is known of a device.
type Record struct {
	Device  uint32
	Classes []ClassRows // in the order of their Index, System among them; those without rows are left out
}

// ClassRows is the rows of one class.
type ClassRows struct {
	Class int // its Index
	Rows  []Row
}

// A Schema is the table of classes. It is not changed once it is made; [Schema.Extend]
// returns another one, in which every class and property keeps its place.
type Schema struct {
	classes []*Class
	byName  map[string]int
}

// Class returns a class by its name, in any case.
func (s *Schema) Class(name string) (*Class, bool) {
	i, ok := s.byName[strings.ToLower(name)]
	if !ok {
		return nil, false
	}
	return s.classes[i], true
}

// Classes returns all classes in their order; nobody changes them. System is the
// first.
func (s *Schema) Classes() []*Class { return s.classes }
