package estate

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/projectors/collection/schema"
)

// named returns the collection whose members a query reads.
func named(wql string) (id string, ok bool) {
	_, rest, ok := strings.Cut(wql, "SMS_CM_RES_COLL_")
	if !ok {
		return "", false
	}
	return rest[:strings.IndexAny(rest+")", ") ")], true
}

// WriteInventory writes one line of JSON for each device: its name, and its classes.
func (e *Estate) WriteInventory(w io.Writer) error {
	b := bufio.NewWriterSize(w, 1<<20)
	for device := uint32(1); device <= uint32(e.o.Devices); device++ {
		if err := e.writeRecord(b, e.Record(device)); err != nil {
			return fmt.Errorf("write inventory of device %d: %w", device, err)
		}
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write inventory: %w", err)
	}
	return nil
}

// WriteChanges writes the lines of k devices that changed in a round, the first
// after no other.
func (e *Estate) WriteChanges(w io.Writer, round, k int) error {
	b := bufio.NewWriterSize(w, 1<<20)
	for _, device := range e.Batch(round, k) {
		if err := e.writeRecord(b, e.Change(e.Record(device), round)); err != nil {
			return fmt.Errorf("write inventory of device %d: %w", device, err)
		}
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write inventory: %w", err)
	}
	return nil
}

func (e *Estate) writeRecord(w *bufio.Writer, r *schema.Record) error {
	fmt.Fprintf(w, `{"name":%s`, quote(Name(r.Device)))
	for _, rows := range r.Classes {
		if len(rows.Rows) == 0 {
			continue
		}
		class := e.schema.Classes()[rows.Class]
		fmt.Fprintf(w, ",%s:", quote(class.Name))
		many := class.Keyed()
		if many {
			w.WriteByte('[')
		}
		for i, row := range rows.Rows {
			if i > 0 {
				w.WriteByte(',')
			}
			writeRow(w, class, row)
		}
		if many {
			w.WriteByte(']')
		}
	}
	_, err := w.WriteString("}\n")
	return err
}

// writeRow writes the values that are there. The row of System does not repeat the
// name of the device.
func writeRow(w *bufio.Writer, class *schema.Class, row schema.Row) {
	w.WriteByte('{')
	first := true
	for i, v := range row {
		if !v.Set || class.Name == system && class.Properties[i].Name == "Name" {
			continue
		}
		if !first {
			w.WriteByte(',')
		}
		first = false
		fmt.Fprintf(w, "%s:%s", quote(class.Properties[i].Name), valueOf(&class.Properties[i], v))
	}
	w.WriteByte('}')
}

func valueOf(p *schema.Property, v schema.Value) string {
	switch {
	case p.List:
		texts := make([]string, len(v.List))
		for i, s := range v.List {
			texts[i] = quote(s)
		}
		return "[" + strings.Join(texts, ",") + "]"
	case p.Type == schema.Text:
		return quote(v.Text)
	case p.Type == schema.Date:
		return quote(time.UnixMilli(v.Number).UTC().Format("2006-01-02T15:04:05.000Z"))
	case p.Type == schema.Bool:
		return fmt.Sprint(v.Number != 0)
	}
	return fmt.Sprint(v.Number)
}

// quote is a text in JSON, which is one in YAML too.
func quote(s string) string {
	var b strings.Builder
	j := json.NewEncoder(&b)
	j.SetEscapeHTML(false)
	if err := j.Encode(s); err != nil {
		panic(err) // a text can always be written
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// WriteDefinitions writes all collections as one document of YAML.
func (e *Estate) WriteDefinitions(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, "collections:")
	for i := range e.defined {
		writeDefinition(b, &e.defined[i])
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write definitions: %w", err)
	}
	return nil
}

func writeDefinition(w *bufio.Writer, d *Definition) {
	fmt.Fprintf(w, "  - id: %s\n    name: %s\n    limit: %s\n", d.ID, quote(d.Name), d.Limit)
	if len(d.Direct) > 0 {
		fmt.Fprintln(w, "    direct:")
		for _, device := range d.Direct {
			fmt.Fprintf(w, "      - %s\n", quote(Name(device)))
		}
	}
	if len(d.Queries) > 0 {
		fmt.Fprintln(w, "    queries:")
		for _, q := range d.Queries {
			fmt.Fprintf(w, "      - name: %s\n        wql: %s\n", quote(q.Name), quote(q.WQL))
		}
	}
	writeIDs(w, "include", d.Include)
	writeIDs(w, "exclude", d.Exclude)
	if d.Schedule != "" {
		fmt.Fprintf(w, "    schedule: %s\n", quote(d.Schedule))
	}
	fmt.Fprintf(w, "    incremental: %v\n", d.Incremental)
}

func writeIDs(w *bufio.Writer, key string, ids []string) {
	if len(ids) > 0 {
		fmt.Fprintf(w, "    %s: [%s]\n", key, strings.Join(ids, ", "))
	}
}
