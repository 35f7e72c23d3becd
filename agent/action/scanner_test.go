package action

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// The command lines that bugle starts on each platform, to the byte.
func TestCommandLines(t *testing.T) {
	folders := []string{"/srv/data", "-rf"}
	for _, c := range []struct {
		path    string
		full    bool
		folders []string
		want    string
	}{
		{"/usr/bin/clamdscan", false, folders, "--fdpass --multiscan --infected --no-summary --stdout -- /srv/data -rf"},
		{"/usr/bin/clamdscan", true, nil, "--fdpass --multiscan --infected --no-summary --stdout -- /"},
		{"/opt/homebrew/bin/clamscan", false, folders, "--recursive --infected --no-summary --stdout --cross-fs=no --follow-dir-symlinks=0 --follow-file-symlinks=0 --exclude-dir=^/(proc|sys|dev)(/|$) -- /srv/data -rf"},
		{"/opt/homebrew/bin/clamscan", true, nil, "--recursive --infected --no-summary --stdout --cross-fs=no --follow-dir-symlinks=0 --follow-file-symlinks=0 --exclude-dir=^/(proc|sys|dev)(/|$) -- /"},
		{`C:\Program Files\Windows Defender\MpCmdRun.exe`, false, folders, "-Scan -ScanType 1"},
		{`C:\Program Files\Windows Defender\MpCmdRun.exe`, true, nil, "-Scan -ScanType 2"},
	} {
		s := scannerAt(c.path, nil)
		if s == nil || s.path != c.path {
			t.Errorf("%s is not known", c.path)
			continue
		}
		if got := strings.Join(s.argv(c.full, c.folders, nil), " "); got != c.want {
			t.Errorf("%s, full %v:\n got %s\nwant %s", c.path, c.full, got, c.want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	clean := Outcome{State: task.Succeeded, Detail: "clean"}
	for _, c := range []struct {
		path   string
		code   int
		output string
		want   Outcome
		ok     bool
	}{
		{"clamscan", 0, "", clean, true},
		{"clamscan", 1, "/a: Eicar FOUND\n/b: Eicar FOUND\n", Outcome{task.Succeeded, CodeFound, "found: /a: Eicar FOUND; /b: Eicar FOUND"}, true},
		{"clamscan", 2, "ERROR: no database", Outcome{}, false},
		{"clamdscan", 0, "", clean, true},
		{"clamdscan", 1, "/a: Eicar FOUND", Outcome{task.Succeeded, CodeFound, "found: /a: Eicar FOUND"}, true},
		{"clamdscan", 2, "ERROR: no clamd", Outcome{}, false},
		{"MpCmdRun.exe", 0, "Scan starting...\r\nScan finished.\r\n", clean, true},
		{"MpCmdRun.exe", 0, "Scan finished.\r\nThreat Eicar cleaned\r\n", Outcome{task.Succeeded, CodeFound, "found: Scan finished.; Threat Eicar cleaned"}, true},
		{"MpCmdRun.exe", 2, "Threat Eicar\r\n", Outcome{task.Succeeded, CodeFound, "found: Threat Eicar"}, true},
		{"MpCmdRun.exe", 2, "CmdTool: Failed with hr = 0x80508023", Outcome{}, false},
		{"MpCmdRun.exe", -1, "", Outcome{}, false},
	} {
		if got, ok := scannerAt(c.path, nil).outcome(c.code, c.output); got != c.want || ok != c.ok {
			t.Errorf("%s, code %d, %q: %+v %v", c.path, c.code, c.output, got, ok)
		}
	}
}

func TestWhichScanner(t *testing.T) {
	for _, c := range []struct {
		goos string
		have []string
		want string
	}{
		{"linux", []string{"clamscan", "clamdscan"}, "clamdscan"},
		{"darwin", []string{"clamscan"}, "clamscan"},
		{"linux", nil, ""},
		{"windows", []string{defender}, "mpcmdrun.exe"},
		{"windows", []string{"clamscan"}, ""},
	} {
		got := ""
		f := newFake(t, c.goos, c.have...)
		if s := findScanner(&f.system); s != nil {
			got = s.name
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.goos, got, c.want)
		}
	}
	dir := t.TempDir()
	for choice, want := range map[string]string{
		"clamscan":                             "full path",
		filepath.Join(dir, "clamscan"):         "no such file",
		"/bin/sh":                              "bugle knows",
		filepath.Join(dir, "sub", "clamdscan"): "not a file",
	} {
		if want == "not a file" {
			os.MkdirAll(choice, 0o700)
		}
		if _, err := Table(Config{Scanner: choice}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("scanner %s: %v, want %q", choice, err, want)
		}
	}
	if _, err := Table(Config{}); err != nil {
		t.Errorf("found by itself: %v", err)
	}
}

// The test binary is also the scanner that tests start: see TestMain.
const fakeScanner = "fake-scanner"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == fakeScanner {
		fake(os.Args[2:])
		return
	}
	os.Exit(m.Run())
}

func fake(args []string) {
	switch args[0] {
	case "env":
		os.Stdout.WriteString(strings.Join(os.Environ(), "\n"))
		os.Exit(1)
	case "flood":
		for range 10_000 {
			os.Stdout.WriteString(strings.Repeat("x", 1000) + "\n")
		}
		os.Exit(1)
	case "hang":
		os.Stdout.WriteString("hangs\n")
		f, _ := os.Create(args[1])
		f.Close()
		select {}
	case "code":
		code, _ := strconv.Atoi(args[1])
		os.Stdout.WriteString("says this\n")
		os.Exit(code)
	}
}

func runFake(ctx context.Context, args ...string) Outcome {
	sys := thisSystem()
	s := &scanner{os.Args[0], families[1], &sys}
	o, _ := s.run(ctx, append([]string{fakeScanner}, args...))
	return o
}

func TestScannerIsRun(t *testing.T) {
	t.Setenv("BUGLE_CANARY", "secret")
	for _, c := range []struct {
		args []string
		want Outcome
	}{
		{[]string{"code", "0"}, Outcome{task.Succeeded, 0, "clean"}},
		{[]string{"code", "1"}, Outcome{task.Succeeded, CodeFound, "found: says this"}},
		{[]string{"code", "2"}, Outcome{task.Failed, 2, "clamscan ended with code 2: says this"}},
		{[]string{"code", "50"}, Outcome{task.Failed, 50, "clamscan ended with code 50: says this"}},
	} {
		if got := runFake(context.Background(), c.args...); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.args, got, c.want)
		}
	}
	if o := runFake(context.Background(), "env"); strings.Contains(o.Detail, "secret") || !strings.Contains(o.Detail, "LC_ALL=C") {
		t.Errorf("environment: %s", o.Detail)
	}
	if o := runFake(context.Background(), "flood"); o.Code != CodeFound || len(o.Detail) > task.MaxDetail {
		t.Errorf("flood: %s, %d bytes", o.State, len(o.Detail))
	}
	sys := thisSystem()
	s := &scanner{"/nowhere/clamscan", families[1], &sys}
	if o, _ := s.run(context.Background(), nil); o.State != task.Failed || !strings.HasPrefix(o.Detail, "start /nowhere/clamscan: ") {
		t.Errorf("not there: %+v", o)
	}
}

func TestScannerEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	up := filepath.Join(t.TempDir(), "up")
	done := make(chan Outcome, 1)
	go func() { done <- runFake(ctx, "hang", up) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.After(30 * time.Second); ; {
		if _, err := os.Stat(up); err == nil {
			break
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("the scanner did not start")
		}
	}
	cancel()
	select {
	case o := <-done:
		if o.State != task.Failed {
			t.Errorf("%+v", o)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the scanner was not ended")
	}
}

// Indicators in a task are looked for by the built-in scanner whatever scanner
// the machine has.
func TestIndicatorsNeedTheBuiltinScanner(t *testing.T) {
	dir := t.TempDir()
	sum := write(t, filepath.Join(dir, "evil"), "evil")
	sys := thisSystem()
	s, err := newScan(Config{Scanner: "builtin", Folders: []string{dir}}, &sys, new(protection))
	if err != nil {
		t.Fatal(err)
	}
	s.scanner = &scanner{"/nowhere/clamscan", families[1], &sys}
	if o := s.quick(context.Background(), (&fakeHost{}).request(`{"sha256":["`+sum+`"]}`)); o.Code != CodeFound {
		t.Errorf("%+v", o)
	}
	if o := s.quick(context.Background(), (&fakeHost{}).request("")); o.State != task.Failed {
		t.Errorf("%+v", o)
	}
}
