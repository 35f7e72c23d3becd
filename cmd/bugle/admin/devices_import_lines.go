package admin

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/bugle-fleet/bugle/console"
)

// A lineReader reads lines of bounded length.
type lineReader struct {
	in     *bufio.Reader
	number int // of the last line
}

// line returns the next line without its end, and whether it was longer than most: the
// rest of it is then passed over. It is valid until the next call.
func (r *lineReader) line(most int) (line []byte, long bool, err error) {
	r.number++
	for {
		part, more, err := r.in.ReadLine()
		if err != nil {
			if errors.Is(err, io.EOF) && (len(line) > 0 || long) {
				return line, long, nil
			}
			return nil, false, err
		}
		if long = long || len(line)+len(part) > most; long {
			line = line[:0]
		} else {
			line = append(line, part...)
		}
		if !more {
			return line, long, nil
		}
	}
}

// jsonLines are the lines of a file that has one JSON object in each.
type jsonLines struct{ lineReader }

func (j *jsonLines) next() (int, []byte, error) {
	for {
		line, long, err := j.line(console.MaxImportLine)
		switch {
		case err != nil:
			return 0, nil, err
		case long:
			return 0, nil, tooLong(j.number)
		}
		if j.number == 1 {
			line = bytes.TrimPrefix(line, []byte(byteOrderMark))
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return j.number, line, nil
		}
	}
}

func tooLong(number int) error {
	return &lineError{number, fmt.Sprintf("it has more than %d bytes", console.MaxImportLine)}
}

const byteOrderMark = "\uFEFF"

// csvLines are the records of a CSV file, made JSON by the names of its columns.
type csvLines struct {
	lineReader
	comma   rune
	columns []csvColumn
}

// A csvColumn is where the cells of a column go.
type csvColumn struct{ class, name string }

// newCSVLines reads the names of the columns.
func newCSVLines(in *bufio.Reader) (*csvLines, error) {
	c := &csvLines{lineReader: lineReader{in: in}, comma: ','}
	record, err := c.record()
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("it is empty; its first line has the names of the columns")
	case err != nil:
		return nil, err
	}
	record = bytes.TrimPrefix(record, []byte(byteOrderMark))
	if !bytes.ContainsRune(record, ',') && bytes.ContainsRune(record, ';') {
		c.comma = ';'
	}
	names, err := c.cells(record)
	if err != nil {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	seen := map[string]bool{}
	for _, name := range names {
		name = strings.TrimSpace(name)
		if name == "" || seen[strings.ToLower(name)] {
			return nil, fmt.Errorf("line 1: the column %q has no name, or one that is there twice", name)
		}
		seen[strings.ToLower(name)] = true
		class, property, ok := strings.Cut(name, ".")
		if !ok {
			class, property = "", name
		}
		c.columns = append(c.columns, csvColumn{class, property})
	}
	return c, nil
}

// record returns the bytes of the next record, which goes on in the next line while a
// quote is open.
func (c *csvLines) record() ([]byte, error) {
	var all []byte
	first := c.number + 1
	for quotes := 0; ; {
		line, long, err := c.line(console.MaxImportLine)
		if errors.Is(err, io.EOF) && len(all) > 0 {
			return nil, &lineError{first, "a quote is opened and not closed"}
		}
		if err != nil {
			return nil, err
		}
		if long || len(all)+len(line) > console.MaxImportLine {
			return nil, &lineError{first, fmt.Sprintf("it has more than %d bytes; perhaps a quote is opened and not closed", console.MaxImportLine)}
		}
		if all = append(all, line...); quotes == 0 && len(bytes.TrimSpace(all)) == 0 {
			all, first = all[:0], c.number+1
			continue
		}
		if quotes += bytes.Count(line, []byte{'"'}); quotes%2 == 0 {
			return all, nil
		}
		all = append(all, '\n')
	}
}

func (c *csvLines) cells(record []byte) ([]string, error) {
	if !utf8.Valid(record) {
		return nil, errors.New("it is not UTF-8")
	}
	r := csv.NewReader(bytes.NewReader(record))
	r.Comma, r.FieldsPerRecord = c.comma, -1
	cells, err := r.Read()
	if parse, ok := errors.AsType[*csv.ParseError](err); ok {
		return nil, parse.Err
	}
	return cells, err
}

func (c *csvLines) next() (int, []byte, error) {
	record, err := c.record()
	if err != nil {
		return 0, nil, err
	}
	number := c.number - bytes.Count(record, []byte{'\n'})
	cells, err := c.cells(record)
	if err == nil && len(cells) != len(c.columns) {
		err = fmt.Errorf("it has %d cells, the first line names %d columns", len(cells), len(c.columns))
	}
	if err != nil {
		return 0, nil, &lineError{number, err.Error()}
	}
	line, err := c.object(cells)
	return number, line, err
}

// object is a record as JSON. A cell that is empty says nothing.
func (c *csvLines) object(cells []string) ([]byte, error) {
	device, classes := map[string]any{}, map[string]map[string]string{}
	for i, column := range c.columns {
		switch {
		case cells[i] == "":
		case column.class == "":
			device[column.name] = cells[i]
		default:
			if classes[column.class] == nil {
				classes[column.class] = map[string]string{}
				device[column.class] = classes[column.class]
			}
			classes[column.class][column.name] = cells[i]
		}
	}
	return json.Marshal(device)
}
