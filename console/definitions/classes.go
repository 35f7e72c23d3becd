package definitions

import (
	"slices"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/collection/wql"
)

type typeName struct {
	name     string
	property schema.Type
	event    event.PropertyType
}

// types are the types of properties, as documents name them and as events have
// them.
var types = []typeName{
	{"text", schema.Text, event.TextProperty},
	{"number", schema.Number, event.NumberProperty},
	{"date", schema.Date, event.DateProperty},
	{"bool", schema.Bool, event.BoolProperty},
}

// TypeName is the name of the type of a property: text, number, date or bool.
func TypeName(t event.PropertyType) string {
	for _, of := range types {
		if of.event == t {
			return of.name
		}
	}
	return "?"
}

// ofSchema makes classes of an event those of a schema.
func ofSchema(classes []event.DefinedClass) []schema.Class {
	all := make([]schema.Class, 0, len(classes))
	for _, c := range classes {
		class := schema.Class{Name: c.Name}
		for _, p := range c.Properties {
			property := schema.Property{Name: p.Name, List: p.List, Key: p.Key}
			for _, of := range types {
				if of.event == p.Type {
					property.Type = of.property
				}
			}
			class.Properties = append(class.Properties, property)
		}
		all = append(all, class)
	}
	return all
}

// merged adds classes to others: a class that is there gets the properties that it
// does not have. Neither is changed.
func merged(classes, more []event.DefinedClass) []event.DefinedClass {
	all := slices.Clone(classes)
	for _, c := range more {
		i := slices.IndexFunc(all, func(is event.DefinedClass) bool { return wql.Fold(is.Name) == wql.Fold(c.Name) })
		if i < 0 {
			all = append(all, event.DefinedClass{Name: c.Name})
			i = len(all) - 1
		}
		properties := slices.Clone(all[i].Properties)
		for _, p := range c.Properties {
			if !slices.ContainsFunc(properties, func(is event.ClassProperty) bool { return wql.Fold(is.Name) == wql.Fold(p.Name) }) {
				properties = append(properties, p)
			}
		}
		all[i].Properties = properties
	}
	return all
}
