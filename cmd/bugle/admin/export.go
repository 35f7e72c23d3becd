package admin

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/durable"
	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// exportFlags are the flags of an export.
type exportFlags struct {
	eventFilter
	format, file, reason string
	offline              string
	force                bool
}

// What --format may be.
const formatArchive = "archive"

var exportFormats = []string{"jsonl", "csv", formatArchive}

func journalExport(o *Options) *cobra.Command {
	f := new(exportFlags)
	c := &cobra.Command{
		Use:   "export",
		Short: "Write events for other programs, or the history itself",
		Long: `Write all events that match, to standard output or with --output to a file. The file is
written beside (FILE.part, an archive FILE.tmp) and gets its name once it is whole. That somebody takes a copy
is an event itself, journal.exported, which comes before the first one is given away; it
names the range, the format and --reason.

--format archive writes the history itself, not what it says: whole pages, as they are on
disk, that hold the events, with a signed checkpoint of exactly these. 'bugle journal
verify --archive FILE' checks it with no site. It takes --from and --to, no other filter,
and needs --output; with --offline DIR it comes from the journal folder of a site that does
not run.

` + filterHelp + `

With --changes the events that change what an administrator defines (policy, blocked
devices, tokens, operations, quarantined files, views) also have the state of the thing
right before and right after. That is slower, for what is long ago above all.

jsonl is one JSON object for each event, as the API has it. csv has a row of names, then
one row for each event, by RFC 4180 with these columns:

  number, accepted, observed  times are UTC
  delaySeconds                from observed to accepted, if that is worth telling
  kind
  who, where, why             in words
  issuer, subject, session, behalf, address   the actor, word by word
  file                        the listener's file that said so
  payload                     all that the event says, as JSON
  changed, before, after      with --changes: the thing, and its states as JSON

A cell that begins with = + - or @, which a spreadsheet would take for a formula, gets an
apostrophe in front of it.

If it breaks off, what was written stays, and the error says with which --from to go on,
into another file.`,
		Example: `  bugle journal export --format csv --from 30d --output november.csv --reason 'audit 2026-11'
  bugle journal export --format archive --from 1 --to 100000 --output first.bga
  bugle journal export --actor local:admin --kind policy.,operation.requested --changes --output decisions.jsonl`,
		Args: exactly(),
		RunE: o.with(func(s *session, _ []string) error { return s.export(f) }),
	}
	f.add(c, o)
	c.Flags().StringVar(&f.format, "format", "jsonl", "jsonl, csv or archive")
	c.Flags().StringVarP(&f.file, "output", "o", "", "write to this file")
	c.Flags().StringVar(&f.reason, "reason", "", "why, for the history")
	c.Flags().BoolVar(&f.changes, "changes", false, "with what was before and after")
	c.Flags().StringVar(&f.offline, "offline", "", "with --format archive: from the journal in this folder, without a site")
	c.Flags().BoolVar(&f.force, "force", false, "replace the file if it is there")
	c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(exportFormats, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (f *exportFlags) check(s *session) error {
	switch {
	case !slices.Contains(exportFormats, f.format):
		return usage("--format: %q is none of %s", f.format, strings.Join(exportFormats, ", "))
	case f.format == formatArchive && (f.some() || f.changes):
		return usage("--format archive holds whole pages of the journal: of the filters it takes --from and --to only")
	case f.format == formatArchive && f.file == "":
		return usage("--format archive needs --output FILE")
	case f.offline != "" && f.format != formatArchive:
		return usage("--offline is for --format archive")
	case f.force && f.file == "":
		return usage("--force is for a file that is there: name it with --output")
	}
	if err := checkFile(f.file); err != nil {
		return err
	}
	if _, err := os.Lstat(f.file); f.file != "" && !f.force && !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return fmt.Errorf("export events: %w", err)
		}
		return usage("--output: %s is there already: name another file, or give --force", f.file)
	}
	if _, err := os.Lstat(f.file + aside); f.format != formatArchive && f.file != "" && !f.force && err == nil {
		return usage("--output: %s holds the events of an export that broke off: name another file, or give --force", f.file+aside)
	}
	return f.eventFilter.check(s)
}

// aside is what the name of a file ends with until it is whole.
const aside = ".part"

// checkFile keeps a format, which --output is everywhere else, from becoming the
// name of a file.
func checkFile(name string) error {
	if slices.Contains(formats, name) {
		return usage("--output names a file here, and %s is a format: for a file of that name give ./%s", name, name)
	}
	return nil
}

// export announces that a copy is taken and then takes it.
func (s *session) export(f *exportFlags) error {
	if err := f.check(s); err != nil {
		return err
	}
	if f.format == formatArchive {
		return s.exportPages(f)
	}
	if err := s.checkFilter(&f.eventFilter); err != nil {
		return err
	}
	out, err := openExport(s, f)
	if err != nil {
		return fmt.Errorf("export events: %w", err)
	}
	var said console.ExportReply
	r := request{method: "POST", path: console.PathExports, key: task.NewRandomID().String(),
		body: console.ExportRequest{Format: f.format, From: f.from, To: f.to, Reason: f.reason}}
	if err := s.client.callAgain(s.ctx, r, &said); err != nil {
		return errors.Join(err, out.discard())
	}
	last := said.From - 1
	if said.From <= said.To {
		last, err = s.copyEvents(f, &said, out)
	}
	if err == nil {
		err = out.finish()
	}
	if err != nil {
		return f.brokeOff(err, last, &said, out)
	}
	if said.From > said.To {
		s.note("There are no such events; nothing is exported (event %d says so).", said.Event)
		return nil
	}
	s.note("Of the events %d to %d, %d are exported (event %d says so).", said.From, said.To, out.count, said.Event)
	return nil
}

// checkFilter has the site look at a filter, so that nothing is announced that is
// not there to be exported.
func (s *session) checkFilter(f *eventFilter) error {
	if !f.some() {
		return nil
	}
	q := f.query("from", "1", "to", "1", "limit", "1")
	var none console.EventPage
	return s.client.callAgain(s.ctx, request{method: "GET", path: console.PathEvents, query: q}, &none)
}

// exportPages finds the numbers of the events of an archive.
func (s *session) exportPages(f *exportFlags) error {
	from, first := strconv.ParseUint(cmp.Or(f.from, "0"), 10, 64)
	to, last := strconv.ParseUint(cmp.Or(f.to, "0"), 10, 64)
	if err := errors.Join(first, last); err != nil && f.offline != "" {
		return usage("--offline: --from and --to are numbers of events")
	} else if err != nil {
		var page console.EventPage
		if err := s.client.get(s.ctx, console.PathEvents, query("from", f.from, "to", f.to, "limit", "1"), &page); err != nil {
			return err
		}
		if from, to = page.From, page.To; from > to {
			return fmt.Errorf("export events: there is none between %s and %s", f.from, f.to)
		}
	}
	return s.exportArchive(from, to, f.file, f.offline, f.reason)
}

// copyEvents writes events as they come and returns the last one up to which all
// that match are written.
func (s *session) copyEvents(f *exportFlags, said *console.ExportReply, out *exportWriter) (last uint64, err error) {
	progress := s.scanProgress()
	defer progress.clear()
	last = said.From - 1
	looked := said.From - 1
	for e, err := range s.events(&f.eventFilter, number(said.From), number(said.To), func(page *console.EventPage) {
		last = looked // all events of the pages before are written
		if looked = said.To; page.Next > 0 {
			looked = page.Next - 1
		}
		progress.looked(page)
	}) {
		if err != nil {
			return last, err
		}
		progress.clear()
		if err := out.write(e); err != nil {
			return last, err
		}
		last = e.Number
	}
	return said.To, nil
}

// brokeOff says how to go on.
func (f *exportFlags) brokeOff(err error, last uint64, said *console.ExportReply, out *exportWriter) error {
	if flushed := out.close(); flushed != nil {
		return errors.Join(err, flushed)
	}
	if last < said.From {
		return errors.Join(err, out.discard())
	}
	where := ""
	if f.file != "" {
		where = " in " + out.name + ", which stays if you take another file"
	}
	return fmt.Errorf("%w; the events up to %d are written%s: go on with --from %d --to %d", err, last, where, last+1, said.To)
}

// An exportWriter writes events to a file beside the one that is asked for, or to
// standard output.
type exportWriter struct {
	file  *os.File // nil for standard output
	name  string   // of file
	final string
	buf   *bufio.Writer
	csv   *csv.Writer
	plain *printer // of JSON lines
	names bool     // the row of names is written
	wide  bool     // with changes
	count int
}

func openExport(s *session, f *exportFlags) (*exportWriter, error) {
	w := &exportWriter{wide: f.changes}
	var to io.Writer = s.out.w
	if f.file != "" {
		w.final, w.name = f.file, f.file+aside
		var err error
		if w.file, err = os.OpenFile(w.name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
			return nil, err
		}
		to = w.file
	}
	w.buf = bufio.NewWriterSize(to, 64<<10)
	if f.format == "csv" {
		w.csv = csv.NewWriter(w.buf)
		w.csv.UseCRLF = true
	} else {
		w.plain = &printer{w: w.buf, format: "jsonl"}
	}
	return w, nil
}

func (w *exportWriter) write(e console.Event) error {
	w.count++
	if w.plain != nil {
		w.plain.json(e, false)
		return w.plain.err
	}
	if err := w.head(); err != nil {
		return err
	}
	return w.row(func(c column[console.Event]) string { return harmless(plain(c.value(e))) })
}

// head writes the row of names, once.
func (w *exportWriter) head() error {
	if w.names {
		return nil
	}
	w.names = true
	return w.row(func(c column[console.Event]) string { return c.name })
}

func (w *exportWriter) row(cell func(column[console.Event]) string) error {
	columns := exportColumns
	if w.wide {
		columns = append(slices.Clip(columns), changeColumns...)
	}
	return w.csv.Write(mapped(columns, cell))
}

var exportColumns = []column[console.Event]{
	{"number", false, func(e console.Event) any { return e.Number }},
	{"accepted", false, func(e console.Event) any { return e.Accepted }},
	{"observed", false, func(e console.Event) any { return e.Observed }},
	{"delaySeconds", false, func(e console.Event) any { return orNone(e.Delay) }},
	{"kind", false, func(e console.Event) any { return e.Kind }},
	{"who", false, func(e console.Event) any { return e.Who }},
	{"where", false, func(e console.Event) any { return e.Where }},
	{"why", false, func(e console.Event) any { return e.Why }},
	{"issuer", false, func(e console.Event) any { return e.Actor.Issuer }},
	{"subject", false, func(e console.Event) any { return e.Actor.Subject }},
	{"session", false, func(e console.Event) any { return e.Actor.Session }},
	{"behalf", false, func(e console.Event) any { return e.Actor.Behalf }},
	{"address", false, func(e console.Event) any { return e.Actor.Address }},
	{"file", false, func(e console.Event) any { return source(e.Source) }},
	{"payload", false, func(e console.Event) any { return compact(e.Payload) }},
}

var changeColumns = []column[console.Event]{
	{"changed", false, func(e console.Event) any { return changeOf(e).Of }},
	{"before", false, func(e console.Event) any { return compact(changeOf(e).Before) }},
	{"after", false, func(e console.Event) any { return compact(changeOf(e).After) }},
}

func changeOf(e console.Event) console.Change {
	if e.Change == nil {
		return console.Change{}
	}
	return *e.Change
}

// orNone is a number of seconds, or an empty text for none.
func orNone(seconds float64) any {
	if seconds == 0 {
		return ""
	}
	return fmt.Sprint(seconds)
}

// close writes out what was buffered, durably.
func (w *exportWriter) close() error {
	var err error
	if w.csv != nil {
		w.csv.Flush()
		err = w.csv.Error()
	}
	err = errors.Join(err, w.buf.Flush())
	if w.file != nil {
		err = errors.Join(err, w.file.Sync(), w.file.Close())
	}
	return err
}

// finish makes the file what was asked for.
func (w *exportWriter) finish() error {
	if w.csv != nil { // also if there is no event
		if err := w.head(); err != nil {
			return err
		}
	}
	if err := w.close(); err != nil || w.file == nil {
		return err
	}
	return durable.Rename(w.name, w.final)
}

// discard takes away what holds nothing.
func (w *exportWriter) discard() error {
	if w.file == nil {
		return nil
	}
	w.file.Close() // nothing of it is kept
	return os.Remove(w.name)
}
