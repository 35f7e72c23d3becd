package schema

import (
	"strings"
	"sync"
)

// Standard returns the schema of the classes that are always there. Nobody changes
// it.
func Standard() *Schema { return standard() }

var standard = sync.OnceValue(func() *Schema {
	s := &Schema{byName: make(map[string]int)}
	for _, t := range tables {
		c := Class{Name: t.name, Device: t.device}
		if t.device == implied {
			c.Device, c.Implied = "", true
		}
		for _, word := range strings.Fields(t.properties) {
			c.Properties = append(c.Properties, property(word))
		}
		if err := s.add(&c); err != nil {
			panic("schema: class " + t.name + ": " + err.Error())
		}
	}
	return s
})

// implied stands in place of another name of ResourceID, see [Class.Implied].
const implied = "-"

// table is a class of the standard schema as it is written down here. A property is
// its name with a mark behind it: # number, @ date, ? bool, [] list of texts, none
// for a text; a * before the name makes it a key.
type table struct{ name, device, properties string }

func property(word string) Property {
	name, key := strings.CutPrefix(word, "*")
	p := Property{Name: name, Type: Text, Key: key}
	switch name[len(name)-1] {
	case '#':
		p.Type = Number
	case '@':
		p.Type = Date
	case '?':
		p.Type = Bool
	case ']':
		p.List = true
	}
	p.Name = strings.TrimRight(name, "#@?[]")
	return p
}
