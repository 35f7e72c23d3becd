package admin

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/cmd/bugle/backup"
	"github.com/bugle-fleet/bugle/console"
)

// Bounds of an import.
const (
	importChunk    = 1 << 20 // bytes of lines in one call, at least one
	shownProblems  = 100     // lines that could not be taken, on stderr
	listedProblems = 10_000  // in the JSON
)

func devicesImport(o *Options) *cobra.Command {
	var format string
	var dryRun bool
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Make records of devices, or change what is known of some",
		Long: `Import records of devices from a file, or from stdin with -.

Each line of FILE.jsonl is one JSON object:

  {"name":"PC1","Build":"10.0.22631","SMS_G_System_COMPUTER_SYSTEM":{"Model":"T14"},
   "SMS_G_System_ADD_REMOVE_PROGRAMS":[{"DisplayName":"7-Zip","Version":"23"}]}

(in one line). A device is found by "number", else by "id", else by "name"; if there is
none, a record is made, and "id" may be its UUID. A class of which a device has one row is
an object: what it does not name stays, null removes a value. A class of which it has
several is a list, which replaces the rows that were imported before. A name beside these
is a property of SMS_R_System. 'bugle devices classes list' shows what there is.

FILE.csv has a line with the names of its columns: name, number, id, CLASS.PROPERTY of
classes with one row, or a property of SMS_R_System. An empty cell says nothing. Commas
or semicolons part the cells.

A line that cannot be taken is shown with its number and the reason; all others are
taken, and the command ends with code 3. What is the same as before is not stored again,
so that a file can be imported as often as you like. No agent has joined for a record
that was imported: nothing can be sent to it.`,
		Example: `  bugle devices import pcs.jsonl --dry-run
  bugle devices import pcs.csv -o json
  zcat pcs.jsonl.gz | bugle devices import -`,
		Args: exactly("FILE"),
		RunE: o.with(func(s *session, args []string) error {
			if format != "" && format != "jsonl" && format != "csv" {
				return usage("--format: %q is neither jsonl nor csv", format)
			}
			if format == "" {
				format = "jsonl"
				if strings.EqualFold(filepath.Ext(args[0]), ".csv") {
					format = "csv"
				}
			}
			return s.importFile(args[0], format, dryRun)
		}),
	}
	c.Flags().StringVar(&format, "format", "", "jsonl or csv; default by the name of the file, else jsonl")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would change")
	return c
}

// An importResult is what became of a file.
type importResult struct {
	File      string                  `json:"file"`
	DryRun    bool                    `json:"dryRun"`
	New       int                     `json:"new"`
	Changed   int                     `json:"changed"`
	Unchanged int                     `json:"unchanged"`
	Bad       int                     `json:"bad"`
	Problems  []console.ImportProblem `json:"problems"`
	Events    int                     `json:"events"`
	Event     uint64                  `json:"event"`
}

// An importing is the import of one file.
type importing struct {
	s      *session
	name   string
	result importResult
	chunk  bytes.Buffer
	first  int   // number of the first line in chunk
	lines  int   // that chunk has
	read   int64 // bytes of the file
	size   int64 // of the file; 0 if it is not known
	shown  int   // problems
	show   *transfer
}

// lineSource hands out the lines of a file as JSON, in order, each with its number. A
// line that cannot be read is an error of type *lineError, and the next one follows;
// io.EOF is the end.
type lineSource interface {
	next() (number int, line []byte, err error)
}

// A lineError is a line that is not sent.
type lineError struct {
	line   int
	detail string
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.detail) }

func (s *session) importFile(name, format string, dryRun bool) error {
	in, size, err := s.openImport(name)
	if err != nil {
		return err
	}
	defer in.Close()
	i := &importing{s: s, name: filepath.Base(name), size: size, show: s.transfer(), result: importResult{File: name, DryRun: dryRun, Problems: []console.ImportProblem{}}}
	defer i.show.end()
	buffered := bufio.NewReaderSize(&counted{in, &i.read}, 64<<10)
	source := lineSource(&jsonLines{lineReader{in: buffered}})
	if format == "csv" {
		if source, err = newCSVLines(buffered); err != nil {
			return usage("%s: %v", name, err)
		}
	}
	if err := i.run(source); err != nil {
		if i.result.New+i.result.Changed+i.result.Unchanged > 0 && !dryRun {
			return &ExitError{codePartly, fmt.Errorf("%w (%d devices were taken before; import the file again)", err, i.result.New+i.result.Changed+i.result.Unchanged)}
		}
		return err
	}
	i.show.end()
	return i.report()
}

// openImport opens a file or stdin.
func (s *session) openImport(name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(s.in), 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("read %s: it is a folder", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// counted counts what was read.
type counted struct {
	io.Reader
	n *int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.n += int64(n)
	return n, err
}

func (i *importing) run(source lineSource) error {
	for {
		number, line, err := source.next()
		bad, isBad := errors.AsType[*lineError](err)
		switch {
		case errors.Is(err, io.EOF):
			return i.send()
		case isBad:
			i.problem(console.ImportProblem{Line: bad.line, Detail: bad.detail})
			i.result.Bad++
			continue
		case err != nil:
			return fmt.Errorf("read %s: %w", i.name, err)
		}
		if i.chunk.Len() > 0 && i.chunk.Len()+len(line)+number-i.first-i.lines >= importChunk {
			if err := i.send(); err != nil {
				return err
			}
		}
		i.add(number, line)
	}
}

// add adds a line to the next call. Empty lines stand for those that are left out, so
// that the numbers are right.
func (i *importing) add(number int, line []byte) {
	if i.chunk.Len() == 0 {
		i.first, i.lines = number, 0
	}
	for i.first+i.lines < number {
		i.chunk.WriteByte('\n')
		i.lines++
	}
	i.chunk.Write(line)
	i.chunk.WriteByte('\n')
	i.lines++
}

// send imports the lines in chunk. A call that is sent again finds what the first one
// did, and changes nothing.
func (i *importing) send() error {
	if i.chunk.Len() == 0 {
		return nil
	}
	dry := ""
	if i.result.DryRun {
		dry = "true"
	}
	var reply console.ImportReply
	r := request{method: "POST", path: console.PathDevicesImport, lines: i.chunk.Bytes(), query: query("source", i.name, "line", fmt.Sprint(i.first), "dry-run", dry)}
	if err := i.s.client.callAgain(i.s.ctx, r, &reply); err != nil {
		return err
	}
	i.chunk.Reset()
	t := &i.result
	t.New, t.Changed, t.Unchanged, t.Bad = t.New+reply.New, t.Changed+reply.Changed, t.Unchanged+reply.Unchanged, t.Bad+reply.Bad
	t.Events, t.Event = t.Events+reply.Events, max(t.Event, reply.Event)
	for _, p := range reply.Problems {
		i.problem(p)
	}
	if i.size > 0 {
		i.show.show(backup.Progress{Step: fmt.Sprintf("import %s, %d devices", i.name, t.New+t.Changed+t.Unchanged), Done: i.read, Total: i.size})
	}
	return nil
}

// problem shows a line that could not be taken.
func (i *importing) problem(p console.ImportProblem) {
	if len(i.result.Problems) < listedProblems {
		i.result.Problems = append(i.result.Problems, p)
	}
	if i.shown == shownProblems {
		return
	}
	i.shown++
	i.show.end()
	device := ""
	if p.Device != "" {
		device = p.Device + ": "
	}
	fmt.Fprintln(i.s.err, clean(fmt.Sprintf("%s:%d: %s%s", i.name, p.Line, device, p.Detail)))
}

// report shows what became of the file.
func (i *importing) report() error {
	r := &i.result
	if more := r.Bad - i.shown; more > 0 {
		i.s.warn("%d more lines could not be taken", more)
	}
	taken := r.New + r.Changed + r.Unchanged
	if i.s.out.table() {
		if !i.s.Quiet {
			would := ""
			if r.DryRun {
				would = " would be"
			}
			i.s.out.printf("%s: %d%s new, %d%s changed, %d unchanged, %d bad (event %d).\n", countOf(taken, "device"), r.New, would, r.Changed, would, r.Unchanged, r.Bad, r.Event)
		}
	} else {
		i.s.out.object(*r, []field{{"File", "file", r.File}, {"Dry run", "dryRun", r.DryRun}, {"New", "new", r.New}, {"Changed", "changed", r.Changed},
			{"Unchanged", "unchanged", r.Unchanged}, {"Bad", "bad", r.Bad}, {"Events", "events", r.Events}, {"Event", "event", r.Event}})
	}
	switch {
	case r.Bad > 0 && taken == 0:
		return fmt.Errorf("import %s: none of %s could be taken", i.name, countOf(r.Bad, "line"))
	case r.Bad > 0:
		return &ExitError{codePartly, fmt.Errorf("import %s: %s could not be taken", i.name, countOf(r.Bad, "line"))}
	}
	return nil
}
