package referee

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/bugle-fleet/bugle/journal/event"
	"github.com/bugle-fleet/bugle/projectors/collection/engine"
	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// ErrMissing is wrapped by the error of a database that is not on this machine.
var ErrMissing = errors.New("not on this machine")

// A Peer is a database that evaluates collections.
type Peer struct {
	Name string // postgres or duckdb

	dir     string // for files
	d       dialect
	s       *session
	backend backend
	columns map[int][]int // of each class that has a table, the properties that are columns
	schema  *schema.Schema
	order   []engine.Collection // each after those it depends on
	numbers map[string]int
}

// A backend is what a database does in its own way besides statements.
type backend interface {
	// form appends a row as the database reads it from a file: device and columns.
	form(b []byte, fields []string, columns []column) []byte
	// take adds the rows of a file to a table.
	take(s *session, table, file string, columns []column) error
	// members yields all pairs.
	members(s *session, pair func(number, device int) error) error
	// size is how many bytes the members take, and whether that is on disk.
	size(s *session) (int64, error)
	stop() error
}

// Load makes the tables and fills them. Only the named properties of classes become
// columns: a class with each Property by its index.
func (p *Peer) Load(s *schema.Schema, properties map[int][]int, records iter.Seq[*schema.Record]) (time.Duration, error) {
	began := time.Now()
	p.schema, p.columns = s, properties
	var b strings.Builder
	for class := range properties {
		b.WriteString(p.d.create(tableOf(s.Classes()[class]), p.columnsOf(class)))
		b.WriteString(p.d.create("new_"+tableOf(s.Classes()[class]), p.columnsOf(class)))
	}
	b.WriteString("create table member (coll integer not null, device integer not null);\ncreate table direct (coll integer not null, device integer not null);\ncreate table changed (device integer not null);\n")
	if _, err := p.s.run(b.String(), nil); err != nil {
		return 0, err
	}
	if err := p.fill("", records); err != nil {
		return 0, err
	}
	if indexes := p.d.indexes(); indexes != "" {
		if _, err := p.s.run(indexes, nil); err != nil {
			return 0, err
		}
	}
	return time.Since(began), p.settle()
}

func (p *Peer) columnsOf(class int) (all []column) {
	c := p.schema.Classes()[class]
	for _, i := range p.columns[class] {
		all = append(all, column{columnOf(&c.Properties[i]), c.Properties[i].Type, c.Properties[i].List})
	}
	return all
}

// fill adds the rows of records to the tables whose names begin with prefix.
func (p *Peer) fill(prefix string, records iter.Seq[*schema.Record]) error {
	files := map[int]*rowFile{}
	defer func() {
		for _, f := range files {
			f.remove()
		}
	}()
	for class := range p.columns {
		f, err := newRowFile(p.dir)
		if err != nil {
			return fmt.Errorf("load %s: %w", p.Name, err)
		}
		files[class] = f
	}
	columns := map[int][]column{}
	for class := range files {
		columns[class] = p.columnsOf(class)
	}
	for r := range records {
		for class, f := range files {
			for _, row := range rowsOf(r, class) {
				f.add(p.backend.form(f.b[:0], p.fields(class, r.Device, row), columns[class]))
			}
		}
	}
	for class, f := range files {
		if err := p.take(prefix+tableOf(p.schema.Classes()[class]), f, columns[class]); err != nil {
			return err
		}
	}
	return nil
}

func (p *Peer) take(table string, f *rowFile, columns []column) error {
	err := f.close()
	if err == nil && f.rows > 0 {
		err = p.backend.take(p.s, table, f.name(), columns)
	}
	if err != nil {
		return fmt.Errorf("fill table %s of %s: %w", table, p.Name, err)
	}
	return nil
}

// fillWith adds rows to a table without a class.
func (p *Peer) fillWith(table string, columns []column, rows iter.Seq[[]string]) error {
	f, err := newRowFile(p.dir)
	if err != nil {
		return fmt.Errorf("fill table %s of %s: %w", table, p.Name, err)
	}
	defer f.remove()
	for fields := range rows {
		f.add(p.backend.form(f.b[:0], fields, columns))
	}
	return p.take(table, f, columns)
}

func rowsOf(r *schema.Record, class int) []schema.Row {
	for _, c := range r.Classes {
		if c.Class == class {
			return c.Rows
		}
	}
	return nil
}

// Marks in the fields of a row.
const (
	null      = "\x00"
	separator = "\x1f" // between the values of a list
)

// fields are those of a row: device and columns, folded.
func (p *Peer) fields(class int, device uint32, row schema.Row) []string {
	all := []string{strconv.Itoa(int(device))}
	c := p.schema.Classes()[class]
	for _, i := range p.columns[class] {
		switch {
		case i >= len(row) || !row[i].Set:
			all = append(all, null)
		case c.Properties[i].List:
			all = append(all, folded(strings.Join(row[i].List, separator)))
		case c.Properties[i].Type == schema.Text:
			all = append(all, folded(row[i].Text))
		default:
			all = append(all, strconv.FormatInt(row[i].Number, 10))
		}
	}
	return all
}

// Define takes the collections, each after those it depends on; the root is added.
func (p *Peer) Define(all []engine.Collection) error {
	p.order, p.numbers = all, map[string]int{event.RootCollection: 0}
	for i := range all {
		p.numbers[all[i].ID] = i + 1
	}
	direct := func(yield func([]string) bool) {
		for i := range all {
			if all[i].Direct == nil {
				continue
			}
			for device := range roaring.Values(all[i].Direct) {
				if !yield([]string{strconv.Itoa(i + 1), strconv.Itoa(int(device))}) {
					return
				}
			}
		}
	}
	if err := p.fillWith("direct", []column{{name: "device", kind: schema.Number}}, direct); err != nil {
		return fmt.Errorf("define collections of %s: %w", p.Name, err)
	}
	return nil
}

// Forget empties all collections, for an evaluation from nothing.
func (p *Peer) Forget() error {
	_, err := p.s.run("delete from member;\n", nil)
	if err != nil {
		return err
	}
	return p.settle()
}

// settle does what an administrator's upkeep does at night.
func (p *Peer) settle() error {
	statement := "analyze;\n"
	if p.Name == Postgres {
		statement = "vacuum analyze;\n"
	}
	_, err := p.s.run(statement, nil)
	return err
}

// Evaluate brings all collections up to date: all devices, or those that the last
// Apply changed. It returns how long that took.
func (p *Peer) Evaluate(now time.Time, changed bool) (time.Duration, error) {
	statements, err := p.statements(now, changed)
	if err != nil {
		return 0, err
	}
	took, err := p.s.run("begin;\n"+statements+"commit;\n", nil)
	if err != nil {
		return 0, err
	}
	return took, p.settle()
}

func (p *Peer) statements(now time.Time, changed bool) (string, error) {
	t := translation{d: p.d, now: now, numbers: p.numbers, changed: changed}
	var b strings.Builder
	root := "select device from sms_r_system"
	if changed {
		root += " where device in (select device from changed)"
	}
	b.WriteString(p.d.evaluate(0, root, changed) + "\n")
	for i := range p.order {
		sql, err := p.membership(t, i)
		if err != nil {
			return "", err
		}
		b.WriteString(p.d.evaluate(i+1, sql, changed) + "\n")
	}
	return b.String(), nil
}

// membership is the SELECT of a collection's members.
func (p *Peer) membership(t translation, i int) (string, error) {
	c := &p.order[i]
	limit := "select device from member where coll = %d"
	if t.changed {
		limit += " and device in (select device from changed)"
	}
	members := func(id string) string { return fmt.Sprintf(limit, p.numbers[id]) }
	var parts []string
	for _, q := range c.Queries {
		sql, err := t.Select(q)
		if err != nil {
			return "", fmt.Errorf("collection %s: %w", c.ID, err)
		}
		parts = append(parts, sql)
	}
	if c.Direct != nil {
		parts = append(parts, fmt.Sprintf("select device from direct where coll = %d", i+1))
	}
	for _, id := range c.Include {
		parts = append(parts, members(id))
	}
	if len(parts) == 0 {
		return "select device from sms_r_system where 1 = 0", nil
	}
	sql := "select device from (" + strings.Join(parts, " union ") + ") u where device in (" + members(limitOf(c)) + ")"
	for _, id := range c.Exclude {
		sql += " and device not in (" + members(id) + ")"
	}
	return sql, nil
}

func limitOf(c *engine.Collection) string {
	if c.Limit == "" {
		return event.RootCollection
	}
	return c.Limit
}

// Apply replaces what is known of some devices.
func (p *Peer) Apply(records []*schema.Record) (time.Duration, error) {
	began := time.Now()
	devices := func(yield func([]string) bool) {
		for _, r := range records {
			if !yield([]string{strconv.Itoa(int(r.Device))}) {
				return
			}
		}
	}
	if _, err := p.s.run("delete from changed;\n", nil); err != nil {
		return 0, err
	}
	if err := p.fillWith("changed", nil, devices); err != nil {
		return 0, err
	}
	each := func(yield func(*schema.Record) bool) {
		for _, r := range records {
			if !yield(r) {
				return
			}
		}
	}
	if err := p.fill("new_", each); err != nil {
		return 0, err
	}
	var b strings.Builder
	for class := range p.columns {
		table := tableOf(p.schema.Classes()[class])
		fmt.Fprintf(&b, "delete from %[1]s where device in (select device from changed);\ninsert into %[1]s select * from new_%[1]s;\ndelete from new_%[1]s;\n", table)
	}
	if _, err := p.s.run(b.String(), nil); err != nil {
		return 0, err
	}
	return time.Since(began), p.settle()
}

// Members returns who is in each collection; the sets are the caller's.
func (p *Peer) Members() (map[string]*roaring.Bitmap, error) {
	ids := make([]string, len(p.order)+1)
	ids[0] = event.RootCollection
	for i := range p.order {
		ids[i+1] = p.order[i].ID
	}
	all := make(map[string]*roaring.Bitmap, len(ids))
	for _, id := range ids {
		all[id] = roaring.New()
	}
	err := p.backend.members(p.s, func(number, device int) error {
		if number < 0 || number >= len(ids) {
			return fmt.Errorf("collection %d is not defined", number)
		}
		if !all[ids[number]].CheckedAdd(uint32(device)) {
			return fmt.Errorf("device %d is twice in collection %s", device, ids[number])
		}
		return nil
	})
	return all, err
}

// Size returns how many bytes the members take: on disk, of a database that has
// one.
func (p *Peer) Size() (int64, error) { return p.backend.size(p.s) }

// Close ends the database and removes what it kept.
func (p *Peer) Close() error {
	p.s.end()
	return p.backend.stop()
}
