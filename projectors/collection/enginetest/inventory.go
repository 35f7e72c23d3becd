package enginetest

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// Epoch is the time around which random dates lie.
var Epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// The classes that random inventories have rows of, with all types of values.
const (
	one  = "SMS_G_System_TEST_ONE"  // at most one row
	many = "SMS_G_System_TEST_MANY" // up to four
)

// Schema returns the standard classes and those of random inventories.
func Schema() *schema.Schema {
	s, err := schema.Standard().Extend([]schema.Class{
		{Name: one, Properties: []schema.Property{
			{Name: "Text", Type: schema.Text}, {Name: "Number", Type: schema.Number}, {Name: "Date", Type: schema.Date},
			{Name: "Bool", Type: schema.Bool}, {Name: "List", Type: schema.Text, List: true}}},
		{Name: many, Properties: []schema.Property{
			{Name: "Place", Type: schema.Number, Key: true}, {Name: "Text", Type: schema.Text}, {Name: "Number", Type: schema.Number},
			{Name: "Date", Type: schema.Date}, {Name: "Bool", Type: schema.Bool}, {Name: "List", Type: schema.Text, List: true}}},
	})
	if err != nil {
		panic(err) // the classes are right
	}
	return s
}

// used are the properties of SMS_R_System that random inventories have.
var used = []string{"Name", "Build", "Client", "Obsolete", "CreationDate", "LastLogonTimestamp", "IsVirtualMachine", "SystemOUName", "IPSubnets"}

// Values are few, so that they meet.
var (
	texts = []string{"", "a", "A", "b", "ab", "aB", "b_a", "a%", "[a]", "10", "9", "Straße", "ÄRGER", "ärger", "Łódź", "łÓDŹ", "a-c", "^", "x y"}
	ints  = []int64{-1 << 63, -2, -1, 0, 1, 2, 3, 10, 1<<63 - 1}
)

func date(t *rapid.T) int64 {
	day := rapid.IntRange(-40, 40).Draw(t, "day")
	if rapid.IntRange(0, 9).Draw(t, "far") == 0 {
		day *= 365
	}
	of := rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Hour, 12*time.Hour + 30*time.Minute, 24*time.Hour - time.Millisecond}).Draw(t, "time of day")
	return Epoch.AddDate(0, 0, day).Add(of).UnixMilli()
}

// value is one of a property, now and then none.
func value(t *rapid.T, p *schema.Property) schema.Value {
	if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
		return schema.Value{}
	}
	v := schema.Value{Set: true}
	switch {
	case p.List:
		v.List = rapid.SliceOfN(rapid.SampledFrom(texts), 1, 3).Draw(t, "list")
	case p.Type == schema.Text:
		v.Text = rapid.SampledFrom(texts).Draw(t, "text")
	case p.Type == schema.Date:
		v.Number = date(t)
	case p.Type == schema.Bool:
		v.Number = rapid.Int64Range(0, 1).Draw(t, "bool")
	default:
		v.Number = rapid.SampledFrom(ints).Draw(t, "number")
	}
	return v
}

func rowOf(t *rapid.T, c *schema.Class) schema.Row {
	length := rapid.IntRange(0, len(c.Properties)).Draw(t, "length")
	row := make(schema.Row, 0, length)
	for i := range length {
		row = append(row, value(t, &c.Properties[i]))
	}
	return row
}

// record is a random record of a device.
func record(t *rapid.T, s *schema.Schema, device uint32) *schema.Record {
	r := &schema.Record{Device: device}
	system := s.Classes()[0]
	row := make(schema.Row, len(system.Properties))
	for _, name := range used {
		i, ok := system.Property(name)
		if !ok {
			panic(fmt.Sprintf("%s has no property %s", system.Name, name))
		}
		row[i] = value(t, &system.Properties[i])
	}
	r.Classes = append(r.Classes, schema.ClassRows{Class: 0, Rows: []schema.Row{row}})
	for _, name := range []string{one, many} {
		c, _ := s.Class(name)
		n := rapid.IntRange(0, most(c)).Draw(t, "rows of "+name)
		rs := schema.ClassRows{Class: c.Index}
		for range n {
			rs.Rows = append(rs.Rows, rowOf(t, c))
		}
		if n > 0 {
			r.Classes = append(r.Classes, rs)
		}
	}
	return r
}

// most is how many rows a device has at most.
func most(c *schema.Class) int {
	if c.Keyed() {
		return 4
	}
	return 1
}
