package action

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bugle-fleet/bugle/listener/wire/task"
)

// An update is one that a machine still needs.
type update struct {
	name    string
	version string // that it would get
}

// A manager is a program that keeps packages up to date.
type manager struct {
	name    string // of the program
	env     []string
	refresh []string                                        // arguments that fetch the lists; none: pending does
	pending []string                                        // arguments that list what is pending
	parse   func(code int, output string) ([]update, error) // reads that list
	install func(names []string) []string                   // arguments that install all, or the named ones
	lone    bool                                            // it cannot install named ones
	done    []int                                           // codes of an installation that mean success, besides 0
}

// managers are those of Linux and of macOS. Windows has [windowsUpdates].
var managers = []manager{
	{
		name: "apt-get", env: []string{"DEBIAN_FRONTEND=noninteractive", "APT_LISTCHANGES_FRONTEND=none", "NEEDRESTART_MODE=l"},
		refresh: []string{"-q", "update"}, pending: []string{"-q", "--simulate", "--with-new-pkgs", "upgrade"},
		parse: aptUpdates, install: aptInstall,
	},
	{name: "dnf", pending: []string{"-q", "check-update"}, parse: dnfUpdates, install: dnfInstall},
	{name: "yum", pending: []string{"-q", "check-update"}, parse: dnfUpdates, install: dnfInstall},
	{
		name: "zypper", refresh: []string{"--non-interactive", "--quiet", "refresh"},
		pending: []string{"--non-interactive", "--quiet", "--no-refresh", "list-updates"}, parse: zypperUpdates,
		install: func(names []string) []string {
			return named([]string{"--non-interactive", "--quiet", "update", "--auto-agree-with-licenses"}, names)
		},
		done: []int{100, 101, 102, 103, 106},
	},
	{
		name: "apk", refresh: []string{"--no-progress", "--quiet", "update"},
		pending: []string{"--no-progress", "version", "-v", "-l", "<"}, parse: apkUpdates,
		install: func(names []string) []string { return named([]string{"--no-progress", "upgrade"}, names) },
	},
	{
		name: "softwareupdate", pending: []string{"--list"}, parse: macUpdates, lone: true,
		install: func([]string) []string { return []string{"--install", "--all", "--agree-to-license"} },
	},
}

func named(argv, names []string) []string {
	if len(names) == 0 {
		return argv
	}
	return append(append(slices.Clone(argv), "--"), names...)
}

func aptInstall(names []string) []string {
	argv := []string{"-q", "-y", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
		"-o", "DPkg::Lock::Timeout=300"}
	if len(names) == 0 {
		return append(argv, "--with-new-pkgs", "upgrade")
	}
	return named(append(argv, "--only-upgrade", "install"), names)
}

func dnfInstall(names []string) []string { return named([]string{"-q", "-y", "upgrade"}, names) }

var aptLine = regexp.MustCompile(`^Inst (\S+) (?:\[[^\]]*\] )?\((\S+)`)

func aptUpdates(code int, output string) (list []update, err error) {
	if code != 0 {
		return nil, errCode(code)
	}
	for line := range strings.Lines(output) {
		if m := aptLine.FindStringSubmatch(line); m != nil {
			list = append(list, update{m[1], m[2]})
		}
	}
	return list, nil
}

type errCode int

func (e errCode) Error() string { return "it ended with code " + strconv.Itoa(int(e)) }

// dnfUpdates reads name.arch, version and repository; code 100 says that there are
// any. What follows an empty line or "Obsoleting Packages" is no update.
func dnfUpdates(code int, output string) (list []update, err error) {
	if code != 0 && code != 100 {
		return nil, errCode(code)
	}
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, "Obsoleting") {
			break
		}
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		if dot := strings.LastIndexByte(f[0], '.'); dot > 0 {
			list = append(list, update{f[0][:dot], f[1]})
		}
	}
	return list, nil
}

// zypperUpdates reads the table: v | repository | name | current | available | arch.
func zypperUpdates(code int, output string) (list []update, err error) {
	if code != 0 && code != 100 {
		return nil, errCode(code)
	}
	for line := range strings.Lines(output) {
		f := strings.Split(line, "|")
		if len(f) == 6 && strings.TrimSpace(f[0]) == "v" {
			list = append(list, update{strings.TrimSpace(f[2]), strings.TrimSpace(f[4])})
		}
	}
	return list, nil
}

var apkLine = regexp.MustCompile(`^(\S+)-(\d\S*-r\d+)\s+<\s+(\S+)`)

func apkUpdates(code int, output string) (list []update, err error) {
	if code != 0 {
		return nil, errCode(code)
	}
	for line := range strings.Lines(output) {
		if m := apkLine.FindStringSubmatch(line); m != nil {
			list = append(list, update{m[1], m[3]})
		}
	}
	return list, nil
}

func macUpdates(code int, output string) (list []update, err error) {
	if code != 0 {
		return nil, errCode(code)
	}
	for line := range strings.Lines(output) {
		if label, ok := strings.CutPrefix(strings.TrimSpace(line), "* Label: "); ok {
			list = append(list, update{name: label})
		}
	}
	return list, nil
}

// updates evaluates and installs updates by the machine's own package manager.
type updates struct{ sys *system }

// manager returns the machine's manager and the path of its program.
func (u *updates) manager() (m manager, path string, ok bool) {
	if u.sys.goos == "windows" {
		return windowsUpdates, powershellPath, true
	}
	for _, m := range managers {
		if (m.name == "softwareupdate") != (u.sys.goos == "darwin") {
			continue
		}
		if path, ok := u.sys.has(m.name); ok {
			return m, path, true
		}
	}
	return m, "", false
}

const noManager = "this machine has none of the package managers that are known here: apt-get, dnf, yum, zypper, apk, softwareupdate, Windows Update"

// evaluate fetches the lists and reports what is pending as facts.
func (u *updates) evaluate(ctx context.Context, req Request) Outcome {
	if err := decodeParams(req.Params, &struct{}{}); err != nil {
		return refused(err)
	}
	m, path, ok := u.manager()
	if !ok {
		return notHere(noManager)
	}
	if o, ok := u.refresh(ctx, m, path); !ok {
		return o
	}
	list, err := u.pending(ctx, m, path)
	if err != nil {
		return failed(err)
	}
	f := &facts{}
	f.add("updates.checked", time.Now().UTC().Format(time.RFC3339))
	f.add("updates.manager", m.name)
	f.add("updates.pending", strconv.Itoa(len(list)))
	f.add("updates.restart", strconv.FormatBool(u.wantsRestart()))
	f.addParts("updates.list", updateLines(list))
	if _, err := report(ctx, req.Host, "updates", f.list); err != nil {
		return failed(err)
	}
	return Outcome{State: task.Succeeded, Detail: fmt.Sprintf("%d updates are pending", len(list))}
}

func updateLines(list []update) []string {
	lines := make([]string, len(list))
	for i, up := range list {
		lines[i] = strings.TrimSpace(up.name + " " + up.version)
	}
	slices.Sort(lines)
	return lines
}

func (u *updates) refresh(ctx context.Context, m manager, path string) (o Outcome, ok bool) {
	if m.refresh == nil {
		return o, true
	}
	e, err := u.sys.run(ctx, command{path: path, args: m.refresh, env: m.env})
	switch {
	case err != nil:
		return failed(err), false
	case e.code != 0:
		return e.unexpected(m.name), false
	}
	return o, true
}

func (u *updates) pending(ctx context.Context, m manager, path string) ([]update, error) {
	e, err := u.sys.run(ctx, command{path: path, args: m.pending, env: m.env, keep: maxListing})
	if err != nil {
		return nil, err
	}
	list, err := m.parse(e.code, e.output)
	if err != nil {
		return nil, fmt.Errorf("list updates by %s: %w: %s", m.name, err, e.said())
	}
	return list, nil
}

// packageName begins with a letter or digit, so that it cannot be an option, and
// ends with none of the signs by which apt-get would remove it.
var packageName = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9+._-]{0,126}[A-Za-z0-9+])?$`)

// install installs updates of packages that are installed, all or the named ones.
func (u *updates) install(ctx context.Context, req Request) Outcome {
	var p struct {
		Packages      []string `json:"packages"`
		IgnoreWindows bool     `json:"ignoreWindows"` // is the agent's
	}
	if err := decodeParams(req.Params, &p); err != nil {
		return refused(err)
	}
	if len(p.Packages) > maxNamed {
		return refused(fmt.Errorf("parameters: packages: %d are named, at most %d are taken", len(p.Packages), maxNamed))
	}
	for _, name := range p.Packages {
		if !packageName.MatchString(name) {
			return refused(fmt.Errorf("parameters: packages: %q is not the name of a package", cut(name, 80)))
		}
	}
	m, path, ok := u.manager()
	switch {
	case !ok:
		return notHere(noManager)
	case m.lone && len(p.Packages) > 0:
		return notHere("%s installs all updates or none; name no packages", m.name)
	}
	return u.installBy(ctx, m, path, p.Packages)
}

// installBy installs by a manager. Whoever names packages gets these and no others:
// names are looked for in the list of what is pending, for managers take a name
// that they do not know for a pattern.
func (u *updates) installBy(ctx context.Context, m manager, path string, names []string) Outcome {
	if o, ok := u.refresh(ctx, m, path); !ok {
		return o
	}
	list, err := u.pending(ctx, m, path)
	if err != nil {
		return failed(err)
	}
	pending := make(map[string]bool)
	for _, up := range list {
		pending[up.name] = true
	}
	wanted := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !pending[name] })
	if len(list) == 0 || len(names) > 0 && len(wanted) == 0 {
		return Outcome{State: task.Succeeded, Detail: "nothing of that is pending"}
	}
	e, err := u.sys.run(ctx, command{path: path, args: m.install(wanted), env: m.env, leave: true})
	switch {
	case err != nil:
		return failed(err)
	case e.code != 0 && !slices.Contains(m.done, e.code):
		return e.unexpected(m.name)
	}
	n := len(wanted)
	if len(names) == 0 {
		n = len(list)
	}
	detail := fmt.Sprintf("%d updates are installed", n)
	if u.wantsRestart() || strings.Contains(e.output, windowsWantsRestart) {
		detail += "; the machine wants a restart"
	}
	return Outcome{State: task.Succeeded, Detail: detail}
}

// wantsRestart tells whether the system says that it must be started anew.
func (u *updates) wantsRestart() bool {
	if u.sys.goos != "linux" {
		return false
	}
	_, err := os.Stat(filepath.Join(u.sys.root, "/run/reboot-required"))
	return err == nil
}
