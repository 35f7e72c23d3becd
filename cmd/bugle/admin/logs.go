package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/bugle-fleet/bugle/console"
	"github.com/bugle-fleet/bugle/journal/durable"
)

var logColumns = []column[console.LogFile]{
	{"device", false, func(f console.LogFile) any { return f.Device }},
	{"name", false, func(f console.LogFile) any { return f.Name }},
	{"bytes", false, func(f console.LogFile) any { return f.Bytes }},
	{"at", false, func(f console.LogFile) any { return f.At }},
	{"sha256", true, func(f console.LogFile) any { return f.SHA256 }},
}

// logsFlags are what ops logs is called with.
type logsFlags struct {
	device, file string
	force        bool
}

func opsLogs(o *Options) *cobra.Command {
	f := new(logsFlags)
	c := &cobra.Command{
		Use:   "logs ID",
		Short: "List what devices sent for logs.collect, or fetch it",
		Long: `List what the devices of an operation of kind logs.collect have sent. With --device fetch
what one of them sent, a tar.gz, into --file (default ID-DEVICE.tar.gz; - is standard
output). The file gets its name once it is whole and its SHA-256 is the one that the
device said. The site keeps a bounded amount; the oldest make room.`,
		Example: "  id=$(bugle push logs.collect --device PC-0042 --quiet) && bugle ops watch \"$id\"\n" +
			"  bugle ops logs \"$id\"\n  bugle ops logs \"$id\" --device PC-0042 --file pc42.tar.gz",
		Args:              exactly("ID"),
		ValidArgsFunction: onlyFirst(o.complete(operationIDs)),
		RunE: o.with(func(s *session, args []string) error {
			if err := operationID(args[0]); err != nil {
				return err
			}
			if f.device == "" && (f.file != "" || f.force) {
				return usage("--file and --force are for --device")
			}
			if f.device != "" {
				return s.fetchLogs(args[0], f)
			}
			var files console.LogList
			if err := s.client.get(s.ctx, console.Path(console.PathOperationLogs, args[0]), nil, &files); err != nil {
				return err
			}
			return list(s.out, logColumns, all(files.Items))
		}),
	}
	c.Flags().StringVar(&f.device, "device", "", "fetch what this device sent, by number, id or name")
	c.Flags().StringVar(&f.file, "file", "", "write to this file, - for standard output (default ID-DEVICE.tar.gz)")
	c.Flags().BoolVar(&f.force, "force", false, "write over a file that is there")
	c.RegisterFlagCompletionFunc("device", o.complete(deviceNames))
	return c
}

// fetchLogs fetches one file.
func (s *session) fetchLogs(operation string, f *logsFlags) error {
	response, err := s.client.send(s.ctx, request{method: http.MethodGet, path: console.Path(console.PathOperationLog, operation, f.device)})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	want := response.Header.Get(console.HeaderSHA256)
	if f.file == "-" {
		_, err := copyChecked(s.out.w, response.Body, want)
		return err
	}
	name := f.file
	if name == "" {
		name = logName(operation, f.device)
	}
	if _, err := os.Stat(name); !f.force && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write logs: %s is there already; --force writes over it", name)
	}
	size, err := writeLogs(name, response.Body, want)
	if err != nil {
		return fmt.Errorf("write logs %s: %w", name, err)
	}
	shown := struct {
		File   string `json:"file"`
		Bytes  int64  `json:"bytes"`
		SHA256 string `json:"sha256"`
	}{name, size, want}
	if !s.out.table() {
		s.out.object(shown, []field{{"File", "file", name}, {"Bytes", "bytes", size}, {"SHA-256", "sha256", want}})
		return nil
	}
	s.out.printf("%s: %d bytes\n", clean(name), size)
	return nil
}

// logName is a name that is one in any folder, whatever the device is called.
func logName(operation, device string) string {
	safe := func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}
	name := []rune(device)
	for i, r := range name {
		name[i] = safe(r)
	}
	return operation + "-" + string(name) + ".tar.gz"
}

func writeLogs(name string, body io.Reader, want string) (int64, error) {
	part := name + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := copyChecked(f, body, want)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(part)
		return 0, err
	}
	return n, durable.Rename(part, name)
}

// copyChecked copies all of a body; its SHA-256 must be the one that was announced.
func copyChecked(w io.Writer, body io.Reader, want string) (int64, error) {
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), body)
	if err != nil {
		return n, err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return n, fmt.Errorf("what came has SHA-256 %s, it must have %s", got, want)
	}
	return n, nil
}
