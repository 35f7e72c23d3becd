package console

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/listener/wire/task"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
	"github.com/bugle-fleet/bugle/projectors/inventory"
)

// An importLine is what a line of an import says of a device.
type importLine struct {
	number  uint32  // 0 if it does not say
	id      task.ID // zero if it does not say
	name    string  // empty if it does not say
	classes []importClass
}

// An importClass is what a line says of a class. Of one with keys it says all rows.
type importClass struct {
	class *schema.Class
	rows  []importRow
}

// An importRow is the properties of a row that a line names; no value removes one.
type importRow struct {
	key    string
	values []placed
	size   int // of the texts
}

// placed is a value at the place of its property.
type placed struct {
	place int
	value event.Value
}

// A lineReader reads one line, a JSON object, by a schema.
type lineReader struct {
	jsonReader
	schema *schema.Schema
	line   importLine
	system importRow
	size   int // values so far
}

// maxLineValues is how many values one line may have.
const maxLineValues = 100_000

// readLine reads a line. The error is a sentence about what cannot be taken.
func readLine(s *schema.Schema, raw []byte) (*importLine, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("it is not UTF-8")
	}
	r := &lineReader{schema: s, jsonReader: jsonReader{text: string(raw)}}
	t, err := r.token()
	switch {
	case err != nil:
		return nil, err
	case t.kind != '{':
		return nil, fmt.Errorf("%s where an object must be", t.words())
	}
	if err := r.members(r.top); err != nil {
		return nil, err
	}
	if r.space(); r.at < len(r.text) {
		return nil, fmt.Errorf("something follows the object, at byte %d", r.at+1)
	}
	if len(r.system.values) > 0 {
		class, _ := s.Class(schema.System)
		r.line.classes = append(r.line.classes, importClass{class, []importRow{r.system}})
	}
	if r.line.number == 0 && r.line.id.IsZero() && r.line.name == "" {
		return nil, errors.New(`it names no device: give "name", "number" or "id"`)
	}
	return &r.line, nil
}

// top reads a member of the line's object: who the device is, a class, or a property
// of the first class.
func (r *lineReader) top(name string) error {
	switch strings.ToLower(name) {
	case "name":
		return r.takeName()
	case "id":
		return r.takeID()
	case "number", "resourceid":
		return r.takeNumber()
	}
	if class, ok := r.schema.Class(name); ok {
		if slices.ContainsFunc(r.line.classes, func(c importClass) bool { return c.class == class }) {
			return fmt.Errorf("%s is there twice", class.Name)
		}
		return r.class(class)
	}
	class, _ := r.schema.Class(schema.System)
	if place, ok := class.Property(name); ok {
		return r.property(class, place, &r.system)
	}
	nearest := r.schema.Nearest(name)
	if nearest == "" {
		nearest = class.Nearest(name)
	}
	return unknownName(fmt.Sprintf("there is no class, and no property of %s, %q", schema.System, clip(name)), nearest)
}

func unknownName(what, nearest string) error {
	if nearest != "" {
		return fmt.Errorf("%s; %s is near", what, nearest)
	}
	return errors.New(what)
}

func (r *lineReader) takeName() error {
	t, err := r.token()
	switch {
	case err != nil:
		return err
	case t.kind != '"':
		return fmt.Errorf("name: %s where text must be", t.words())
	case r.line.name != "":
		return fmt.Errorf("it gives two names, %q and %q", clip(r.line.name), clip(t.text))
	}
	name := t.text
	if name == "" || len(name) > event.MaxName || strings.TrimSpace(name) != name || strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return fmt.Errorf("name: it is printable text of 1 to %d bytes, without spaces around, not %q", event.MaxName, clip(name))
	}
	r.line.name = name
	return nil
}

func (r *lineReader) takeID() error {
	t, err := r.token()
	if err != nil {
		return err
	}
	id, err := task.ParseID(t.text)
	if err != nil || id.IsZero() || !r.line.id.IsZero() {
		return fmt.Errorf("id: %s is not the one UUID of a device", t.words())
	}
	r.line.id = id
	return nil
}

func (r *lineReader) takeNumber() error {
	t, err := r.token()
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(t.text, 10, 32)
	if err != nil || n == 0 || n > task.MaxDevice {
		return fmt.Errorf("number: %s is not the number of a device", t.words())
	}
	if r.line.number != 0 {
		return fmt.Errorf("it gives two numbers, %d and %d", r.line.number, n)
	}
	r.line.number = uint32(n)
	return nil
}

// class reads the row of a class without keys, which is an object, or all rows of one
// with keys, which is an array of objects.
func (r *lineReader) class(class *schema.Class) error {
	t, err := r.token()
	if err != nil {
		return err
	}
	keyed := class.Keyed()
	switch {
	case !keyed && t.kind == '{' && class.Index == 0:
		return r.row(class, &r.system)
	case !keyed && t.kind == '{':
		var row importRow
		err := r.row(class, &row)
		r.line.classes = append(r.line.classes, importClass{class, []importRow{row}})
		return err
	case keyed && t.kind == '[':
		return r.rows(class)
	case keyed:
		return fmt.Errorf("%s: a device has several rows of it; give a list of objects, not %s", class.Name, t.words())
	}
	return fmt.Errorf("%s: a device has one row of it; give an object, not %s", class.Name, t.words())
}

func (r *lineReader) rows(class *schema.Class) error {
	c := importClass{class: class}
	seen, size := map[string]bool{}, 0
	err := r.elements(func() error {
		if len(c.rows) == event.MaxRows {
			return fmt.Errorf("%s: more than %d rows", class.Name, event.MaxRows)
		}
		t, err := r.token()
		if err != nil {
			return err
		}
		if t.kind != '{' {
			return fmt.Errorf("%s: %s where an object must be", class.Name, t.words())
		}
		var row importRow
		if err := r.row(class, &row); err != nil {
			return err
		}
		if err := row.setKey(class, seen); err != nil {
			return err
		}
		seen[row.key] = true
		if size += 16 + 32*len(row.values) + row.size; size > inventory.MaxImported {
			return fmt.Errorf("%s: rows of more than %d bytes", class.Name, inventory.MaxImported)
		}
		c.rows = append(c.rows, row)
		return nil
	})
	r.line.classes = append(r.line.classes, c)
	return err
}

// row reads the members of an object that has been entered.
func (r *lineReader) row(class *schema.Class, row *importRow) error {
	return r.members(func(name string) error {
		if place, ok := class.Property(name); ok && (class.Index > 0 || !strings.EqualFold(name, "Name")) {
			return r.property(class, place, row)
		}
		switch {
		case class.Index == 0 && strings.EqualFold(name, "Name"):
			return r.takeName()
		case class.IsDevice(name):
			return r.takeNumber()
		}
		return unknownName(fmt.Sprintf("class %s has no property %q", class.Name, clip(name)), class.Nearest(name))
	})
}

func (r *lineReader) property(class *schema.Class, place int, row *importRow) error {
	p := &class.Properties[place]
	v, err := r.value(p)
	if err != nil {
		return fmt.Errorf("%s.%s: %w", class.Name, p.Name, err)
	}
	if r.size++; r.size > maxLineValues {
		return fmt.Errorf("more than %d values", maxLineValues)
	}
	for _, was := range row.values {
		if was.place == place {
			return fmt.Errorf("%s.%s is there twice", class.Name, p.Name)
		}
	}
	row.values = append(row.values, placed{place, v})
	if row.size += valueSize(&v); row.size > maxRowBytes {
		return fmt.Errorf("%s: a row of more than %d bytes", class.Name, maxRowBytes)
	}
	return nil
}

// maxRowBytes is how much the values of one row may be.
const maxRowBytes = maxImportBytes / 2

func valueSize(v *event.Value) int {
	n := len(v.Text)
	for _, s := range v.List {
		n += len(s)
	}
	return n
}

// value reads a value of a property: text, a number or a bool as they are or as text,
// null for none, and a list of texts for one that holds several.
func (r *lineReader) value(p *schema.Property) (event.Value, error) {
	t, err := r.token()
	if err != nil {
		return event.Value{}, err
	}
	switch t.kind {
	case 'n':
		return event.Value{}, nil
	case '"', '0':
		return textOf(p, t.text)
	case 't', 'f':
		text := map[byte]string{'t': "True", 'f': "False"}[t.kind]
		if p.Type == schema.Number {
			text = map[byte]string{'t': "1", 'f': "0"}[t.kind]
		}
		return textOf(p, text)
	case '[':
		if p.List {
			return r.list()
		}
	}
	return event.Value{}, fmt.Errorf("%s where %s must be", t.words(), typeWords(p))
}

// textOf is a text as the value of a property. An empty one is no number, date or
// bool.
func textOf(p *schema.Property, text string) (event.Value, error) {
	if text == "" && p.Type != schema.Text {
		return event.Value{}, nil
	}
	if len(text) > event.MaxValue {
		return event.Value{}, fmt.Errorf("text of %d bytes, at most %d are taken", len(text), event.MaxValue)
	}
	v, err := schema.ParseValue(p, text)
	if err != nil {
		return event.Value{}, fmt.Errorf("%w, and it must be %s", err, typeWords(p))
	}
	switch {
	case p.List:
		return event.Value{Type: event.ListValue, List: v.List}, nil
	case p.Type == schema.Text:
		return event.Value{Type: event.TextValue, Text: v.Text}, nil
	case p.Type == schema.Date:
		return event.Value{Type: event.DateValue, Number: v.Number}, nil
	}
	return event.Value{Type: event.NumberValue, Number: v.Number}, nil
}

func typeWords(p *schema.Property) string {
	switch {
	case p.List:
		return "a list of texts"
	case p.Type == schema.Text:
		return "text"
	}
	return "a " + p.Type.String()
}

func (r *lineReader) list() (event.Value, error) {
	v := event.Value{Type: event.ListValue}
	err := r.elements(func() error {
		t, err := r.token()
		switch {
		case err != nil:
			return err
		case t.kind != '"':
			return fmt.Errorf("%s in a list of texts", t.words())
		case len(v.List) == event.MaxList:
			return fmt.Errorf("more than %d texts", event.MaxList)
		case len(t.text) > event.MaxValue:
			return fmt.Errorf("text of %d bytes, at most %d are taken", len(t.text), event.MaxValue)
		}
		v.List = append(v.List, t.text)
		r.size++
		return nil
	})
	return v, err
}

// programs are the classes of which a row without its key is told by its name, and by
// its version if there are several of the name.
var programs = map[string]bool{"SMS_G_System_ADD_REMOVE_PROGRAMS": true, "SMS_G_System_ADD_REMOVE_PROGRAMS_64": true}

// setKey sets the key of a row from its values. The other rows have the keys in seen.
func (row *importRow) setKey(class *schema.Class, seen map[string]bool) error {
	if !row.keyed(class) && programs[class.Name] {
		row.nameKey(class, seen)
	}
	if !row.keyed(class) {
		return fmt.Errorf("%s: a row has no %s, which tells it from the others", class.Name, keysOf(class))
	}
	row.key = schema.Key(class, row.schemaRow(class))
	if seen[row.key] {
		return fmt.Errorf("%s: two rows have the same %s, %q", class.Name, keysOf(class), clip(row.key))
	}
	return nil
}

// nameKey makes the key of a program.
func (row *importRow) nameKey(class *schema.Class, seen map[string]bool) {
	id, _ := class.Property("ProdID")
	name := row.text(class, "DisplayName")
	if name == "" {
		return
	}
	set := func(text string) {
		row.values = append(row.values, placed{id, event.Value{Type: event.TextValue, Text: text}})
	}
	n := len(row.values)
	if set(name); seen[schema.Key(class, row.schemaRow(class))] {
		row.values = row.values[:n]
		set(strings.TrimSpace(name + " " + row.text(class, "Version")))
	}
}

func (row *importRow) text(class *schema.Class, property string) string {
	place, _ := class.Property(property)
	for _, v := range row.values {
		if v.place == place {
			return v.value.Text
		}
	}
	return ""
}

// keyed tells whether one of the key properties has a value.
func (row *importRow) keyed(class *schema.Class) bool {
	for _, v := range row.values {
		if class.Properties[v.place].Key && v.value.Type != event.NoValue {
			return true
		}
	}
	return false
}

func keysOf(class *schema.Class) string {
	var names []string
	for i := range class.Properties {
		if class.Properties[i].Key {
			names = append(names, class.Properties[i].Name)
		}
	}
	return strings.Join(names, " or ")
}

// schemaRow is a row as the schema takes it.
func (row *importRow) schemaRow(class *schema.Class) schema.Row {
	r := make(schema.Row, len(class.Properties))
	for _, v := range row.values {
		if v.value.Type != event.NoValue {
			r[v.place] = schema.Value{Set: true, Number: v.value.Number, Text: v.value.Text, List: v.value.List}
		}
	}
	return r
}
