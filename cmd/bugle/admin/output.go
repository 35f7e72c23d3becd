package admin

import (
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// A printer writes results to stdout in one of the four formats. It keeps the
// first error of the writer; what follows that is not written.
type printer struct {
	w      io.Writer
	format string
	colour bool
	zone   *time.Location
	err    error
}

func (p *printer) table() bool { return p.format == "table" }

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// sentence is the result of a write in a table's place.
func (p *printer) sentence(quiet bool, object any, format string, args ...any) {
	switch {
	case !p.table():
		p.object(object, []field{{"Event", "event", eventOf(object)}})
	case !quiet:
		p.printf("%s\n", clean(fmt.Sprintf(format, args...)))
	}
}

// json writes v, indented for people or as one line.
func (p *printer) json(v any, indented bool) {
	if p.err != nil {
		return
	}
	text := encoded(v, "", "")
	if indented {
		text = encoded(v, "", "  ")
	}
	_, p.err = io.WriteString(p.w, text)
}

func (p *printer) csv(row []string) {
	if p.err != nil {
		return
	}
	w := csv.NewWriter(p.w)
	w.Write(row)
	w.Flush()
	p.err = w.Error()
}

// A field is one line of what is shown of a single thing: its label in a table,
// its name in CSV.
type field struct {
	label, name string
	value       any
}

// object shows one thing: as lines of label and value, as JSON, or as CSV of one
// row.
func (p *printer) object(v any, fields []field) {
	switch p.format {
	case "json", "jsonl":
		p.json(v, p.format == "json")
	case "csv":
		names, row := make([]string, len(fields)), make([]string, len(fields))
		for i, f := range fields {
			names[i], row[i] = plain(f.name), plain(f.value)
		}
		p.csv(names)
		p.csv(row)
	default:
		p.fields(fields)
	}
}

func (p *printer) fields(fields []field) {
	width := 0
	for _, f := range fields {
		width = max(width, utf8.RuneCountInString(f.label))
	}
	for _, f := range fields {
		text, colour := p.cell(f.value, false)
		p.printf("%-*s  %s\n", width+1, f.label+":", p.paint(text, colour))
	}
}

// A column is one of a list: its name in CSV, which in capitals heads the table,
// and what it holds of an item.
type column[T any] struct {
	name  string
	csv   bool // only in CSV
	value func(T) any
}

// list shows items: a table once all are there, else each as it comes. An error
// of items ends the list and is returned.
func list[T any](p *printer, columns []column[T], items iter.Seq2[T, error]) error {
	switch p.format {
	case "json":
		return listJSON(p, items)
	case "jsonl":
		for item, err := range items {
			if err != nil {
				return err
			}
			p.json(item, false)
		}
		return nil
	case "csv":
		return listCSV(p, columns, items)
	}
	return listTable(p, columns, items)
}

// listJSON writes an array, an element as it comes, so that a long list needs no
// memory. If the list ends in an error the array stays open: no reader takes it
// for the whole.
func listJSON[T any](p *printer, items iter.Seq2[T, error]) error {
	separator := "\n  "
	p.printf("[")
	for item, err := range items {
		if err != nil {
			p.printf("\n")
			return err
		}
		p.printf("%s%s", separator, indented(item))
		separator = ",\n  "
	}
	if separator[0] == ',' {
		p.printf("\n")
	}
	p.printf("]\n")
	return nil
}

func listCSV[T any](p *printer, columns []column[T], items iter.Seq2[T, error]) error {
	row := make([]string, len(columns))
	for i, c := range columns {
		row[i] = c.name
	}
	p.csv(row)
	for item, err := range items {
		if err != nil {
			return err
		}
		for i, c := range columns {
			row[i] = plain(c.value(item))
		}
		p.csv(row)
	}
	return nil
}

func listTable[T any](p *printer, columns []column[T], items iter.Seq2[T, error]) error {
	t := new(grid)
	var shown []column[T]
	for _, c := range columns {
		if !c.csv {
			shown = append(shown, c)
			t.head = append(t.head, strings.ToUpper(words(c.name)))
		}
	}
	for item, err := range items {
		if err != nil {
			return err
		}
		row := make([]any, len(shown))
		for i, c := range shown {
			row[i] = c.value(item)
		}
		t.rows = append(t.rows, row)
	}
	p.grid(t)
	return nil
}

// words makes "lastEvent" "last event".
func words(name string) string {
	var b strings.Builder
	for _, r := range name {
		if unicode.IsUpper(r) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// A grid is a table before it is laid out.
type grid struct {
	head []string
	rows [][]any
}

// grid lays out t: columns two spaces apart, numbers to the right.
func (p *printer) grid(t *grid) {
	type cell struct {
		text   string
		colour string
	}
	cells := make([][]cell, 0, len(t.rows)+1)
	head := make([]cell, len(t.head))
	width, right := make([]int, len(t.head)), make([]bool, len(t.head))
	for i, h := range t.head {
		head[i], width[i] = cell{h, ""}, utf8.RuneCountInString(h)
	}
	cells = append(cells, head)
	for _, row := range t.rows {
		line := make([]cell, len(row))
		for i, v := range row {
			line[i].text, line[i].colour = p.cell(v, true)
			width[i] = max(width[i], utf8.RuneCountInString(line[i].text))
			right[i] = right[i] || isNumber(v)
		}
		cells = append(cells, line)
	}
	for _, line := range cells {
		var b strings.Builder
		for i, c := range line {
			gap := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c.text))
			text := p.paint(c.text, c.colour)
			switch {
			case right[i]:
				text = gap + text
			case i < len(line)-1:
				text += gap
			}
			if i > 0 {
				b.WriteString("  ")
			}
			b.WriteString(text)
		}
		p.printf("%s\n", strings.TrimRight(b.String(), " "))
	}
}

// Values that are shown in a way of their own.
type (
	long   string    // cut in lists
	state  string    // coloured
	millis float64   // a duration in milliseconds
	exact  time.Time // shown with milliseconds
)

const (
	maxLong     = 60 // characters of a long text in a list
	timeLayout  = "2006-01-02 15:04:05"
	milliLayout = "2006-01-02 15:04:05.000"
)

func isNumber(v any) bool {
	switch v.(type) {
	case int, int32, int64, uint8, uint32, uint64, millis:
		return true
	}
	return false
}

// cell is v as a table shows it, and its colour.
func (p *printer) cell(v any, inList bool) (text, colour string) {
	switch v := v.(type) {
	case nil:
		return "-", ""
	case time.Time:
		if v.IsZero() {
			return "-", ""
		}
		return v.In(p.zone).Format(timeLayout), ""
	case *time.Time:
		if v == nil {
			return "-", ""
		}
		return p.cell(*v, inList)
	case bool:
		if v {
			return "yes", ""
		}
		return "no", ""
	case millis:
		return fmt.Sprintf("%.1f ms", float64(v)), ""
	case state:
		return dash(clean(string(v))), colourOf(string(v))
	case long:
		text := clean(string(v))
		if inList {
			text = cut(text, maxLong)
		}
		return dash(text), ""
	case exact:
		return time.Time(v).In(p.zone).Format(milliLayout), ""
	}
	return dash(clean(fmt.Sprint(v))), ""
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// plain is v as CSV has it.
func plain(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case time.Time:
		if v.IsZero() {
			return ""
		}
		return v.UTC().Format(time.RFC3339Nano)
	case *time.Time:
		if v == nil {
			return ""
		}
		return plain(*v)
	case exact:
		return plain(time.Time(v))
	case millis:
		return strconv.FormatFloat(float64(v), 'f', -1, 64)
	case bool, time.Duration:
		return fmt.Sprint(v)
	}
	if isNumber(v) {
		return fmt.Sprint(v)
	}
	return harmless(printable(fmt.Sprint(v)))
}

// harmless keeps a spreadsheet from taking a text that a device chose for a
// formula.
func harmless(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// printable keeps what a device chose from steering the terminal: control
// characters but line ends and tabs, and what is not UTF-8, become question marks.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) && r != '\n' && r != '\t' {
			return '?'
		}
		return r
	}, s)
}

var oneLine = strings.NewReplacer("\n", " ", "\t", " ")

// clean is printable in one line.
func clean(s string) string { return oneLine.Replace(printable(s)) }

const (
	red, green, yellow = "\x1b[31m", "\x1b[32m", "\x1b[33m"
	uncoloured         = "\x1b[0m"
)

// colourOf is the colour of a state, a severity or a component's state.
func colourOf(s string) string {
	switch s {
	case task.Succeeded.String(), "started", "online", "serving":
		return green
	case task.Failed.String(), task.Refused.String(), task.TimedOut.String(), task.Expired.String(), task.Lost.String(), "error":
		return red
	case task.Running.String(), task.Deferred.String(), "warning", "lagging", "building":
		return yellow
	}
	return ""
}

func (p *printer) paint(text, colour string) string {
	if colour == "" || !p.colour {
		return text
	}
	return colour + text + uncoloured
}
