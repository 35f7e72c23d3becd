package admin

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/bugle-fleet/bugle/console"
)

// importSite takes lines as a console does: those with "bad" in them are none, those
// with "same" are what they were.
func importSite(t *testing.T) *fakeSite {
	event := uint64(60)
	return newFakeSite(t, map[string]http.HandlerFunc{
		"POST " + console.PathDevicesImport: func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Content-Type"); got != "application/x-ndjson" {
				t.Errorf("content type %q", got)
			}
			event++
			reply := console.ImportReply{Problems: []console.ImportProblem{}, DryRun: r.URL.Query().Get("dry-run") == "true", Event: event, Events: 1}
			line, _ := strconv.Atoi(r.URL.Query().Get("line"))
			body, _ := io.ReadAll(r.Body)
			for text := range strings.Lines(string(body)) {
				switch {
				case strings.TrimSpace(text) == "":
				case strings.Contains(text, "bad"):
					reply.Bad++
					reply.Problems = append(reply.Problems, console.ImportProblem{Line: line, Device: "a\x1b[31m", Detail: "it is bad"})
				case strings.Contains(text, "same"):
					reply.Unchanged++
				default:
					reply.New++
				}
				line++
			}
			answer(reply)(w, r)
		},
	})
}

func (s *fakeSite) file(name, text string) string {
	s.write(name, text)
	return filepath.Join(s.data, name)
}

const someLines = "{\"name\":\"a\"}\n\n  \n{\"name\":\"same\"}\r\n{\"name\":\"bad\"}\n{\"name\":\"c\"}"

func TestImportInEveryFormat(t *testing.T) {
	var all strings.Builder
	for _, flags := range []string{"", "--dry-run", "-o json", "-o jsonl", "-o csv", "--quiet"} {
		s := importSite(t)
		r := run{}.on(s, append([]string{"devices", "import", s.file("pcs.jsonl", someLines)}, strings.Fields(flags)...)...)
		fmt.Fprintf(&all, "$ bugle devices import pcs.jsonl %s\n%s%s\n", flags, r.text(s), strings.Join(s.called(), "\n"))
	}
	for _, lines := range []string{"", "\n\n", "bad\nbad\n", `{"name":"fine"}` + "\n"} {
		s := importSite(t)
		r := run{stdin: lines}.on(s, "devices", "import", "-")
		fmt.Fprintf(&all, "$ bugle devices import - <<<%q\n%s\n", lines, r.text(s))
	}
	golden(t, "devices-import", all.String())
}

func TestImportOfCSV(t *testing.T) {
	var all strings.Builder
	for _, text := range []string{
		"\uFEFFname,Build,SMS_G_System_COMPUTER_SYSTEM.Model,SMS_G_System_COMPUTER_SYSTEM.Name\nPC1,10.0,\"T14, \"\"new\"\"\",x\n\n\"PC2\",,,\n\"PC\n3\",1,2,3\nPC4,1\nPC5,\"1\"x,2,3\nsame,1,2,3\n",
		"name;Build\nPC1;1\n",
		"name,Build\nPC1,\"open\nPC2,1\n",
		"name,Build\nPC\xff,1\nPC2,1\n",
		"name,NAME\na,b\n", "name,,x\n", "", "\n\n", "\"name\n",
	} {
		s := importSite(t)
		r := run{}.on(s, "devices", "import", s.file("pcs.csv", text))
		fmt.Fprintf(&all, "$ bugle devices import pcs.csv <<<%q\n%s%s\n", text, r.text(s), strings.Join(s.called(), "\n"))
	}
	golden(t, "devices-import-csv", all.String())
}

// A line of a hundred megabytes is passed over, in as much memory as any other, and
// the lines behind it are taken with their right numbers.
func TestImportOfLongLines(t *testing.T) {
	s := importSite(t)
	name := filepath.Join(s.data, "long.jsonl")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	fmt.Fprint(w, "{\"name\":\"a\"}\n{\"name\":\"")
	for range 100 << 10 {
		fmt.Fprint(w, strings.Repeat("x", 1<<10))
	}
	fmt.Fprint(w, "\"}\n{\"name\":\"bad\"}\n{\"name\":\"b\"}\n"+strings.Repeat("y", console.MaxImportLine+1))
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	r := run{}.on(s, "devices", "import", name, "-o", "json")
	var got importResult
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || got.New != 2 || got.Bad != 3 || r.code != 3 {
		t.Errorf("%s, %v, code %d", r.stdout, err, r.code)
	}
	lines := map[int]string{}
	for _, p := range got.Problems {
		lines[p.Line] = p.Detail
	}
	if want := "it has more than 1048576 bytes"; lines[2] != want || lines[5] != want || lines[3] != "it is bad" {
		t.Errorf("problems %v", lines)
	}
}

// A file goes in calls of a bounded size, each line in one of them and with its number.
func TestImportInParts(t *testing.T) {
	s := importSite(t)
	var b strings.Builder
	const lines = 5000
	for i := range lines {
		word := "fine"
		if i == lines-1 {
			word = "bad"
		}
		fmt.Fprintf(&b, "{\"name\":\"pc%d\",\"Build\":\"%s %s\"}\n", i, word, strings.Repeat("x", 1000))
	}
	r := run{terminal: true}.on(s, "devices", "import", s.file("pcs.jsonl", b.String()))
	calls := s.called()
	if len(calls) != 5 || r.code != 3 || !strings.Contains(r.stderr, fmt.Sprintf("pcs.jsonl:%d: ", lines)) || !strings.Contains(r.stdout, "4999 devices") {
		t.Errorf("%d calls, code %d\n%s%s", len(calls), r.code, r.stdout, r.stderr)
	}
	for _, c := range calls {
		if len(c) > importChunk+200 {
			t.Errorf("a call of %d bytes", len(c))
		}
	}
}

// A call that the site did not answer is made again; what it refuses ends the import.
func TestImportThatFails(t *testing.T) {
	var answers http.HandlerFunc = answer(console.ImportReply{New: 1, Event: 9, Problems: []console.ImportProblem{}})
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		code    int
		calls   int
	}{
		"again":   {inOrder(hangUp, refuse(503, "The journal is not available", "Try again."), answers), 0, 3},
		"refused": {refuse(409, "The devices cannot be imported", "There is no number left."), 1, 1},
	} {
		s := newFakeSite(t, map[string]http.HandlerFunc{"POST " + console.PathDevicesImport: c.handler})
		r := run{}.on(s, "devices", "import", s.file("pcs.jsonl", `{"name":"a"}`))
		if r.code != c.code || len(s.called()) != c.calls {
			t.Errorf("%s: code %d after %d calls: %s", name, r.code, len(s.called()), r.text(s))
		}
	}
	s := importSite(t)
	for _, args := range []string{"devices import", "devices import nowhere.jsonl", "devices import x --format xml", "devices import " + s.data} {
		if r := (run{}).on(s, strings.Fields(args)...); r.code == 0 || len(s.called()) != 0 {
			t.Errorf("%s: code %d, %s", args, r.code, r.text(s))
		}
	}
}

func FuzzImportLines(f *testing.F) {
	f.Add("name,Build\nPC1,\"a\nb\"\n\nPC2;1\n")
	f.Add(someLines)
	f.Add("\"")
	f.Fuzz(func(t *testing.T, text string) {
		in := func() *bufio.Reader { return bufio.NewReaderSize(strings.NewReader(text), 16) }
		sources := []lineSource{&jsonLines{lineReader{in: in()}}}
		if c, err := newCSVLines(in()); err == nil {
			sources = append(sources, c)
		}
		for n, s := range sources {
			last := 0
			for {
				number, line, err := s.next()
				if err == io.EOF {
					break
				}
				if bad, ok := err.(*lineError); ok {
					number = bad.line
				} else if err != nil {
					t.Fatal(err)
				}
				if number <= last || number > strings.Count(text, "\n")+1 {
					t.Fatalf("line %d after line %d of %q", number, last, text)
				}
				if err == nil && n == 1 && !json.Valid(line) {
					t.Fatalf("%q is no JSON", line)
				}
				last = number
			}
		}
	})
}

var deviceKnown = console.DeviceReply{Device: console.Device{ID: "0b3c6f6e-4444-4111-8111-111111111111", Number: 4, Name: "pc-0004", Reason: "no-agent", Imported: ptr(at("09:00:00")), LastEvent: 70},
	Facts: map[string]string{"os.version": "12.11", "health.firewall": "on"}, Event: 71, InventoryMore: 3,
	Inventory: []console.InventoryClass{
		{Class: "SMS_R_System", Rows: []console.InventoryRow{{Values: []console.InventoryValue{{Property: "Client", Value: 0, Event: 60}, {Property: "IPAddresses", Value: []string{"10.0.0.7", "fe80::7"}, Event: 61},
			{Property: "CreationDate", Value: at("09:00:00"), Event: 60}, {Property: "IsVirtualMachine", Value: true, Event: 60}, {Property: "Name", Value: "a\x1b[31mb", Event: 60}}}}},
		{Class: "SMS_G_System_ADD_REMOVE_PROGRAMS", Rows: append([]console.InventoryRow{
			{Key: "7-zip", Imported: true, Values: []console.InventoryValue{{Property: "DisplayName", Value: "7-Zip", Event: 60}, {Property: "Version", Value: "23", Event: 62}}},
			{Key: "vim", Values: []console.InventoryValue{{Property: "DisplayName", Value: "vim", Event: 60}}},
			{Key: "vim", Imported: true, Hidden: true, Values: []console.InventoryValue{{Property: "DisplayName", Value: "vim", Event: 60}}},
		}, programsFrom(60)...)},
	}}

func programsFrom(n int) (rows []console.InventoryRow) {
	for i := range n {
		rows = append(rows, console.InventoryRow{Key: fmt.Sprint("z", i), Values: []console.InventoryValue{{Property: "DisplayName", Value: fmt.Sprint("Z", i), Event: 63}}})
	}
	return rows
}

func TestShowOfInventory(t *testing.T) {
	var all strings.Builder
	gone := deviceKnown
	gone.Removed, gone.Removal, gone.Reason, gone.Inventory, gone.InventoryMore = ptr(at("10:00:00")), "scrapped", "removed", nil, 0
	for _, d := range []console.DeviceReply{deviceKnown, gone} {
		for _, format := range []string{"table", "csv"} {
			s := newFakeSite(t, map[string]http.HandlerFunc{"GET " + console.PathDevice: answer(d)})
			fmt.Fprintf(&all, "$ bugle devices show 4 -o %s\n%s\n", format, run{}.on(s, "devices", "show", "4", "-o", format).text(s))
		}
	}
	golden(t, "devices-show-inventory", all.String())
}

func TestRemoveAndClasses(t *testing.T) {
	var all strings.Builder
	for _, args := range []string{
		"devices remove pc-0001 4 --reason scrapped", "devices remove pc-0001 -o json --yes", "devices remove pc-0001 --quiet --yes", "devices remove",
		"devices list --removed", "devices classes list", "devices classes list -o json disk", "devices classes",
	} {
		s := newFakeSite(t, map[string]http.HandlerFunc{
			"GET " + console.PathDevice: answer(deviceShown), "GET " + console.PathDevices: deviceList,
			"POST " + console.PathDeviceRemove: answer(console.Written{Event: 72}),
			"GET " + console.PathClasses:       classList,
		})
		r := run{}.on(s, strings.Fields(args)...)
		fmt.Fprintf(&all, "$ bugle %s\n%s%s\n", args, r.text(s), strings.Join(s.called(), "\n"))
	}
	golden(t, "devices-remove", all.String())
}

func classList(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, `{"items":[{"name":"SMS_R_System","properties":[{"name":"Name","type":"text"},{"name":"IPAddresses","type":"text","list":true}]},`+
		`{"name":"SMS_G_System_LOGICAL_DISK","properties":[{"name":"DeviceID","type":"text","key":true},{"name":"Size","type":"number"}]}],"event":5}`)
}
