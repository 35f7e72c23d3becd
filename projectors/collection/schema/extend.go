package schema

import (
	"fmt"
	"slices"
	"strings"
)

// The limits of a schema.
const (
	MaxClasses    = 1024
	MaxProperties = 256 // of a class
	maxName       = 128 // bytes of a name
)

// reserved are the beginnings of names that are no classes of an inventory.
const reserved = "SMS_CM_RES_COLL_"

// Extend returns a schema that has more classes, or known ones with more properties;
// s itself is not changed. What a class has already may be named again if it is the
// same. The error names the class and the property that cannot be taken.
func (s *Schema) Extend(classes []Class) (*Schema, error) {
	e := &Schema{classes: slices.Clone(s.classes), byName: make(map[string]int, len(s.byName)+len(classes))}
	for name, i := range s.byName {
		e.byName[name] = i
	}
	for i := range classes {
		if err := e.add(&classes[i]); err != nil {
			return nil, fmt.Errorf("class %s: %w", shorten(classes[i].Name), err)
		}
	}
	return e, nil
}

func (s *Schema) add(c *Class) error {
	if err := checkName(c.Name); err != nil {
		return err
	}
	if len(c.Name) >= len(reserved) && strings.EqualFold(c.Name[:len(reserved)], reserved) {
		return fmt.Errorf("names that begin with %s are those of collections", reserved)
	}
	i, known := s.byName[strings.ToLower(c.Name)]
	if !known {
		if i = len(s.classes); i == MaxClasses {
			return fmt.Errorf("there are %d classes already, more are not taken", MaxClasses)
		}
		if len(c.Properties) == 0 {
			return fmt.Errorf("it has no property")
		}
		s.byName[strings.ToLower(c.Name)] = i
		s.classes = append(s.classes, &Class{Name: c.Name, Device: c.Device, Implied: c.Implied, Index: i})
	}
	// The old one may be in use by queries: it is replaced, never changed.
	old := s.classes[i]
	now := &Class{Name: old.Name, Device: old.Device, Implied: old.Implied, Index: i, Properties: slices.Clone(old.Properties), byName: make(map[string]int)}
	for name, j := range old.byName {
		now.byName[name] = j
	}
	for j := range c.Properties {
		if err := now.add(&c.Properties[j], known); err != nil {
			return fmt.Errorf("property %s: %w", shorten(c.Properties[j].Name), err)
		}
	}
	s.classes[i] = now
	return nil
}

func (c *Class) add(p *Property, known bool) error {
	switch err := checkName(p.Name); {
	case err != nil:
		return err
	case c.IsDevice(p.Name):
		return fmt.Errorf("that is the number of the device, which every class has")
	case p.Type < Text || p.Type > Bool:
		return fmt.Errorf("type %d: it is text, number, date or bool", p.Type)
	case p.List && p.Type != Text:
		return fmt.Errorf("a list of %ss: only texts can be several", p.Type)
	case p.List && p.Key:
		return fmt.Errorf("a list cannot tell rows apart")
	case p.Key && strings.EqualFold(c.Name, System):
		return fmt.Errorf("%s has one row of each device, so it takes no key", System)
	}
	if i, ok := c.byName[strings.ToLower(p.Name)]; ok {
		if was := c.Properties[i]; was.Type != p.Type || was.List != p.List || was.Key != p.Key {
			return fmt.Errorf("it is there already as %s", was.describe())
		}
		return nil
	}
	switch {
	case known && p.Key:
		return fmt.Errorf("the rows of the class are told apart already, so it cannot become a key")
	case len(c.Properties) == MaxProperties:
		return fmt.Errorf("there are %d properties already, more are not taken", MaxProperties)
	}
	c.byName[strings.ToLower(p.Name)] = len(c.Properties)
	c.Properties = append(c.Properties, *p)
	return nil
}

func (p *Property) describe() string {
	text := "a " + p.Type.String()
	if p.List {
		text = "a list of texts"
	}
	if p.Key {
		text += " that is a key"
	}
	return text
}

// checkName takes what a query can name.
func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("name of %d bytes: 1 to %d are taken", len(name), maxName)
	}
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return fmt.Errorf("name %q: letters, digits and _ are taken, and a letter or _ first", shorten(name))
		}
	}
	return nil
}
