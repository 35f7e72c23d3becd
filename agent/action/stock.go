package action

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// Software is one thing that is installed.
type software struct{ name, version string }

// maxSoftware is how many are looked at.
const maxSoftware = 50_000

// A lister is a program that lists what is installed.
type lister struct {
	program string
	args    [][]string // of one run each
	parse   func(output string) ([]software, error)
	some    bool // a run that fails lists nothing, such as for a key that is not there
}

// Listers, by operating system, in the order in which they are looked for. A Linux
// machine has one of them that knows its packages.
var listers = map[string][]lister{
	"linux": {
		{program: "dpkg-query", args: [][]string{{"--show", "--showformat=${db:Status-Status}\t${Package}\t${Version}\n"}}, parse: dpkgSoftware},
		{program: "rpm", args: [][]string{{"--query", "--all", "--queryformat", "%{NAME}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\n"}}, parse: tabSoftware},
		{program: "apk", args: [][]string{{"--no-progress", "info", "-v"}}, parse: apkSoftware},
	},
	"darwin": {
		{program: "/usr/sbin/system_profiler", args: [][]string{{"-json", "-detailLevel", "mini", "SPApplicationsDataType"}}, parse: macSoftware},
	},
	"windows": {
		{program: regPath, some: true, parse: windowsSoftware, args: [][]string{
			{"query", `HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall`, "/s", "/reg:64"},
			{"query", `HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall`, "/s", "/reg:32"},
		}},
	},
}

const regPath = `C:\Windows\System32\reg.exe`

func dpkgSoftware(output string) (list []software, err error) {
	for line := range strings.Lines(output) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) == 3 && f[0] == "installed" {
			list = append(list, software{f[1], f[2]})
		}
	}
	return list, nil
}

func tabSoftware(output string) (list []software, err error) {
	for line := range strings.Lines(output) {
		if name, version, ok := strings.Cut(strings.TrimRight(line, "\n"), "\t"); ok && name != "gpg-pubkey" {
			list = append(list, software{name, version})
		}
	}
	return list, nil
}

var apkPackage = regexp.MustCompile(`^(\S+)-(\d\S*-r\d+)$`)

func apkSoftware(output string) (list []software, err error) {
	for line := range strings.Lines(output) {
		if m := apkPackage.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			list = append(list, software{m[1], m[2]})
		}
	}
	return list, nil
}

func macSoftware(output string) (list []software, err error) {
	var doc struct {
		Items []struct {
			Name    string `json:"_name"`
			Version string `json:"version"`
		} `json:"SPApplicationsDataType"`
	}
	if err := json.Unmarshal([]byte(output), &doc); err != nil {
		return nil, fmt.Errorf("read the list of system_profiler: %w", err)
	}
	for _, item := range doc.Items {
		list = append(list, software{item.Name, item.Version})
	}
	return list, nil
}

// windowsSoftware reads what reg.exe prints: a line for each key, and under it
// "    NAME    TYPE    VALUE".
func windowsSoftware(output string) (list []software, err error) {
	var now software
	flush := func() {
		if now.name != "" {
			list = append(list, now)
		}
		now = software{}
	}
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "HKEY_") {
			flush()
			continue
		}
		name, value := regValue(line)
		switch name {
		case "DisplayName":
			now.name = value
		case "DisplayVersion":
			now.version = value
		}
	}
	flush()
	return list, nil
}

var regLine = regexp.MustCompile(`^    (.+?)    REG_(?:SZ|EXPAND_SZ|DWORD)    (.*)$`)

func regValue(line string) (name, value string) {
	if m := regLine.FindStringSubmatch(line); m != nil {
		return m[1], strings.TrimSpace(m[2])
	}
	return "", ""
}

// stock knows what is installed.
type stock struct{ sys *system }

var errNoLister = errors.New("this machine has none of the package databases that are known here: dpkg, rpm, apk, system_profiler, the registry of Windows")

// list returns what is installed, by name and version, and the program that said so.
func (s *stock) list(ctx context.Context) ([]software, string, error) {
	for _, l := range listers[s.sys.goos] {
		path, ok := s.sys.has(l.program)
		if !ok {
			continue
		}
		var all []software
		for _, args := range l.args {
			list, err := s.one(ctx, &l, path, args)
			if err != nil {
				return nil, "", err
			}
			all = append(all, list...)
		}
		slices.SortFunc(all, func(a, b software) int { return strings.Compare(a.name+"\x00"+a.version, b.name+"\x00"+b.version) })
		return slices.Compact(all), programName(l.program), nil
	}
	return nil, "", errNoLister
}

func (s *stock) one(ctx context.Context, l *lister, path string, args []string) ([]software, error) {
	e, err := s.sys.run(ctx, command{path: path, args: args, keep: maxListing})
	switch {
	case err != nil:
		return nil, err
	case e.code != 0 && l.some:
		return nil, nil
	case e.code != 0:
		return nil, fmt.Errorf("list what is installed: %s ended with code %d: %s", programName(path), e.code, e.said())
	case e.cut:
		return nil, fmt.Errorf("list what is installed: %s says more than %d bytes", programName(path), maxListing)
	}
	list, err := l.parse(e.output)
	if err == nil && len(list) > maxSoftware {
		err = fmt.Errorf("list what is installed: more than %d", maxSoftware)
	}
	return list, err
}

// inventory reports what is installed.
func (s *stock) inventory(ctx context.Context, req Request) Outcome {
	if err := decodeParams(req.Params, &struct{}{}); err != nil {
		return refused(err)
	}
	list, by, err := s.list(ctx)
	if errors.Is(err, errNoLister) {
		return notHere("%s", err)
	}
	if err != nil {
		return failed(err)
	}
	lines := make([]string, len(list))
	for i, sw := range list {
		lines[i] = oneLine(sw.name) + "\t" + oneLine(sw.version)
	}
	f := &facts{}
	f.add("software.count", strconv.Itoa(len(list)))
	f.add("software.source", by)
	f.addParts("software", lines)
	f.list = append(f.list, looked("software"))
	detail, err := report(ctx, req.Host, "software", f.list)
	if err != nil {
		return failed(err)
	}
	return Outcome{State: task.Succeeded, Detail: fmt.Sprintf("%d installed, by %s: %s", len(list), by, detail)}
}

// An application is one that must be installed.
type application struct {
	Name    string `json:"name"`
	Version string `json:"version"` // at least; empty for any
}

var versionForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+:~_-]{0,63}$`)

// evaluate checks that applications are installed. One that is not makes the task
// fail, with the names of all that are missing or too old.
func (s *stock) evaluate(ctx context.Context, req Request) Outcome {
	var p struct {
		Applications []application `json:"applications"`
	}
	if err := decodeParams(req.Params, &p); err != nil {
		return refused(err)
	}
	if err := checkApplications(p.Applications); err != nil {
		return refused(err)
	}
	list, _, err := s.list(ctx)
	if errors.Is(err, errNoLister) {
		return notHere("%s", err)
	}
	if err != nil {
		return failed(err)
	}
	have := make(map[string]string) // the newest of each
	for _, sw := range list {
		if old, ok := have[sw.name]; !ok || compareVersions(old, sw.version) < 0 {
			have[sw.name] = sw.version
		}
	}
	var wrong []string
	for _, a := range p.Applications {
		if reason := a.missing(have); reason != "" {
			wrong = append(wrong, reason)
		}
	}
	if len(wrong) > 0 {
		o := failed(errors.New(cut(strings.Join(wrong, "; "), task.MaxDetail-256)))
		o.Code = int32(len(wrong))
		return o
	}
	return Outcome{State: task.Succeeded, Detail: fmt.Sprintf("all %d are installed", len(p.Applications))}
}

func checkApplications(all []application) error {
	if len(all) == 0 || len(all) > maxNamed {
		return fmt.Errorf("parameters: applications: %d are named, 1 to %d are taken", len(all), maxNamed)
	}
	for _, a := range all {
		if a.Name == "" || len(a.Name) > 256 || oneLine(a.Name) != a.Name {
			return fmt.Errorf("parameters: applications: %q is not a name", cut(a.Name, 80))
		}
		if a.Version != "" && !versionForm.MatchString(a.Version) {
			return fmt.Errorf("parameters: applications: %q is not a version", cut(a.Version, 80))
		}
	}
	return nil
}

// missing says why an application does not count as installed, or nothing.
func (a *application) missing(have map[string]string) string {
	version, ok := have[a.Name]
	switch {
	case !ok:
		return a.Name + " is not installed"
	case a.Version != "" && compareVersions(version, a.Version) < 0:
		return fmt.Sprintf("%s is installed in version %s, at least %s is needed", a.Name, version, a.Version)
	}
	return ""
}
