package main

import (
	"bytes"
	"context"
	_ "embed" // the services' descriptions
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const serviceName = "bugle-agent"

//go:embed bugle-agent.service
var systemdUnit string

//go:embed com.bugle-fleet.agent.plist
var launchdList string

// A service is how a platform runs the agent from boot on: a file that describes
// it, and commands. Nothing of this has happened yet.
type service struct {
	file      string // where the description is put; empty: the platform keeps none
	text      string
	install   [][]string // after the file is there
	uninstall [][]string // before the file is removed
	removed   [][]string // after that
	status    []string
}

// serviceOf describes the agent at exe, with its files in dir, to a platform.
func serviceOf(goos, exe, dir string) (service, error) {
	for _, path := range []string{exe, dir} {
		if strings.ContainsAny(path, "\n\r\"%$\\") && goos != "windows" || strings.ContainsAny(path, "\n\r\"") {
			return service{}, fmt.Errorf("path %q: it holds characters that a service's description cannot", path)
		}
	}
	switch goos {
	case "linux":
		const file = "/etc/systemd/system/" + serviceName + ".service"
		return service{
			file:      file,
			text:      fill(systemdUnit, quoteUnit(exe), quoteUnit(dir)),
			install:   [][]string{{"systemctl", "daemon-reload"}, {"systemctl", "enable", "--now", serviceName}},
			uninstall: [][]string{{"systemctl", "disable", "--now", serviceName}},
			removed:   [][]string{{"systemctl", "daemon-reload"}},
			status:    []string{"systemctl", "status", "--no-pager", serviceName},
		}, nil
	case "darwin":
		const label = "com.bugle-fleet.agent"
		const file = "/Library/LaunchDaemons/" + label + ".plist"
		return service{
			file:      file,
			text:      fill(launchdList, escapeXML(exe), escapeXML(dir)),
			install:   [][]string{{"launchctl", "bootstrap", "system", file}, {"launchctl", "enable", "system/" + label}},
			uninstall: [][]string{{"launchctl", "bootout", "system/" + label}},
			status:    []string{"launchctl", "print", "system/" + label},
		}, nil
	case "windows":
		run := fmt.Sprintf("\"%s\" run --dir \"%s\"", exe, dir)
		return service{
			install: [][]string{
				{"sc.exe", "create", serviceName, "binPath=", run, "start=", "auto", "DisplayName=", "bugle agent"},
				{"sc.exe", "failure", serviceName, "reset=", "86400", "actions=", "restart/5000/restart/5000/restart/60000"},
				{"sc.exe", "failureflag", serviceName, "1"},
				{"sc.exe", "start", serviceName},
			},
			uninstall: [][]string{{"sc.exe", "stop", serviceName}, {"sc.exe", "delete", serviceName}},
			status:    []string{"sc.exe", "query", serviceName},
		}, nil
	}
	return service{}, fmt.Errorf("a service on %s: bugle-agent knows systemd, launchd and Windows; start 'bugle-agent run' by other means", goos)
}

func fill(text, exe, dir string) string {
	return strings.NewReplacer("{{EXE}}", exe, "{{DIR}}", dir).Replace(text)
}

// quoteUnit writes a path as one word of systemd's ExecStart.
func quoteUnit(path string) string {
	if strings.ContainsAny(path, " \t'") {
		return `"` + path + `"`
	}
	return path
}

func escapeXML(s string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(s))
	return b.String()
}

const serviceUsage = "bugle-agent service: say what to do: install, uninstall, status or print"

// service installs the agent as a service of this machine, or takes it away.
func (p *program) service(args []string) error {
	if len(args) == 0 {
		return &usageError{serviceUsage}
	}
	var dir string
	f := p.flags("service " + args[0])
	f.StringVar(&dir, "dir", defaultDir(), "folder of this agent")
	if err := p.parse(f, args[1:]); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("find the agent's folder: %w", err)
	}
	s, err := serviceOf(runtime.GOOS, exe, dir)
	if err != nil {
		return err
	}
	m := machine{ctx: p.ctx, run: p.command}
	switch args[0] {
	case "install":
		return m.install(&s, dir)
	case "uninstall":
		return m.uninstall(&s)
	case "status":
		return m.run(p.ctx, s.status)
	case "print":
		fmt.Fprint(p.stdout, s.printed())
		return nil
	}
	return &usageError{fmt.Sprintf("unknown command %q: %s", args[0], serviceUsage)}
}

func (s *service) printed() string {
	if s.file != "" {
		return s.text
	}
	var b strings.Builder
	for _, c := range s.install {
		fmt.Fprintln(&b, strings.Join(c, " "))
	}
	return b.String()
}

// command runs one command of the platform; what it says is shown.
func (p *program) command(ctx context.Context, argv []string) error {
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Stdout, c.Stderr = p.stdout, p.stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return nil
}

// A machine is where a service is put.
type machine struct {
	ctx  context.Context
	root string // in front of the description's path, for tests
	run  func(ctx context.Context, argv []string) error
}

// install may be repeated: it brings the description up to date.
func (m *machine) install(s *service, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "identity.json")); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s holds no agent that has joined: run 'bugle-agent join' first, the service has no token to join with", dir)
	}
	if s.file != "" {
		if err := os.WriteFile(m.root+s.file, []byte(s.text), 0o644); err != nil {
			return fmt.Errorf("describe the service: %w", err)
		}
	}
	return m.all(s.install)
}

// uninstall leaves the agent's folder as it is.
func (m *machine) uninstall(s *service) error {
	if err := m.all(s.uninstall); err != nil {
		return err
	}
	if s.file != "" {
		if err := os.Remove(m.root + s.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the service: %w", err)
		}
	}
	return m.all(s.removed)
}

func (m *machine) all(commands [][]string) error {
	for _, c := range commands {
		if err := m.run(m.ctx, c); err != nil {
			return err
		}
	}
	return nil
}
