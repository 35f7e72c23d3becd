package admin

import (
	"cmp"
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// DefaultData is the folder of the site if neither --data nor BUGLE_DATA names
// one.
const DefaultData = "bugle-data"

// Options are the flags that all commands share. The zero value is ready for
// AddFlags.
type Options struct {
	Data      string // folder of a site on this machine
	URL       string // address of a remote site
	TokenFile string
	CAFile    string
	Quiet     bool
	Output    string // table, json, jsonl or csv; empty means table

	flags *pflag.FlagSet

	// What a test replaces; nil means the real thing.
	terminal func(stream any) bool
	wait     func(ctx context.Context, d time.Duration) error
	zone     *time.Location // of times in tables
	clock    func() time.Time
}

// formats are what --output may be.
var formats = []string{"table", "json", "jsonl", "csv"}

// AddFlags adds the flags to f, which belongs to the root command. Their
// defaults are empty, so that the environment counts if a flag is not given.
func (o *Options) AddFlags(f *pflag.FlagSet) {
	o.flags = f
	f.StringVar(&o.Data, "data", "", "folder of a site on this machine (default $BUGLE_DATA, else ./"+DefaultData+")")
	f.StringVar(&o.URL, "url", "", "address of a remote site, as https://HOST:PORT (default $BUGLE_URL)")
	f.StringVar(&o.TokenFile, "token-file", "", "file with the administrator's token (default $BUGLE_TOKEN_FILE; of a local site DATA/keys/admin.token)")
	f.StringVar(&o.CAFile, "ca-file", "", "PEM file of the CA that vouches for the site (default $BUGLE_CA_FILE; of a local site all that are in DATA/keys)")
	f.VarP((*outputFlag)(&o.Output), "output", "o", "table, json, jsonl or csv (default $BUGLE_OUTPUT, else table)")
	f.BoolVarP(&o.Quiet, "quiet", "q", false, "print results and errors only, and of what was created only its id")
}

type outputFlag string

func (f *outputFlag) String() string { return string(*f) }
func (f *outputFlag) Type() string   { return "format" }

func (f *outputFlag) Set(s string) error {
	if !slices.Contains(formats, s) {
		return usage("%q is none of %s", s, strings.Join(formats, ", "))
	}
	*f = outputFlag(s)
	return nil
}

func (o *Options) given(flag string) bool { return o.flags != nil && o.flags.Changed(flag) }

// DataFolder is the folder of the site on this machine: --data, else
// BUGLE_DATA, else [DefaultData].
func (o *Options) DataFolder() string {
	return cmp.Or(o.Data, os.Getenv("BUGLE_DATA"), DefaultData)
}

func (o *Options) format() (string, error) {
	f := cmp.Or(o.Output, os.Getenv("BUGLE_OUTPUT"), "table")
	if !slices.Contains(formats, f) {
		return "", usage("BUGLE_OUTPUT: %q is none of %s", f, strings.Join(formats, ", "))
	}
	return f, nil
}

func (o *Options) isTerminal(stream any) bool {
	if o.terminal != nil {
		return o.terminal(stream)
	}
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (o *Options) pause(ctx context.Context, d time.Duration) error {
	if o.wait != nil {
		return o.wait(ctx, d)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (o *Options) time() time.Time {
	if o.clock != nil {
		return o.clock()
	}
	return time.Now()
}

// wantsColour follows no-color.org.
func wantsColour(terminal bool) bool {
	return terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// A session is one command while it runs: its site, and where it prints.
type session struct {
	*Options
	ctx    context.Context
	client *client
	out    *printer  // results
	err    io.Writer // progress, notes and questions
	in     io.Reader
}

// with makes a function on a session what cobra calls.
func (o *Options) with(f func(s *session, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		s, err := o.newSession(c)
		if err != nil {
			return err
		}
		defer s.client.close()
		if err := f(s, args); err != nil {
			return err
		}
		return s.out.err
	}
}

func (o *Options) newSession(c *cobra.Command) (*session, error) {
	format, err := o.format()
	if err != nil {
		return nil, err
	}
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	client, err := o.connect()
	if err != nil {
		// Whoever asks is told; what is wrong with the call is told first.
		client.err = err
	}
	out := c.OutOrStdout()
	zone := o.zone
	if zone == nil {
		zone = time.Local
	}
	p := &printer{w: out, format: format, colour: wantsColour(o.isTerminal(out)), zone: zone}
	return &session{Options: o, ctx: ctx, client: client, out: p, err: c.ErrOrStderr(), in: c.InOrStdin()}, nil
}
