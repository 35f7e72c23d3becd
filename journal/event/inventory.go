package event

import (
	"github.com/bugle-fleet/bugle/listener/wire/bounded"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Bounds of an inventory.
const (
	MaxImported   = 4096    // devices in one event
	MaxClasses    = 64      // classes of one device in one event
	MaxRows       = 4096    // rows of a class of one device
	MaxProperties = 256     // of a row, and of a class
	MaxList       = 256     // values of a property that holds several
	MaxValue      = 4 << 10 // bytes of a text
)

// A ValueType says which field of a [Value] counts. The numbers are on disk.
type ValueType uint8

// The types of values. No value is what SQL calls NULL.
const (
	NoValue     ValueType = 0
	TextValue   ValueType = 1
	NumberValue ValueType = 2 // a whole number; false and true are 0 and 1
	DateValue   ValueType = 3 // Number is Unix milliseconds, UTC
	ListValue   ValueType = 4 // several texts
)

// A Value is what a property of a device holds.
type Value struct {
	Type   ValueType
	Text   string   // at most MaxValue bytes; longer ones are cut
	Number int64    // of NumberValue and DateValue
	List   []string // at most MaxList texts
}

// items is how many elements a value takes in the array of its row, beside its type.
func (v *Value) items() int {
	switch v.Type {
	case NoValue:
		return 0
	case ListValue:
		return 1 + len(v.List)
	}
	return 1
}

func (v *Value) encode(w *bounded.Writer) {
	w.Uint(uint64(v.Type))
	switch v.Type {
	case NoValue:
	case TextValue:
		w.String(v.Text, MaxValue)
	case NumberValue, DateValue:
		w.Int(v.Number)
	case ListValue:
		if len(v.List) > MaxList {
			w.Fail("list of %d values, at most %d are taken", len(v.List), MaxList)
		}
		w.Uint(uint64(len(v.List)))
		for _, s := range v.List {
			w.String(s, MaxValue)
		}
	default:
		w.Fail("value of type %d", v.Type)
	}
}

func (v *Value) decode(r *bounded.Reader) {
	v.Type = ValueType(r.Uint(uint64(ListValue)))
	switch v.Type {
	case TextValue:
		v.Text = r.String(MaxValue)
	case NumberValue, DateValue:
		v.Number = r.Int64()
	case ListValue:
		for range r.Uint(MaxList) {
			if r.Err() != nil {
				return
			}
			v.List = append(v.List, r.String(MaxValue))
		}
	}
}

// A PropertyValue is a property of a row and what it holds now; no value removes it.
type PropertyValue struct {
	Name  string // under its WQL name
	Value Value
}

// A RowChange is what changed in one row of a class.
type RowChange struct {
	Key        string // tells the rows of one device and class apart; empty if there is but one
	Gone       bool   // the row is there no more
	Properties []PropertyValue
}

// A ClassChange is what changed of one class of a device. Rows and properties that
// it does not name stay, unless it is whole.
type ClassChange struct {
	Class string // under its WQL name: SMS_G_System_COMPUTER_SYSTEM
	Whole bool   // rows that it does not name are there no more
	Rows  []RowChange
}

// Classes, rows and values stand flat in their arrays: an import is nested deeply
// enough as it is.
func encodeClasses(w *bounded.Writer, classes []ClassChange) {
	w.List(len(classes), MaxClasses)
	for i := range classes {
		c := &classes[i]
		w.List(2+len(c.Rows), 2+MaxRows)
		w.Exact(c.Class, MaxName)
		w.Bool(c.Whole)
		for j := range c.Rows {
			c.Rows[j].encode(w)
		}
	}
}

func (c *RowChange) encode(w *bounded.Writer) {
	n := 2
	for i := range c.Properties {
		n += 2 + c.Properties[i].Value.items()
	}
	if len(c.Properties) > MaxProperties {
		w.Fail("row of %d properties, at most %d are taken", len(c.Properties), MaxProperties)
	}
	w.Array(n)
	w.Exact(c.Key, MaxName)
	w.Bool(c.Gone)
	for i := range c.Properties {
		w.Exact(c.Properties[i].Name, MaxName)
		c.Properties[i].Value.encode(w)
	}
}

func decodeClasses(r *bounded.Reader) (classes []ClassChange) {
	r.Array(MaxClasses)
	for r.More() {
		var c ClassChange
		r.Array(2 + MaxRows)
		c.Class = r.String(MaxName)
		c.Whole = r.Bool()
		for r.More() {
			c.Rows = append(c.Rows, decodeRowChange(r))
		}
		r.End()
		classes = append(classes, c)
	}
	r.End()
	return classes
}

func decodeRowChange(r *bounded.Reader) (c RowChange) {
	r.Array(2 + MaxProperties*(3+MaxList))
	c.Key = r.String(MaxName)
	c.Gone = r.Bool()
	for r.More() {
		if len(c.Properties) == MaxProperties {
			r.Fail("row of more than %d properties", MaxProperties)
			break
		}
		p := PropertyValue{Name: r.String(MaxName)}
		p.Value.decode(r)
		c.Properties = append(c.Properties, p)
	}
	r.End()
	return c
}

// An ImportedDevice is what an import says of one device.
type ImportedDevice struct {
	Device  uint32  // its number; a new one if New
	New     bool    // the record is made by this event
	ID      task.ID // of a new record
	Name    string  // of a new record, or the new name; empty: as it was
	Classes []ClassChange
}

// DevicesImported brings records of devices that an administrator imported, and
// what is known of them. A new record gets a number like a device that joins; it
// has no certificate until it does.
type DevicesImported struct {
	Source  string // the name of the file, for people
	Devices []ImportedDevice
}

// Kind returns devices.imported.
func (*DevicesImported) Kind() Kind { return KindDevicesImported }

func (p *DevicesImported) encode(w *bounded.Writer) {
	w.Array(3)
	w.Uint(1)
	w.String(p.Source, MaxName)
	w.List(len(p.Devices), MaxImported)
	for i := range p.Devices {
		d := &p.Devices[i]
		w.Array(5)
		w.Uint(uint64(d.Device))
		w.Bool(d.New)
		w.Raw(d.ID[:])
		w.String(d.Name, MaxName)
		encodeClasses(w, d.Classes)
	}
}

func (p *DevicesImported) decode(r *bounded.Reader) {
	r.Version(1)
	p.Source = r.String(MaxName)
	r.Array(MaxImported)
	for r.More() {
		var d ImportedDevice
		r.Array(16)
		d.Device = r.Uint32()
		d.New = r.Bool()
		r.Raw(d.ID[:])
		d.Name = r.String(MaxName)
		d.Classes = decodeClasses(r)
		r.End()
		p.Devices = append(p.Devices, d)
	}
	r.End()
	r.End()
}

// DeviceRemoved ends the record of a device: its certificates count no more, it is
// in no collection, and its number is never given again.
type DeviceRemoved struct {
	Device uint32
	Reason string
}

// Kind returns device.removed.
func (*DeviceRemoved) Kind() Kind { return KindDeviceRemoved }

func (p *DeviceRemoved) encode(w *bounded.Writer) { encodeDeviceReason(w, p.Device, p.Reason) }
func (p *DeviceRemoved) decode(r *bounded.Reader) { p.Device, p.Reason = decodeDeviceReason(r) }

// A PropertyType is the type of a property of a class. The numbers are on disk.
type PropertyType uint8

// The types of properties.
const (
	TextProperty   PropertyType = 1
	NumberProperty PropertyType = 2
	DateProperty   PropertyType = 3
	BoolProperty   PropertyType = 4
)

// A ClassProperty is a property of a class that an administrator defined.
type ClassProperty struct {
	Name string
	Type PropertyType
	List bool // holds several values
	Key  bool // tells the rows of one device apart, alone or with others
}

// ClassesDefined adds classes of inventory, or properties to classes that an
// administrator defined before. Nothing is taken away.
type ClassesDefined struct {
	Classes []DefinedClass
	Reason  string
}

// A DefinedClass is one class of a [ClassesDefined].
type DefinedClass struct {
	Name       string
	Properties []ClassProperty
}

// Kind returns classes.defined.
func (*ClassesDefined) Kind() Kind { return KindClassesDefined }

func (p *ClassesDefined) encode(w *bounded.Writer) {
	w.Array(3)
	w.Uint(1)
	w.List(len(p.Classes), MaxClasses)
	for _, c := range p.Classes {
		w.Array(2)
		w.Exact(c.Name, MaxName)
		w.List(len(c.Properties), MaxProperties)
		for _, d := range c.Properties {
			w.Array(4)
			w.Exact(d.Name, MaxName)
			w.Uint(uint64(d.Type))
			w.Bool(d.List)
			w.Bool(d.Key)
		}
	}
	w.String(p.Reason, MaxText)
}

func (p *ClassesDefined) decode(r *bounded.Reader) {
	r.Version(1)
	r.Array(MaxClasses)
	for r.More() {
		var c DefinedClass
		r.Array(16)
		c.Name = r.String(MaxName)
		r.Array(MaxProperties)
		for r.More() {
			r.Array(16)
			c.Properties = append(c.Properties, ClassProperty{r.String(MaxName), PropertyType(r.Uint(1<<8 - 1)), r.Bool(), r.Bool()})
			r.End()
		}
		r.End()
		r.End()
		p.Classes = append(p.Classes, c)
	}
	r.End()
	p.Reason = r.String(MaxText)
	r.End()
}
